"""The ways to look at a picture, by name; what they do is in `fungi_onnx.image`."""

from __future__ import annotations

from typing import Literal, get_args

View = Literal["exact", "fast"]
Crop = Literal["whole", "centre", "letterbox"]
VIEWS: tuple[View, ...] = get_args(View)
CROPS: tuple[Crop, ...] = get_args(Crop)
DEFAULT_VIEW: View = "exact"


def check_options(view: str, crop: str) -> None:
    """Raises ValueError for a view or a crop that there is not."""
    for what, value, values in (("view", view, VIEWS), ("crop", crop, CROPS)):
        if value not in values:
            raise ValueError(f"{what} must be one of {', '.join(map(repr, values))}, not {value!r}")
