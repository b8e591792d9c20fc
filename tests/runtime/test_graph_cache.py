"""The cache of optimised graphs: used when it is right, and never in the way."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from fungi_onnx import FungiClassifier, doctor, graph_cache, session

ANSWER = (
    "import sys; from fungi_onnx import FungiClassifier;"
    "print(FungiClassifier(sys.argv[1]).classify(sys.argv[2], 12).top)"
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of this test, not there yet."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("FUNGI_ONNX_CACHE", str(folder))
    return folder


def answer(model: Path) -> NDArray[np.float32]:
    classifier = FungiClassifier(model, device="cpu")
    height, width = classifier.image_size
    pictures = np.random.default_rng(0).random((2, height, width, 3), np.float32)
    return classifier(pictures)


def entries(cache: Path) -> list[Path]:
    return sorted(path.parent for path in cache.glob("*/entry.json"))


def is_mapped(entry: Path) -> bool:
    """Whether this process has the entry's weights in memory: proof that they are used."""
    return str(entry / "weights.bin") in Path("/proc/self/maps").read_text()


@pytest.fixture
def right(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> NDArray[np.float32]:
    """What the model answers without a cache."""
    with monkeypatch.context() as patch:
        patch.setenv("FUNGI_ONNX_CACHE", "off")
        return answer(tiny)


def test_the_second_start_uses_what_the_first_left(
    tiny: Path, cache: Path, right: NDArray[np.float32]
) -> None:
    assert np.array_equal(answer(tiny), right), "to the last bit"
    (entry,) = entries(cache)
    before = {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in entry.iterdir()}
    classifier = FungiClassifier(tiny, device="cpu")
    assert is_mapped(entry)
    assert before == {
        path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in entry.iterdir()
    }
    assert np.array_equal(answer(tiny), right)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUNGI_ONNX_CACHE", "off")
        assert classifier.model.to_metadata() == FungiClassifier(tiny).model.to_metadata()


def test_the_entry_records_what_it_was_made_from(tiny: Path, cache: Path) -> None:
    answer(tiny)
    (entry,) = entries(cache)
    made_from = json.loads((entry / "entry.json").read_text())["made_from"]
    sha256 = subprocess.run(["sha256sum", tiny], capture_output=True, text=True, check=True)
    assert made_from["model"] == sha256.stdout.split()[0]
    assert set(made_from) == {"model", "onnxruntime", "cpu", "optimisation"}
    assert cache.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("what", ["model", "onnxruntime", "cpu", "optimisation"])
def test_an_entry_made_from_something_else_is_not_found(tiny: Path, cache: Path, what: str) -> None:
    answer(tiny)
    (entry,) = entries(cache)
    made_from = json.loads((entry / "entry.json").read_text())["made_from"]
    assert graph_cache.find(cache, made_from) == entry / "graph.onnx"
    other = {**made_from, what: "another"}
    assert graph_cache.find(cache, other) is None
    # Nor if somebody puts it where the other one would be.
    shutil.copytree(entry, graph_cache._place(cache, other))
    assert graph_cache.find(cache, other) is None


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def alter(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


def alter_unseen(path: Path) -> None:
    """With the same size and time of modification."""
    before = path.stat()
    alter(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def swap_for_noise(path: Path) -> None:
    path.write_bytes(random.Random(0).randbytes(path.stat().st_size))


@pytest.mark.parametrize("damage", [cut, empty, alter, alter_unseen, swap_for_noise, Path.unlink])
@pytest.mark.parametrize("name", ["graph.onnx", "weights.bin", "entry.json"])
def test_a_damaged_entry_is_made_again(
    tiny: Path,
    cache: Path,
    right: NDArray[np.float32],
    name: str,
    damage: Callable[[Path], None],
) -> None:
    answer(tiny)
    (entry,) = entries(cache)
    made_from = json.loads((entry / "entry.json").read_text())["made_from"]
    damage(entry / name)
    assert graph_cache.find(cache, made_from) is None
    assert np.array_equal(answer(tiny), right)
    assert entries(cache) == [entry]
    assert graph_cache.find(cache, made_from) == entry / "graph.onnx"
    assert [path for path in cache.iterdir() if path.name.startswith(".")] == []


def test_a_copied_cache_is_as_good(
    tiny: Path, cache: Path, right: NDArray[np.float32], tmp_path: Path
) -> None:
    """As in an image of a container: other inodes, and times that are cut to seconds."""
    answer(tiny)
    (entry,) = entries(cache)
    shutil.copytree(cache, tmp_path / "copy")
    shutil.rmtree(cache)
    shutil.copytree(tmp_path / "copy", cache)
    for path in entry.iterdir():
        os.utime(path, (1_700_000_000, 1_700_000_000))
    before = (entry / "weights.bin").stat().st_ino
    assert np.array_equal(answer(tiny), right)
    assert entries(cache) == [entry]
    assert (entry / "weights.bin").stat().st_ino == before, "it was not made again"


def test_an_entry_of_another_model_in_its_place(
    tiny: Path, altered: Callable[[bytes, bytes], Path], cache: Path, right: NDArray[np.float32]
) -> None:
    name = FungiClassifier(tiny).model.name.encode()
    other = altered(name, name.upper())
    shutil.rmtree(cache)
    answer(tiny)
    (mine,) = entries(cache)
    answer(other)
    (theirs,) = set(entries(cache)) - {mine}
    shutil.rmtree(mine)
    theirs.rename(mine)
    assert np.array_equal(answer(tiny), right)
    assert len(entries(cache)) == 1


@pytest.mark.usefixtures("cache")
def test_a_model_that_was_overwritten(
    tiny: Path, altered: Callable[[bytes, bytes], Path], tmp_path: Path
) -> None:
    """With the same size and time of modification: only its ctime tells."""
    model = tmp_path / "model.onnx"
    shutil.copy(tiny, model)
    long_ago = time.time() - 1000
    os.utime(model, (long_ago, long_ago))
    time.sleep(2.1)  # now its digest is noted
    assert "untrained" in FungiClassifier(model).model.name
    name = FungiClassifier(model).model.name
    other = altered(name.encode(), name.upper().encode()).read_bytes()
    assert len(other) == model.stat().st_size
    model.write_bytes(other)
    os.utime(model, (long_ago, long_ago))
    time.sleep(2.1)  # and now its note would be read
    assert FungiClassifier(model).model.name == name.upper()


def test_the_digest_is_computed_once(tiny: Path, cache: Path, tmp_path: Path) -> None:
    cache.mkdir(mode=0o700)
    model = tmp_path / "model.onnx"
    shutil.copy(tiny, model)
    first = graph_cache.digest_of(model, cache)
    assert not (cache / "digests").exists(), "a file just written may change within a tick"
    time.sleep(2.1)
    assert graph_cache.digest_of(model, cache) == first
    (note,) = (cache / "digests").iterdir()
    assert note.read_text() == first
    note.write_text("f" * 64)  # what stands there is believed
    assert graph_cache.digest_of(model, cache) == "f" * 64
    note.write_text(first[:40])  # but not half of it
    assert graph_cache.digest_of(model, cache) == first
    assert note.read_text() == first


def run(model: Path, sample: Path, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", ANSWER, str(model), str(sample)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_many_processes_at_once(tiny: Path, sample: Path, cache: Path) -> None:
    """Twelve start on an empty cache, a third of them is killed at some moment."""
    command = [sys.executable, "-c", ANSWER, str(tiny), str(sample)]
    moments = random.Random(1)
    for _ in range(3):
        running = [
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(12)
        ]
        for process in running[::3]:
            time.sleep(moments.uniform(0.05, 0.4))
            process.send_signal(signal.SIGKILL)
        said = [process.communicate() for process in running]
        survivors = [pair for number, pair in enumerate(said) if number % 3]
        assert {error for _, error in survivors} == {""}
        assert len({out for out, _ in survivors}) == 1
        assert survivors[0][0].startswith("(Match(")
        (entry,) = entries(cache)
        assert run(tiny, sample).stdout == survivors[0][0]
        shutil.rmtree(entry)


def test_many_processes_mend_a_broken_entry(tiny: Path, sample: Path, cache: Path) -> None:
    right = run(tiny, sample).stdout
    (entry,) = entries(cache)
    alter(entry / "weights.bin")
    command = [sys.executable, "-c", ANSWER, str(tiny), str(sample)]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    assert {process.communicate() for process in running} == {(right, "")}
    assert entries(cache) == [entry]
    classifier = FungiClassifier(tiny, device="cpu")
    assert is_mapped(entry)
    assert classifier.device == "cpu"


def test_off(tiny: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUNGI_ONNX_CACHE", "off")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    answer(tiny)
    assert not cache.exists()
    assert doctor.examine(tiny)["cache"] == "none: FUNGI_ONNX_CACHE is off"


def test_by_default_it_is_the_users_cache(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FUNGI_ONNX_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    answer(tiny)
    assert len(entries(tmp_path / "xdg" / "fungi-onnx")) == 1
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    answer(tiny)
    assert len(entries(tmp_path / "home" / ".cache" / "fungi-onnx")) == 1


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o702])
def test_a_folder_that_others_can_use_is_not_used(tiny: Path, cache: Path, mode: int) -> None:
    cache.mkdir()
    cache.chmod(mode)
    answer(tiny)
    assert list(cache.iterdir()) == []
    assert graph_cache.locate() == (None, f"{cache} is not private to this user (chmod 700)")


def test_a_folder_of_somebody_else_is_not_used(tiny: Path, cache: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a folder to somebody else")
    cache.mkdir(mode=0o700)
    os.chown(cache, 12345, -1)
    answer(tiny)
    assert list(cache.iterdir()) == []


def test_a_place_where_nothing_can_be_made(
    tiny: Path, tmp_path: Path, right: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for place, reason in (
        (f"{tmp_path}/file/cache", "cannot be made: Not a directory"),
        ("/proc/fungi-onnx", "cannot be made: No such file or directory"),
        ("here", "is not an absolute path"),
    ):
        monkeypatch.setenv("FUNGI_ONNX_CACHE", place)
        assert graph_cache.locate() == (None, f"{place} {reason}")
        assert np.array_equal(answer(tiny), right)


@pytest.mark.parametrize("kilobytes", [0, 1, 64, 150])
def test_a_disk_that_is_full(tiny: Path, sample: Path, cache: Path, kilobytes: int) -> None:
    """No file may grow beyond so much: what is written fails half-way, as on a full disk."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, kilobytes * 1024))

    right = run(tiny, sample).stdout
    shutil.rmtree(cache)
    done = run(tiny, sample, preexec_fn=limit)
    assert (done.returncode, done.stdout, done.stderr) == (0, right, "")
    assert entries(cache) == []
    assert [path.name for path in cache.iterdir() if path.name != "digests"] == []
    assert run(tiny, sample).stdout == right
    assert len(entries(cache)) == 1


@pytest.mark.parametrize("how", ["size=100k", "ro"])
def test_a_small_disk_and_a_read_only_one(tiny: Path, sample: Path, cache: Path, how: str) -> None:
    cache.mkdir(mode=0o700)
    script = f'mount -t tmpfs -o {how},mode=700 none "$1" && shift && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", script, "sh", str(cache)]
    if subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this user may not mount a file system")
    done = subprocess.run(
        [*command, sys.executable, "-c", ANSWER, str(tiny), str(sample)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == (run(tiny, sample).stdout, "")


def test_a_graph_that_gives_another_answer_is_not_kept(
    tiny: Path,
    altered: Callable[[bytes, bytes], Path],
    cache: Path,
    right: NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As if onnxruntime had optimised it wrongly: what is loaded again is another model."""
    weights = tiny.read_bytes()
    middle = len(weights) // 3
    other = altered(weights[middle : middle + 400], bytes(400))
    monkeypatch.setattr(
        session,
        "_optimised",
        lambda *_: onnxruntime.InferenceSession(str(other), providers=["CPUExecutionProvider"]),
    )
    assert np.array_equal(answer(tiny), right)
    assert entries(cache) == []


def test_what_is_used_stays(tiny: Path, cache: Path) -> None:
    answer(tiny)
    (entry,) = entries(cache)
    os.utime(entry, (1, 1))
    answer(tiny)
    assert entry.stat().st_mtime > time.time() - 60


def test_what_is_old_goes(tiny: Path, cache: Path) -> None:
    answer(tiny)
    (entry,) = entries(cache)
    made_from = json.loads((entry / "entry.json").read_text())["made_from"]
    for number in range(9):
        old = cache / f"{number:032}"
        shutil.copytree(entry, old)
        os.utime(old, (number, number))
    for name, age in ((".draft-killed", 7200), (".old-killed", 7200), (".draft-at-work", 60)):
        (cache / name).mkdir()
        os.utime(cache / name, (time.time() - age, time.time() - age))
    graph_cache.discard(entry / "graph.onnx")
    answer(tiny)
    assert graph_cache.find(cache, made_from) == entry / "graph.onnx"
    assert [old.name[-1] for old in entries(cache) if old != entry] == list("2345678")
    assert [path.name for path in cache.iterdir() if path.name[0] == "."] == [".draft-at-work"]
