"""Every awkward file of `awkward.files`, by every road; hostile files and odd sources."""

from __future__ import annotations

import io
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from fungi_onnx import (
    ImageDecodeError,
    ImageError,
    ImageFileError,
    ImageTooLargeError,
    Limits,
    read_rgb,
)
from fungi_onnx.image import to_tensor

from . import awkward
from .awkward import RGB, SCENE, File, Pixels, box, png

FILES = awkward.files()
PICTURES = [file for file in FILES if file.size]
TURNED = [file for file in PICTURES if file.orientation is not None]
NO_PICTURES = [file for file in FILES if not file.size]
INNER = 8  # of a mark's 12 pixels, where no codec blurs it
INSIDES = (
    np.s_[:INNER, :INNER],
    np.s_[:INNER, -INNER:],
    np.s_[-INNER:, :INNER],
    np.s_[-INNER:, -INNER:],
)


def each(files: list[File]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("file", files, ids=[file.name for file in files])


def is_plain(file: File) -> bool:
    return file.orientation is None and "alpha" not in file.name and "orientation" not in file.name


def difference(one: np.ndarray, other: np.ndarray) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def by_pillow(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as picture:
        upright = ImageOps.exif_transpose(picture)
    if upright.mode == "I" or upright.mode.startswith("I;16"):
        grey = np.rint(np.asarray(upright).astype(float) * (255 / 65535)).astype(np.uint8)
        return awkward.tripled(grey)
    if upright.mode in ("LA", "PA", "RGBA") or "transparency" in upright.info:
        clear = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
    return np.asarray(upright.convert("RGB"))


class TooSlowError(Exception):
    """Not an OSError, which the code under test would take for its own."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Fails if it takes longer: of the processor's time, and far longer of anyone's."""

    def interrupt(*_: object) -> None:
        raise TooSlowError

    handler = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 10 * seconds + 5)
    start = time.process_time()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    assert time.process_time() - start < seconds


# The table


def test_the_table_is_the_same_each_time_and_names_each_row_once() -> None:
    again = awkward.files.__wrapped__()
    assert [(file.name, file.data) for file in again] == [(file.name, file.data) for file in FILES]
    assert len({file.name for file in FILES}) == len(FILES) > 350
    for format_ in ("JPEG", "PNG", "WebP", "TIFF", "AVIF"):
        turned = {file.orientation for file in TURNED if file.format == format_}
        assert turned == set(range(10))


@each(PICTURES)
def test_size_and_corners(file: File) -> None:
    rgb = read_rgb(file.data)
    assert rgb.dtype == np.uint8
    assert rgb.flags.c_contiguous
    assert rgb.shape == (*file.size, 3)  # type: ignore[misc]
    for inside, mark in zip(INSIDES, file.marks or (), strict=False):
        assert difference(rgb[inside], np.full((INNER, INNER, 3), mark)) <= file.near_marks


@each([file for file in PICTURES if file.pixels is not None])
def test_each_level(file: File) -> None:
    assert difference(read_rgb(file.data), file.pixels) <= file.near_pixels  # type: ignore[arg-type]


@each([file for file in PICTURES if file.near_pillow is not None])
def test_as_pillow_shows_it(file: File) -> None:
    assert difference(read_rgb(file.data), by_pillow(file.data)) <= file.near_pillow


def by_opencv(data: bytes) -> Pixels:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB), np.uint8)


@each([file for file in PICTURES if file.pixels is None and is_plain(file)])
def test_as_opencv_shows_it(file: File) -> None:
    """For the lossy formats, of which no one else knows how they look."""
    assert difference(read_rgb(file.data), by_opencv(file.data)) <= 3


@each(NO_PICTURES)
def test_what_is_no_picture(file: File) -> None:
    with pytest.raises(ImageError, match=rf"^\(bytes\): {file.reason}") as caught:
        read_rgb(file.data)
    assert type(caught.value) is file.error
    assert caught.value.image == "(bytes)"


