"""Keeps JPEG 2000 bombs and streams without an end from OpenJPEG, which takes both.

150 bytes can ask for gigabytes: in layers, precincts, code-blocks or tiles. What encoders really
write is far within the bounds here. The markers are those of ISO 15444-1, annex A, the boxes those
of its annex I.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_SIZ, _COD, _COC, _SOT, _SOD, _EOC = 0xFF51, 0xFF52, 0xFF53, 0xFF90, 0xFF93, 0xFFD9
# What else has a length there: TLM, PLM, PLT, QCD, QCC, RGN, POC, PPM, PPT, CRG, COM, CAP, CPF. Of
# other markers OpenJPEG reads on in steps of two bytes, and finds what this walk would step over.
_OTHERS = {
    *(0xFF50, 0xFF55, 0xFF57, 0xFF58, 0xFF59, 0xFF5C, 0xFF5D, 0xFF5E, 0xFF5F),
    *(0xFF60, 0xFF61, 0xFF63, 0xFF64),
}
_MOST_SEGMENTS = 10_000
_MOST_LAYERS = 256


def is_sane(data: bytes) -> bool:
    """Whether the code stream of a .jp2 or .j2k file has an end and asks for a decent amount."""
    try:
        return all(
            _segment_is_sane(marker, body)
            for marker, body in _segments(data, _start_of_stream(data))
        )
    except (IndexError, OverflowError, ValueError, struct.error):
        return False


def _start_of_stream(data: bytes) -> int:
    """Past the boxes up to ``jp2c``; a bare stream has none."""
    at = 0
    for _ in range(_MOST_SEGMENTS):
        if data.startswith(b"\xff\x4f\xff\x51", at):
            return at
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        if size < head and kind != b"jp2c":
            break
        at += head if kind == b"jp2c" else size
    raise IndexError("there is no code stream")


def _segments(data: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """(marker, what follows its length) of each segment of the main and the tiles' headers."""
    at += 2  # SOC
    end_of_tile = 0
    for _ in range(_MOST_SEGMENTS):
        (marker,) = struct.unpack_from(">H", data, at)
        if marker == _EOC:
            return
        if marker == _SOD:
            at = end_of_tile
            continue
        if marker not in {_SIZ, _COD, _COC, _SOT} | _OTHERS:
            raise ValueError("an unknown marker")
        (length,) = struct.unpack_from(">H", data, at + 2)
        if marker == _SOT:
            (size,) = struct.unpack_from(">I", data, at + 6)
            # 0 is to the end of the stream, and the last tile-part's.
            end_of_tile = at + max(size, 14) if size else data.rindex(b"\xff\xd9")
        yield marker, data[at + 4 : at + 2 + length]
        at += 2 + length
    raise IndexError("too many segments")


def _segment_is_sane(marker: int, body: bytes) -> bool:
    if marker == _SIZ:
        right, bottom, left, top, wide, high, first, upper, components = struct.unpack_from(
            ">IIIIIIIIH", body, 2
        )
        if not (wide and high and 1 <= components <= 4):
            return False
        tiles = -(-(right - first) // wide) * -(-(bottom - upper) // high)
        return bool(tiles <= 64 + (right - left) * (bottom - top) // 4096)
    if marker == _COD:
        layers = int.from_bytes(body[2:4])
        return layers <= _MOST_LAYERS and _style_is_sane(body[0], body[5:])
    return marker != _COC or _style_is_sane(body[1], body[2:])


def _style_is_sane(style: int, parameters: bytes) -> bool:
    """``parameters``: levels, exponents of the code-blocks' sides less 2, two more, precincts."""
    precincts = parameters[5:] if style & 1 else b""
    return parameters[1] + parameters[2] >= 6 and all(  # 32x32, 16x64 and larger
        size & 15 >= 5 and size >> 4 >= 5 for size in precincts
    )
