"""Names from folders, lists and pipes: all of them, lazily, and nothing twice."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fungi_onnx.errors import SourceError
from fungi_onnx.listing import bursts, count


def names(source: object, besides: tuple[str, ...] = ()) -> list[str]:
    return [name for burst in bursts(str(source), besides) for name in burst]


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_a_folder_with_all_below_it(tmp_path: Path) -> None:
    outside = touch(tmp_path / "outside" / "not.jpg").parent
    top = tmp_path / "photos"
    taken = [touch(top / name) for name in ("a.jpg", "b.txt", "c/d.jpg", "c/e/f.JPG", "no suffix")]
    for hidden in (".g.jpg", ".h/i.jpg", "c/.j"):
        touch(top / hidden)
    (top / "empty" / "emptier").mkdir(parents=True)
    for link, target in (("k", outside), ("l.jpg", taken[0]), ("m.jpg", top / "gone")):
        (top / link).symlink_to(target)
        taken.append(top / link)
    os.mkfifo(top / "pipe")
    taken.append(top / "pipe")
    assert sorted(names(top)) == sorted(map(str, taken))
    assert count(str(top)) == len(taken)


def test_names_begin_as_the_folder_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "photos" / "a.jpg")
    monkeypatch.chdir(tmp_path)
    assert names("photos") == ["photos/a.jpg"]
    assert names("./photos/") == ["./photos/a.jpg"]
    assert names(".") == ["./photos/a.jpg"]


def test_the_results_are_not_named_and_their_namesakes_are(tmp_path: Path) -> None:
    top = tmp_path / "photos"
    besides = tuple(str(touch(top / name)) for name in ("out.csv", "out.csv.run.json"))
    namesake = touch(top / "deeper" / "out.csv")
    (tmp_path / "way").symlink_to(top)
    assert names(top, besides) == [str(namesake)]
    assert names(tmp_path / "way", besides) == [str(tmp_path / "way/deeper/out.csv")]
    assert count(str(top), besides) == 1


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    """Deeper than any path may be long; permissions would not stop root."""
    top = tmp_path / "photos"
    top.mkdir()
    before = os.getcwd()
    try:
        os.chdir(top)
        for _ in range(20):
            os.mkdir("d" * 250)
            os.chdir("d" * 250)
    finally:
        os.chdir(before)
    (name,) = names(top)
    assert name.startswith(str(top))
    assert len(name) > 4000
    with pytest.raises(OSError, match="too long"):
        os.scandir(name)
    subprocess.run(["rm", "-rf", top], check=True)


def test_what_vanishes_while_it_is_listed(tmp_path: Path) -> None:
    for folder in "abc":
        touch(tmp_path / folder / "1.jpg")
    listed = iter(next(bursts(str(tmp_path))))
    first = next(listed)
    for folder in tmp_path.iterdir():
        if not first.startswith(str(folder)):
            (folder / "1.jpg").unlink()
            folder.rmdir()
    assert set(listed) <= {str(tmp_path / folder) for folder in "abc"}


def test_a_large_folder_is_never_held_as_a_whole(tmp_path: Path) -> None:
    for number in range(5_000):
        os.mknod(tmp_path / f"{number:06}.jpg")
    tracemalloc.start()
    found = sum(1 for burst in bursts(str(tmp_path)) for _ in burst)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == 5_000
    assert peak < 50_000  # the names alone are 500 kB


def test_many_folders_leave_nothing_open(tmp_path: Path) -> None:
    for number in range(600):
        touch(tmp_path / f"{number:04}" / "1.jpg")
    before = len(os.listdir("/proc/self/fd"))
    listed = next(bursts(str(tmp_path)))
    for _ in range(400):
        next(listed)
    assert len(os.listdir("/proc/self/fd")) <= before + 2
    listed.close()  # type: ignore[attr-defined]
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_list(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(
        b"\xef\xbb\xbfa.jpg\r\n\n  \n b b.jpg \ndir/\xff.jpg\r\r\na.jpg\n\r\n/\xc3\xa9.jpg"
    )
    expected = ["a.jpg", " b b.jpg ", "dir/\udcff.jpg\r", "a.jpg", "/é.jpg"]
    assert names(path) == expected
    assert count(str(path)) == 5
    path.write_bytes(b"")
    assert names(path) == []


@given(
    st.lists(
        st.binary(min_size=1, max_size=200).filter(
            lambda name: name.strip() and not set(name) & set(b"\0\n\r")
        ),
        max_size=40,
    ),
    st.sampled_from([b"\n", b"\r\n"]),
    st.booleans(),
    st.integers(0, 70_000),
)
def test_any_names_in_a_list(
    tmp_path_factory: pytest.TempPathFactory,
    given_names: list[bytes],
    end: bytes,
    last_end: bool,
    padding: int,
) -> None:
    """The padding moves the names over the edges of what is read at once."""
    path = tmp_path_factory.getbasetemp() / "any list"
    text = end.join([b"p" * padding, *given_names])
    path.write_bytes(text + (end if last_end else b""))
    if not text.startswith(b"\xef\xbb\xbf"):  # which is not a name's
        expected = [b"p" * padding] * (padding > 0) + given_names
        assert [os.fsencode(name) for name in names(path)] == expected


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.FileIO]:
    """The writing end of what standard input is."""
    reading, writing = os.pipe()
    with open(reading) as stdin, open(writing, "wb", buffering=0) as writer:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield writer


def test_a_pipe_comes_in_bursts(pipe: io.FileIO) -> None:
    listed = bursts("-")
    pipe.write(b"a.jpg\nb.jpg\nc.j")
    assert list(next(listed)) == ["a.jpg", "b.jpg"]
    pipe.write(b"pg\n")
    assert list(next(listed)) == ["c.jpg"]
    pipe.write(b"d.jpg")
    assert list(next(listed)) == []
    pipe.close()
    assert [list(burst) for burst in listed] == [["d.jpg"]]
    assert count("-") is None


def test_a_named_pipe_is_a_list_that_is_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "names"
    os.mkfifo(path)
    with subprocess.Popen(["bash", "-c", f"printf 'a.jpg\\nb.jpg\\n' > {path}"]):
        assert count(str(path)) is None
        assert names(path) == ["a.jpg", "b.jpg"]


def test_what_is_no_source(tmp_path: Path, sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match="gone: no such folder or list file"):
        bursts(str(tmp_path / "gone"))
    with pytest.raises(
        SourceError, match="sample.jpg: is not a list of names.*fungi-onnx classify"
    ):
        bursts(str(sample))
    (tmp_path / "list.txt").write_text("a.jpg\n", encoding="utf-16")
    with pytest.raises(SourceError, match="a UTF-8 text with one path a line"):
        bursts(str(tmp_path / "list.txt"))
    with pytest.raises(SourceError, match="cannot be read: embedded null byte"):
        bursts("a\0b")
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SourceError, match="standard input is closed"):
        bursts("-")