def outcome(image: Any, name: str) -> object:
    """The pixels, or the error but for the name."""
    try:
        rgb = read_rgb(image)
    except ImageError as error:
        return type(error), str(error).removeprefix(f"{name}: ")
    return rgb.shape, rgb.tobytes()


@each(FILES)
def test_wherever_it_comes_from(file: File, tmp_path: Path) -> None:
    expected = outcome(file.data, "(bytes)")
    path = tmp_path / "picture"
    path.write_bytes(file.data)
    with path.open("rb") as opened, path.open("rb", buffering=0) as raw:
        for image, name in (
            (path, str(path)),
            (str(path), str(path)),
            (bytearray(file.data), "(bytes)"),
            (memoryview(file.data), "(bytes)"),
            (io.BytesIO(file.data), "(file object)"),
            (opened, str(path)),
            (raw, str(path)),
        ):
            assert outcome(image, name) == expected


@each([file for file in PICTURES if file.pixels is not None and not file.near_pixels])
def test_an_array_of_it_is_the_same(file: File) -> None:
    np.testing.assert_array_equal(read_rgb(file.pixels), read_rgb(file.data))  # type: ignore[arg-type]


def cuts(size: int) -> list[int]:
    if size < 2048:
        return [*range(size)]
    return sorted({*np.linspace(0, size - 1, 200, dtype=int).tolist(), *range(size - 64, size)})


@each([file for file in PICTURES if file.orientation is None and "as text" not in file.name])
def test_cut_short(file: File) -> None:
    """An error, or all of the picture where only what comes after it is missing."""
    size, whole = len(file.data), read_rgb(file.data)
    accepted, parts = [], []
    for cut in cuts(size):
        try:
            rgb = read_rgb(file.data[:cut])
        except ImageDecodeError:
            continue
        accepted.append(cut)
        if rgb.shape != whole.shape or difference(rgb, whole) > (file.near_pillow or 0):
            parts.append(cut)
    assert parts == []
    assert [cut for cut in accepted if cut < size - file.spare] == []


@each([file for file in PICTURES if "as text" in file.name])
def test_text_cut_short(file: File) -> None:
    """But in its last number, of which a part is a number as well."""
    for cut in cuts(file.data.rstrip().rindex(b" ") + 1):
        with pytest.raises(ImageDecodeError):
            read_rgb(file.data[:cut])


@each(TURNED)
def test_the_fast_view_is_turned_as_well(file: File) -> None:
    for view in ("exact", "fast"):
        tensor = to_tensor(file.data, 9, 13, view=view) * 255  # type: ignore[arg-type]
        for corner, mark in zip(((0, 0), (0, -1), (-1, 0), (-1, -1)), awkward.MARKS, strict=True):
            assert np.abs(tensor[corner] - mark).max() <= max(file.near_marks, 0.01)


# Limits


def test_small_files_that_declare_much_take_no_memory(tmp_path: Path) -> None:
    paths = []
    for file in NO_PICTURES:
        if file.error is ImageTooLargeError:
            paths.append(tmp_path / str(len(paths)))
            paths[-1].write_bytes(file.data)
    assert len(paths) >= 15
    assert megabytes_for(paths) < 8


def test_a_tiff_of_one_huge_tile_takes_no_memory(tmp_path: Path) -> None:
    tags: awkward.Tags = {
        **awkward.tiff_tags(awkward.GREY, 8, 1),
        259: (3, [8]),
        322: (4, [8192]),
        323: (4, [8192]),
    }
    path = tmp_path / "tile.tif"
    zeros = zlib.compress(bytes(8192 * 8192), 1)
    path.write_bytes(awkward.tiff([zeros], tags, tiled=True))
    assert megabytes_for([path]) < 32


