"""Counts the pixels that an AVIF has AV1 frames for, which need not be those that it declares.

A grid of many small tiles may take each from a frame of 16384x16384: libavif decodes it whole and
scales it down. Only the frames' own sequence headers tell. The boxes are those of ISO 14496-12,
section 8.11, the frames those of the AV1 specification, section 5.
"""

from __future__ import annotations

from collections.abc import Iterator

_MOST_STEPS = 150_000  # numbers read, over all; a grid of 1000 tiles takes about 35,000
_SEQUENCE_HEADER, _FRAME_HEADER, _FRAME, _REDUNDANT_FRAME_HEADER = 1, 3, 6, 7


class _Reader:
    """Reads big-endian numbers of any count of bits; its parts spend the same steps."""

    def __init__(self, data: memoryview, steps: Iterator[int]) -> None:
        self.data = data
        self.steps = steps
        self._at = 0  # in bits

    def take(self, bits: int) -> int:
        """Raises ValueError past the end, and where there were too many numbers."""
        start, end = self._at, self._at + bits
        if end > 8 * len(self.data) or next(self.steps, None) is None:
            raise ValueError("cut short, or without an end")
        self._at = end
        whole = int.from_bytes(self.data[start >> 3 : end + 7 >> 3])
        return whole >> (-end & 7) & ((1 << bits) - 1)

    def part(self, size: int) -> _Reader:
        """The next ``size`` bytes, at the start of a byte."""
        start = self._at >> 3
        self._at += 8 * size
        if size > len(self.data) - start:
            raise ValueError("a part is cut short")
        return _Reader(self.data[start : start + size], self.steps)

    def left(self) -> int:
        return len(self.data) - (self._at >> 3)


def coded_pixels(data: bytes) -> int:
    """The pixels of all AV1 frames that a still AVIF makes its picture of.

    Their own sequence headers say how many. Alpha, thumbnails and hidden frames count as well.

    Returns:
        Their sum; 0 for a file without a ``meta`` box, which is an image sequence only.

    Raises:
        ValueError: the boxes are damaged or too many, or an item has no sequence header.
    """
    file = _Reader(memoryview(data), iter(range(_MOST_STEPS)))
    meta = next((body for kind, body in _boxes(file) if kind == b"meta"), None)
    if meta is None:
        return 0
    meta.take(32)  # version and flags
    boxes: dict[bytes, _Reader] = {}
    for kind, body in _boxes(meta):
        if kind in boxes and kind in {b"iinf", b"iloc", b"idat"}:
            raise ValueError("a box stands twice")
        boxes[kind] = body
    if not {b"iinf", b"iloc"} <= boxes.keys():
        raise ValueError("there are no items")
    idat = boxes[b"idat"].data if b"idat" in boxes else memoryview(b"")
    found = _extents(boxes[b"iloc"], (file.data, idat), _frames(boxes[b"iinf"]))
    # Only what is in several extents gets copied; it stands in the file once.
    if sum(len(part) for item in found if len(item) > 1 for part in item) > len(data):
        raise ValueError("extents overlap")
    joined = (item[0] if len(item) == 1 else memoryview(b"".join(item)) for item in found)
    return sum(_pixels(_Reader(item, file.steps)) for item in joined)


def _boxes(within: _Reader) -> Iterator[tuple[bytes, _Reader]]:
    """(type, payload) of each; section 4.2."""
    while within.left():
        size, kind, head = within.take(32), within.take(32), 8
        if size == 1:
            size, head = within.take(64), 16
        if 0 < size < head:
            raise ValueError("a box is smaller than its head")
        yield kind.to_bytes(4), within.part(size - head if size else within.left())


def _frames(iinf: _Reader) -> set[int]:
    """The items that are AV1 frames; section 8.11.6."""
    version = iinf.take(32) >> 24
    count = iinf.take(32 if version else 16)
    found = set()
    for _, (kind, infe) in zip(range(count), _boxes(iinf), strict=False):
        version = infe.take(32) >> 24
        if kind != b"infe" or version not in {2, 3}:
            raise ValueError("an item of an unknown kind")
        item = infe.take(16 if version == 2 else 32)
        infe.take(16)  # its protection
        if infe.take(32).to_bytes(4) == b"av01":
            found.add(item)
    return found


def _extents(
    iloc: _Reader, sources: tuple[memoryview, memoryview], wanted: set[int]
) -> list[list[memoryview]]:
    """The bytes of each wanted item, from the file or ``idat``; section 8.11.3."""
    version = iloc.take(32) >> 24
    of_offset, of_length, of_base, of_index = (8 * iloc.take(4) for _ in range(4))
    found: dict[int, list[memoryview]] = {}
    for _ in range(iloc.take(32 if version == 2 else 16)):
        item = iloc.take(32 if version == 2 else 16)
        method = iloc.take(16) & 15 if version else 0
        iloc.take(16)  # which file: always this one
        base = iloc.take(of_base)
        if item in found or method > 1 or version > 2:
            raise ValueError("an item stands twice, or in another item")
        found[item] = []
        for _ in range(iloc.take(16)):
            iloc.take(of_index if version else 0)
            start = base + iloc.take(of_offset)
            end = start + iloc.take(of_length)
            if item in wanted and end > len(sources[method]):
                raise ValueError("an item is cut short")
            found[item].append(sources[method][start:end])
    return [found.get(item, []) for item in wanted]


def _pixels(item: _Reader) -> int:
    """Of all frames of an item, each of the sequence header before it; AV1, section 5.3."""
    pixels = total = 0
    while item.left():
        head = item.take(8)
        if head & 4:
            item.take(8)  # the layers
        size = min(_leb128(item), item.left()) if head & 2 else item.left()
        kind, body = head >> 3 & 15, item.part(size)
        if kind == _SEQUENCE_HEADER:
            pixels = _size(body)
        elif kind in {_FRAME_HEADER, _FRAME, _REDUNDANT_FRAME_HEADER}:
            if not pixels:
                break
            total += pixels
    if not pixels:
        raise ValueError("an item does not start with a sequence header")
    return max(pixels, total)


def _leb128(item: _Reader) -> int:
    value = 0
    for i in range(8):
        byte = item.take(8)
        value |= (byte & 127) << 7 * i
        if byte < 128:
            return value
    raise ValueError("a size has no end")


def _size(header: _Reader) -> int:
    """The pixels of a frame; AV1, section 5.5.1."""
    take = header.take
    take(4)  # the profile, and whether it is a still
    if take(1):  # reduced for stills
        take(5)
    else:
        delay = _delay_bits(header) if take(1) else None
        initial_delay = take(1)
        for _ in range(take(5) + 1):  # operating points
            take(12)
            if take(5) > 7:
                take(1)
            if delay is not None and take(1):
                take(2 * delay + 1)
            if initial_delay and take(1):
                take(4)
    of_width, of_height = take(4) + 1, take(4) + 1
    return (take(of_width) + 1) * (take(of_height) + 1)


def _delay_bits(header: _Reader) -> int | None:
    """Past the timing, the bits of a delay if there is a decoder model; AV1, 5.5.3 and 5.5.4."""
    take = header.take
    take(64)
    if take(1):  # then a uvlc, 4.10.3
        zeros = 0
        while not take(1):
            zeros += 1
        take(zeros if zeros < 32 else 0)
    if not take(1):
        return None
    delay = take(5) + 1
    take(32 + 5 + 5)
    return delay
