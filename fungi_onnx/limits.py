"""What a picture may be at most; checked before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass

from fungi_onnx.errors import ImageTooLargeError

_HOW_TO_RAISE_PIXELS = " (--max-megapixels, Limits.max_pixels)"


@dataclass(frozen=True)
class Limits:
    """What a picture may be at most.

    Attributes:
        max_width, max_height: in pixels, as stored.
        max_pixels: width times height.
        max_bytes: size of the file.
    """

    max_width: int = 65_535
    max_height: int = 65_535
    max_pixels: int = 200_000_000
    max_bytes: int = 100_000_000

    def check_size(self, width: int, height: int, name: str) -> None:
        """Raises ImageTooLargeError if a picture of this size is beyond a limit."""
        for what, found, limit, field in (
            ("wide", width, self.max_width, "max_width"),
            ("high", height, self.max_height, "max_height"),
        ):
            if found > limit:
                raise ImageTooLargeError(
                    name,
                    f"is {found:,} pixels {what}; the limit is {limit:,}",
                    f" (Limits.{field})",
                )
        if width * height > self.max_pixels:
            raise ImageTooLargeError(
                name,
                f"has {width:,} × {height:,} = {width * height:,} pixels; the limit is"
                f" {self.max_pixels:,}",
                _HOW_TO_RAISE_PIXELS,
            )

    def check_pixels(self, coded: int, name: str) -> None:
        """Raises ImageTooLargeError if a file has more pixels inside than a picture may show."""
        if coded > self.max_pixels:
            raise ImageTooLargeError(
                name,
                f"has {coded:,} pixels inside; the limit is {self.max_pixels:,}",
                _HOW_TO_RAISE_PIXELS,
            )

    def check_bytes(self, count: int, name: str) -> None:
        """Raises ImageTooLargeError if a file of ``count`` bytes is too large."""
        if count > self.max_bytes:
            raise ImageTooLargeError(
                name,
                f"has {count:,} bytes; the limit is {self.max_bytes:,}",
                " (--max-megabytes, Limits.max_bytes)",
            )