def megabytes_for(paths: list[Path]) -> float:
    """How much more memory a process needs at its peak when it tries to read these."""
    if not Path("/proc/self/status").exists():
        pytest.skip("only Linux tells a process's peak apart from its parent's")
    script = """
import sys
from fungi_onnx import ImageError, read_rgb
def peak():
    status = open("/proc/self/status").read()
    return int(status.split("VmHWM:")[1].split()[0])
for number, path in enumerate(sys.argv[1:]):
    if number == 2:
        before = peak()
    try:
        read_rgb(path)
    except ImageError:
        pass
print(peak() - before)
"""
    warm = paths[0].with_name("warm.tif"), paths[0].with_name("warm.png")
    warm[0].write_bytes(awkward.tiff_of(SCENE, 2)[:-9])  # so that Pillow is asked as well
    warm[1].write_bytes(png(SCENE, 2))
    command = [sys.executable, "-c", script, *map(str, (*warm, *paths))]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    return int(result.stdout) / 1024


@pytest.mark.parametrize(
    ("field", "limit", "reason"),
    [
        ("max_width", 53, "is 53 pixels wide; the limit is 52"),
        ("max_height", 37, "is 37 pixels high; the limit is 36"),
        ("max_pixels", 1961, "has 53 × 37 = 1,961 pixels; the limit is 1,960"),
        ("max_bytes", 3571, "has 3,571 bytes; the limit is 3,570"),
    ],
)
def test_each_limit(field: str, limit: int, reason: str, tmp_path: Path) -> None:
    data = png(SCENE, 2).ljust(3571, b"\0")
    path = tmp_path / "a.png"
    path.write_bytes(data)
    sources: tuple[tuple[Callable[[], Any], str], ...] = (
        (lambda: data, "(bytes)"),
        (lambda: path, str(path)),
        (lambda: io.BytesIO(data), "(file object)"),
    )
    for image, name in sources:
        read_rgb(image(), limits=Limits(**{field: limit}))
        with pytest.raises(ImageTooLargeError) as caught:
            read_rgb(image(), limits=Limits(**{field: limit - 1}))
        assert str(caught.value).startswith(f"{name}: {reason} (")
        assert f"Limits.{field})" in str(caught.value)
    with pytest.raises(ImageTooLargeError, match=f"Limits.{field}"):
        to_tensor(data, 9, 9, limits=Limits(**{field: limit - 1}))


def test_an_array_has_no_limits() -> None:
    np.testing.assert_array_equal(read_rgb(SCENE, limits=Limits(1, 1, 1, 1)), SCENE)


def test_limits_are_those_of_the_stored_picture() -> None:
    tall = next(file for file in TURNED if file.name == "JPEG, orientation 6")
    read_rgb(tall.data, limits=Limits(max_width=37, max_height=53))
    with pytest.raises(ImageTooLargeError, match="is 53 pixels high; the limit is 52"):
        read_rgb(tall.data, limits=Limits(max_width=37, max_height=52))


LIARS = dict(awkward.liars())


@pytest.mark.parametrize("name", LIARS)
def test_a_head_that_lies_about_the_size(name: str) -> None:
    limits = Limits(max_pixels=1_000_000)
    if name == "AVIF":  # 1.4 megapixels: six are let through for one, as alpha and layers may be
        assert read_rgb(LIARS[name], limits=limits).shape == (*awkward.SIZE, 3)
        limits = Limits(max_pixels=200_000)
    with pytest.raises(ImageError):
        read_rgb(LIARS[name], limits=limits)


# Heads


