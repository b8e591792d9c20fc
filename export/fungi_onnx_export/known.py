"""The models we know by name: what to expect of a copy, and what its publisher's card says.

The only place in the house that knows a shape or a name of the fungi module. Facts from the model
card of svampeatlas/vision/classifier/fungi_mobile_V1 on TensorFlow Hub.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fungi_onnx.model_file import Terms

UNSUITABLE = ("telling edible from inedible mushrooms", "foraging")


@dataclass(frozen=True)
class Known:
    """A published model: its name, its shape, its terms, and what became of it."""

    name: str
    height: int
    width: int
    classes: int
    terms: Terms
    gone: str


FUNGI = Known(
    name="fungi_mobile_V1/2",
    height=299,
    width=299,
    classes=4128,
    terms=Terms(
        licence="CC BY-NC 4.0",
        suitable=("retrieval of mushroom images from Scandinavia",),
        unsuitable=UNSUITABLE,
        limits=(
            "not for cultivated or harvested mushrooms",
            "not for regions other than Scandinavia",
            "not for museum specimens",
            "not for anything that is not a fungus",
            "reported Recall@1 0.377 and Recall@5 0.591",
        ),
    ),
    gone="the publisher deleted this module from tfhub.dev on 2024-03-18; give a copy instead: a"
    " TFHUB_CACHE_DIR folder that still holds it, its .tar.gz archive, its folder or its .tflite",
)
BY_NAME = {FUNGI.name: FUNGI}

# A model of unknown terms is treated as the fungi are: silence must not read as permission.
UNKNOWN_TERMS = Terms("unknown, ask whoever you have it from", (), UNSUITABLE, ())
STANDIN_TERMS = Terms(
    "Apache-2.0", ("trying out fungi-onnx",), UNSUITABLE, ("knows no real species",)
)


def by_handle(handle: str) -> Known | None:
    """The known model that a tfhub.dev or Kaggle handle means, of whatever version."""
    pattern = r"svampeatlas.*fungi[-_]?mobile"
    return FUNGI if re.search(pattern, handle, re.IGNORECASE) else None