def repeated(part: bytes, count: int = 20_000_000) -> bytes:
    return part * (count // len(part))


AVIF = box(b"ftyp", b"avif\0\0\0\0mif1")
JP2 = b"\0\0\0\x0cjP  \r\n\x87\n"
ITEM = box(b"pitm", b"\0\0\0\0\0\1")
ENDLESS: dict[str, Callable[[], bytes]] = {
    "AVIF of boxes": lambda: AVIF + repeated(box(b"free")),
    "AVIF of boxes in a box": lambda: AVIF + box(b"meta", bytes(4) + repeated(box(b"free"))),
    "AVIF of brands": lambda: struct.pack(">I", 20_000_000) + b"ftyp" + repeated(b"avif"),
    "AVIF of properties": lambda: avif_of(repeated(box(b"free")), bytes(8)),
    "AVIF of associations": lambda: avif_of(
        box(b"ispe", bytes(12)), b"\0\0\0\0\xff\xff\xff\xff" + repeated(b"\0\0\xff" + bytes(255))
    ),
    "JPEG of zeros": lambda: b"\xff\xd8" + bytes(20_000_000),
    "JPEG of noise": lambda: b"\xff\xd8" + np.random.default_rng(0).bytes(20_000_000),
    "JPEG of fill bytes": lambda: b"\xff\xd8" + repeated(b"\xff"),
    "JPEG of empty segments": lambda: b"\xff\xd8" + repeated(b"\xff\xe0\0\2"),
    "JPEG of restart markers": lambda: b"\xff\xd8" + repeated(b"\xff\xd0"),
    "JPEG of zeros after its head": lambda: awkward.pillow(RGB, "JPEG")[:600] + bytes(20_000_000),
    "JPEG 2000 of boxes": lambda: JP2 + repeated(box(b"free")),
    "JPEG 2000 of zeros": lambda: b"\xff\x4f\xff\x51" + bytes(20_000_000),
    "PNG of empty chunks": lambda: png(SCENE, 2)[:33] + repeated(awkward.chunk(b"tEXt")),
    "PNG of no pixels": lambda: png(SCENE, 2)[:33] + repeated(awkward.chunk(b"IDAT")),
    "GIF of comments": lambda: b"GIF89a5\0%\0\0\0\0" + repeated(b"!\xfe\0"),
    "WebP of chunks": lambda: (
        b"RIFF\x1e\x2d\x31\1WEBPVP8X\x0a\0\0\0\0\0\0\0\x34\0\0\x24\0\0" + repeated(b"abcd\0\0\0\0")
    ),
    "TIFF of tags": lambda: b"II*\0\x08\0\0\0\xff\xff" + repeated(b"\0\x80\3\0\1\0\0\0\0\0\0\0"),
    "TIFF of 2**60 tags": lambda: (
        b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**60) + repeated(b"\0\x80\3\0" + bytes(16))
    ),
    "BMP of zeros": lambda: b"BM" + bytes(20_000_000),
    "BMP of steps": lambda: awkward.bmp(
        8, repeated(b"\0\2\0\0"), palette=bytes(1024), compression=1
    ),
    "PNM of a comment": lambda: b"P6\n#" + repeated(b"a"),
    "PNM of comments": lambda: b"P6\n" + repeated(b"#\n"),
    "PNM of spaces": lambda: b"P6\n" + repeated(b" "),
    "PNM of digits": lambda: b"P6\n" + repeated(b"1"),
}


def avif_of(properties: bytes, associations: bytes, item: bytes = ITEM) -> bytes:
    described = box(b"ipco", properties) + box(b"ipma", associations)
    return AVIF + box(b"meta", bytes(4) + item + box(b"iprp", described))


@pytest.mark.parametrize("name", ENDLESS)
def test_heads_that_do_not_end(name: str) -> None:
    data = ENDLESS[name]()
    with at_most(0.5), pytest.raises(ImageDecodeError, match=awkward.DAMAGED):
        read_rgb(data)


def test_a_png_of_packed_texts() -> None:
    """7 MB of zeros, packed into 7 KB, 50 times: nobody asked for them."""
    text = awkward.chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(7_000_000), 9))
    data = png(SCENE, 2, before=text * 50)
    with at_most(0.5), suppress(ImageDecodeError):
        read_rgb(data)


def turned_avif(turns: int, axis: int | None) -> bytes:
    """An AVIF of the scene as stored, with an `irot` box, and an `imir` box unless it is None."""
    data = awkward.pillow(RGB, "AVIF", speed=10, exif=awkward.exif(6 if axis is None else 7))
    if axis is not None:
        data = awkward.with_size(data, b"imir", 0, "B", axis)
    return awkward.with_size(data, b"irot", 0, "B", turns)


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("turns", range(4))
def test_avif_boxes_turn_as_pillow_turns(turns: int, axis: int | None) -> None:
    data = turned_avif(turns, axis)
    rgb = read_rgb(data)
    assert difference(rgb, by_pillow(data)) == 0
    # By hand: quarter turns anticlockwise, then an exchange of top and bottom, or left and right.
    expected = np.rot90(SCENE, turns)
    if axis is not None:
        expected = np.flip(expected, axis)
    for inside, mark in zip(INSIDES, awkward.marks_of(expected), strict=True):
        assert difference(rgb[inside], np.full((INNER, INNER, 3), mark)) <= 20


@pytest.mark.parametrize("axis", [0, 1])
def test_a_mirror_alone(axis: int) -> None:
    data = awkward.pillow(RGB, "AVIF", speed=10, exif=awkward.exif(2))
    rgb = read_rgb(awkward.with_size(data, b"imir", 0, "B", axis))
    for inside, mark in zip(INSIDES, awkward.marks_of(np.flip(SCENE, axis)), strict=True):
        assert difference(rgb[inside], np.full((INNER, INNER, 3), mark)) <= 20


@pytest.mark.skipif(find_spec("pillow_heif") is not None, reason="the extra is installed")
def test_a_heic_names_the_extra() -> None:
    with pytest.raises(ImageDecodeError, match=r"HEIC.*pip install 'fungi-onnx\[heif\]'"):
        read_rgb(awkward.heic(37, 53))


# Sources


def test_a_pipe_without_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "pipe.jpg"
    os.mkfifo(path)
    with at_most(0.1), pytest.raises(ImageFileError, match="is a pipe, not a file"):
        read_rgb(path)


def test_a_pipe_with_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "pipe.jpg"
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        os.write(descriptor, png(SCENE, 2))
        with at_most(0.1), pytest.raises(ImageFileError, match="is a pipe, not a file"):
            read_rgb(path)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/random"])
def test_a_device(device: str) -> None:
    with at_most(0.1), pytest.raises(ImageFileError) as caught:
        read_rgb(device)
    assert str(caught.value) == f"{device}: is a device, not a file"


def test_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path may have 108 bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("a.jpg")
        with pytest.raises(ImageFileError, match=r"^a\.jpg: cannot be read: No such device"):
            read_rgb("a.jpg")


def test_links(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(SCENE, 2))
    link = tmp_path / "link"
    link.symlink_to("a.png")
    np.testing.assert_array_equal(read_rgb(link), SCENE)
    for name, target in (("one", "two"), ("two", "one")):
        (tmp_path / name).symlink_to(target)
    with pytest.raises(ImageFileError, match="/one: cannot be read: Too many levels of symbolic"):
        read_rgb(tmp_path / "one")
    (tmp_path / "nowhere").symlink_to("gone")
    with pytest.raises(ImageFileError, match="/nowhere: no such file$"):
        read_rgb(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb.jpg", r"a\nb.jpg"),
        ("a\x1b[31mb.jpg", r"a\x1b[31mb.jpg"),
        (os.fsdecode(b"a\xff.jpg"), r"a\udcff.jpg"),
        ("a\u202eb.jpg", r"a\u202eb.jpg"),
        ("Grüner Knollenblätterpilz 菌.jpg", "Grüner Knollenblätterpilz 菌.jpg"),
    ],
    ids=["line break", "escape", "half a character", "right to left", "plain"],
)
def test_a_name_of_anything_makes_one_printable_line(tmp_path: Path, name: str, shown: str) -> None:
    path = tmp_path / name
    with pytest.raises(ImageFileError) as missing:
        read_rgb(path)
    path.write_bytes(b"no picture")
    with pytest.raises(ImageDecodeError) as broken, path.open("rb") as file:
        read_rgb(file)
    for caught in (missing, broken):
        assert str(caught.value).isprintable()
        assert str(caught.value).startswith(f"{tmp_path}/{shown}: ")
        assert caught.value.image == str(path)
        str(caught.value).encode()
    path.write_bytes(png(SCENE, 2))
    np.testing.assert_array_equal(read_rgb(path), SCENE)


def test_a_file_of_a_terabyte(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    path.touch()
    try:
        os.truncate(path, 1 << 40)
    except OSError:
        pytest.skip("the file system has no room even for holes")
    expected = f"{path}: has 1,099,511,627,776 bytes; the limit is 100,000,000 ("
    with at_most(0.1), pytest.raises(ImageTooLargeError) as caught:
        read_rgb(path)
    assert str(caught.value).startswith(expected)


def test_a_folder_and_nothing(tmp_path: Path) -> None:
    with pytest.raises(ImageFileError) as caught:
        read_rgb(tmp_path)
    assert str(caught.value) == f"{tmp_path}: is a folder, not a picture"
    with pytest.raises(ImageFileError) as caught:
        read_rgb(tmp_path / "a.jpg")
    assert str(caught.value) == f"{tmp_path}/a.jpg: no such file"
    (tmp_path / "file").touch()
    with pytest.raises(ImageFileError, match="cannot be read: Not a directory"):
        read_rgb(tmp_path / "file" / "a.jpg")
    with pytest.raises(ImageFileError, match="cannot be read: File name too long"):
        read_rgb("x" * 5000)


class Stream:
    """Gives a few bytes at a time, or never ends, or fails."""

    def __init__(self, data: bytes, most: int = 7, error: OSError | None = None) -> None:
        self.file, self.most, self.error, self.given = io.BytesIO(data), most, error, 0

    def read(self, size: int, /) -> bytes:
        if self.error and self.given > 99:
            raise self.error
        part = self.file.read(min(size, self.most))
        self.given += len(part)
        return part


class Endless:
    given = 0

    def read(self, size: int, /) -> bytes:
        self.given += size
        return bytes(size)


def test_a_stream_of_short_reads() -> None:
    np.testing.assert_array_equal(read_rgb(Stream(png(SCENE, 2))), SCENE)


def test_a_stream_is_read_from_where_it_stands() -> None:
    file = io.BytesIO(b"before" + png(SCENE, 2))
    file.seek(6)
    np.testing.assert_array_equal(read_rgb(file), SCENE)
    with pytest.raises(ImageDecodeError, match=r"^\(file object\): is empty"):
        read_rgb(file)


def test_a_stream_without_end() -> None:
    stream = Endless()
    with at_most(0.5), pytest.raises(ImageTooLargeError, match="the limit is 3,000,000 "):
        read_rgb(stream, limits=Limits(max_bytes=3_000_000))
    assert stream.given == 3_000_001


def test_a_stream_that_fails() -> None:
    with pytest.raises(ImageFileError, match=r"^\(file object\): cannot be read: Input/output"):
        read_rgb(Stream(png(SCENE, 2), error=OSError(5, "Input/output error")))
    with pytest.raises(ImageFileError, match=r"^\(file object\): cannot be read: timed out$"):
        read_rgb(Stream(png(SCENE, 2), error=TimeoutError("timed out")))


def test_a_stream_of_text(tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    path.write_text("<svg/>")
    with path.open() as file, pytest.raises(TypeError, match=r"binary mode: open\(path, 'rb'\)"):
        read_rgb(file)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="binary mode"):
        read_rgb(io.StringIO("<svg/>"))  # type: ignore[arg-type]


def test_a_pillow_image_is_told_how_to_become_an_array() -> None:
    with pytest.raises(TypeError, match=r"numpy\.asarray\(image\.convert\('RGB'\)\)") as caught:
        read_rgb(RGB)  # type: ignore[arg-type]
    assert "not Image" in str(caught.value)
    np.testing.assert_array_equal(read_rgb(np.asarray(RGB.convert("RGB"))), SCENE)
