"""`fungi-onnx batch` as a user runs it: real processes, really killed, really raced."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import pty
import random
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pyarrow import parquet as pq

from fungi_onnx import FungiClassifier, Prediction, bulk, cli, cpus
from fungi_onnx.progress import Progress, duration
from fungi_onnx.results import Results

COMMAND = str(Path(sys.executable).with_name("fungi-onnx"))
Batch = Callable[..., subprocess.CompletedProcess[str]]
# Linux writes page by page and looks for SIGKILL in between: a row that was being written at that
# very moment can end there, once in some thousand kills.
PAGE = 4096
SUFFIXES = pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twenty small pictures, all different."""
    folder, chance = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for number in range(20):
        pixels = cv2.resize(chance.integers(0, 256, (6, 6, 3), np.uint8), (90, 70))
        (folder / f"{number}.jpg").write_bytes(cv2.imencode(".jpg", pixels)[1].tobytes())
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of 196 megapixels."""
    path = tmp_path_factory.mktemp("big") / "big.png"
    flat = np.zeros((14_000, 14_000), np.uint8)
    path.write_bytes(cv2.imencode(".png", flat)[1].tobytes())
    return path


@pytest.fixture
def photos(tmp_path: Path, pictures: list[Path]) -> Callable[[int], Path]:
    """Makes a folder of so many pictures in three subfolders; asked again, the folder grows."""

    def make(count: int) -> Path:
        for number in range(count):
            path = tmp_path / "photos" / f"{number % 3}" / f"{number:05}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.hardlink_to(pictures[number % len(pictures)])
        return tmp_path / "photos"

    return make


@pytest.fixture
def command(tiny: Path) -> Callable[..., list[str]]:
    def build(*arguments: object) -> list[str]:
        return [COMMAND, "batch", "-m", str(tiny), *map(str, arguments)]

    return build


@pytest.fixture
def batch(command: Callable[..., list[str]], tmp_path: Path) -> Batch:
    def run(*arguments: object, given: str | None = None) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            command(*arguments),
            capture_output=True,
            text=True,
            input=given,
            cwd=tmp_path,
            check=False,
            timeout=120,
        )
        assert "Traceback" not in result.stderr, result.stderr
        return result

    return run


def rows(path: Path) -> list[tuple[str, str]]:
    """(picture, best name or error's type) of each row; fails if a single one is broken."""
    if path.suffix == ".parquet":
        table = pq.read_table(path).to_pylist()
        return [(r["image"], r["error_type"] or r["top"][0]["name"]) for r in table]
    data = path.read_bytes()
    if len(data) % PAGE == 0:
        data = data[: data.rfind(b"\n") + 1]
    assert data.endswith(b"\n") or not data
    if path.suffix == ".csv":
        assert data.endswith(b"\r\n") or not data
        table = list(csv.DictReader(io.StringIO(data.decode(), newline=""), strict=True))
        assert all(None not in row and None not in row.values() for row in table)
        return [(row["image"], row["error_type"] or row["name_1"]) for row in table]
    objects = [json.loads(line) for line in data.splitlines()]
    if objects and "rows_before" in objects[0]:
        del objects[0]
    return [
        (row["image"], row["error"]["type"] if "error" in row else row["top"][0]["name"])
        for row in objects
    ]


def wait_for(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.002)


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def test_a_folder_with_broken_files(
    batch: Batch, photos: Callable[[int], Path], classifier: FungiClassifier, tmp_path: Path
) -> None:
    folder = photos(30)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff but no more")
    (folder / "notes.txt").write_text("hello")
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(folder / "pipe")
    for suffix in (".jsonl", ".csv", ".parquet"):
        out = tmp_path / f"out{suffix}"
        result = batch("photos", "-o", out, "-k", 3)
        assert result.returncode == 1
        assert re.fullmatch(
            r"fungi-onnx: 34 pictures in \d+\.\d s \([\d,.]+/s\), 4 failed"
            rf" \(2 ImageDecodeError, 2 ImageFileError\): {out}\n\n"
            r"stand-in for .* Not for telling edible from inedible mushrooms, not for foraging\.\n",
            result.stderr,
        )
        assert result.stdout == ""
        found = dict(rows(out))
        assert len(found) == 34
        assert found["photos/gone.jpg"] == found["photos/pipe"] == "ImageFileError"
        assert found["photos/notes.txt"] == found["photos/broken.jpg"] == "ImageDecodeError"
    again = batch("photos", "-o", "out.jsonl", "-k", 3, "--resume", "--json")
    assert again.returncode == 1  # as if it had not been interrupted
    summary = json.loads(again.stdout)
    assert (summary["pictures"], summary["already"]) == (34, 34)
    assert summary["failed"] == {"ImageDecodeError": 2, "ImageFileError": 2}
    assert again.stderr.startswith("\nstand-in for")
    for line in (tmp_path / "out.jsonl").read_text().splitlines():
        row = json.loads(line)
        if "top" in row:
            alone = classifier.classify(tmp_path / row["image"], top_k=3).to_dict()
            assert [match["id"] for match in row["top"]] == [match["id"] for match in alone["top"]]


def test_a_list_its_order_and_its_duplicates(
    batch: Batch, photos: Callable[[int], Path], tmp_path: Path
) -> None:
    folder = photos(40)
    odd = os.fsdecode(b"odd \xff.jpg")
    (folder / odd).hardlink_to(folder / "0/00000.jpg")
    names = [str(path) for path in sorted(folder.rglob("*.jpg"), reverse=True)] * 2
    names.insert(3, "photos/missing.jpg")
    data = b"\xef\xbb\xbf" + b"\r\n".join(map(os.fsencode, names)) + b"\n\n"
    (tmp_path / "list.txt").write_bytes(data)
    for out, source in (("a.jsonl", "list.txt"), ("b.jsonl", "-")):
        given = data.decode("utf-8", "surrogateescape") if source == "-" else None
        if given is not None:
            given = given.replace("\udcff", "é")  # subprocess's text mode cannot say it
        result = batch(source, "-o", out, "--workers", 3, given=given)
        assert result.returncode == 1
        wanted = [name.replace("\udcff", "é") if given else name for name in names]
        assert [name for name, _ in rows(tmp_path / out)] == wanted
    # The first three rows stay, and of each name as many are left as the list has.
    lines = (tmp_path / "a.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "a.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:-1])
    assert batch("list.txt", "-o", "a.jsonl", "--resume", "--workers", 2).returncode == 1
    assert (tmp_path / "a.jsonl").read_bytes() == b"".join(lines)


def test_serial_and_parallel_are_one(
    batch: Batch, photos: Callable[[int], Path], tmp_path: Path
) -> None:
    photos(60)
    for workers in (1, 2, 7):
        assert batch("photos", "-o", f"{workers}.csv", "--workers", workers).returncode == 0
    first = (tmp_path / "1.csv").read_bytes()
    assert (tmp_path / "2.csv").read_bytes() == (tmp_path / "7.csv").read_bytes() == first


@pytest.mark.skipif(cpus.available() < 2, reason="there is one CPU")
def test_all_cpus_work_unless_told_otherwise(
    tiny: Path, photos: Callable[[int], Path], tmp_path: Path
) -> None:
    def most_at_once(*options: str) -> int:
        """The classifying threads of the command, run in this process, at its busiest."""
        seen, ended = 0, threading.Event()

        def watch() -> None:
            nonlocal seen
            while not ended.wait(0.001):
                names = [thread.name for thread in threading.enumerate()]
                seen = max(seen, sum(name.startswith("fungi-onnx_") for name in names))

        watcher = threading.Thread(target=watch)
        watcher.start()
        out = tmp_path / f"{len(options)}.jsonl"
        code = cli.main(["batch", str(photos(60)), "-m", str(tiny), "-o", str(out), *options])
        ended.set()
        watcher.join()
        assert code == 0
        return seen

    assert most_at_once() == cpus.available()
    assert most_at_once("--workers", "1") == 1


@SUFFIXES
def test_killed_again_and_again(
    command: Callable[..., list[str]],
    batch: Batch,
    photos: Callable[[int], Path],
    tmp_path: Path,
    suffix: str,
) -> None:
    """SIGKILL at random moments: no row is broken or lost, none is done twice or left out."""
    photos(1200)
    (tmp_path / "photos" / "broken.jpg").touch()
    assert batch("photos", "-o", f"whole{suffix}").returncode == 1
    out = tmp_path / f"out{suffix}"
    log = Path(f"{out}.journal.jsonl") if suffix == ".parquet" else out
    chance, before, kills = random.Random(suffix), 0, 0
    while kills < (20 if suffix == ".jsonl" else 10):
        process = subprocess.Popen(
            command("photos", "-o", out.name, "--resume"), cwd=tmp_path, stderr=subprocess.PIPE
        )
        if kills % 4 == 0:  # at any moment, also before the first row
            time.sleep(chance.uniform(0, 0.6))
        else:  # or when something has been written
            grown = size(log) + chance.randrange(30_000)
            wait_for(lambda p=process, g=grown: size(log) > g or p.poll() is not None)  # type: ignore[misc]
        process.kill()
        process.communicate()
        if process.returncode >= 0:
            break
        kills += 1
        found = rows(log) if log.exists() else []
        assert len(found) >= before
        assert max(Counter(name for name, _ in found).values(), default=0) <= 1
        before = len(found)
    assert kills >= 8
    result = batch("photos", "-o", out.name, "--resume")
    assert result.returncode == 1
    assert sorted(rows(out)) == sorted(rows(tmp_path / f"whole{suffix}"))
    assert sorted(os.listdir(tmp_path)) == sorted(
        [
            "photos",
            *(name + end for name in (out.name, f"whole{suffix}") for end in ("", ".run.json")),
        ]
    )


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_the_file_is_whole_at_any_moment(
    command: Callable[..., list[str]], photos: Callable[[int], Path], tmp_path: Path, suffix: str
) -> None:
    """Looked at as often as can be while it grows, its last byte ends a row."""
    photos(1000)
    out, looks = tmp_path / f"out{suffix}", 0
    with subprocess.Popen(
        command("photos", "-o", out.name), cwd=tmp_path, stderr=subprocess.PIPE
    ) as process:
        wait_for(lambda: size(out) > 0)
        with out.open("rb", buffering=0) as file:
            while looks % 100 or process.poll() is None:
                end = file.seek(-1, os.SEEK_END) + 1
                assert file.read(1) == b"\n" or end % PAGE == 0
                looks += 1
    assert looks > 1000
    assert len(rows(out)) == 1000


def test_killed_while_the_table_is_made(
    command: Callable[..., list[str]], batch: Batch, photos: Callable[[int], Path], tmp_path: Path
) -> None:
    """Around the moment when the journal becomes the table."""
    photos(60)
    assert batch("photos", "-o", "out.parquet").returncode == 0
    out, journal = tmp_path / "out.parquet", tmp_path / "out.parquet.journal.jsonl"
    chance = random.Random(1)
    for total in range(80, 241, 20):
        photos(total)
        before = size(journal)
        finished = len({*rows(out), *(rows(journal) if before else [])})
        process = subprocess.Popen(
            command("photos", "-o", out.name, "--resume"), cwd=tmp_path, stderr=subprocess.PIPE
        )
        wait_for(lambda p=process, n=before: size(journal) > n + 3_000 or p.poll() is not None)  # type: ignore[misc]
        finished += 6  # rows of about 420 bytes each
        time.sleep(chance.uniform(0, 0.08))
        process.kill()
        process.communicate()
        # There is a whole table at any moment, and in one of the two is what was finished.
        found = {*rows(out), *(rows(journal) if journal.exists() else [])}
        assert len(found) >= finished
    assert batch("photos", "-o", out.name, "--resume").returncode == 0
    assert len(dict(rows(out))) == len(rows(out)) == 240


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGINT, "SIGINT"), (signal.SIGTERM, "SIGTERM")]
)
def test_a_signal_stops_it_within_a_second(
    command: Callable[..., list[str]],
    batch: Batch,
    photos: Callable[[int], Path],
    tmp_path: Path,
    big: Path,
    number: int,
    name: str,
) -> None:
    """While a picture is being decoded that takes several."""
    photos(4)
    (tmp_path / "big.png").symlink_to(big)
    names = ["photos/0/00000.jpg", "photos/1/00001.jpg", "big.png", "photos/2/00002.jpg"]
    (tmp_path / "list").write_text("\n".join(names))
    out = tmp_path / "out.jsonl"
    with subprocess.Popen(
        command("list", "-o", "out.jsonl"), cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for(lambda: out.exists() and len(rows(out)) == 2)
        time.sleep(0.5)
        start = time.monotonic()
        process.send_signal(number)
        _, told = process.communicate()
        took = time.monotonic() - start
    assert took < 1
    assert process.returncode == -number, name  # what a shell shows as 130 or 143
    assert told == "fungi-onnx: stopped: 2 done; go on with --resume\n"
    assert [name for name, _ in rows(out)] == names[:2]
    if number == signal.SIGINT:
        assert batch("list", "-o", "out.jsonl", "--resume").returncode == 0
        assert [name for name, _ in rows(out)] == names


def test_ctrl_c_stops_a_shells_loop_too(
    command: Callable[..., list[str]], photos: Callable[[int], Path], tmp_path: Path
) -> None:
    photos(200)
    names = [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.glob("photos/*/*.jpg"))]
    (tmp_path / "list").write_text("\n".join(names * 150))  # half a minute of work
    line = " ".join(command("list", "-o", "$n.jsonl"))
    with subprocess.Popen(
        ["bash", "-c", f"for n in 1 2; do {line}; done"],
        cwd=tmp_path,
        start_new_session=True,
        stderr=subprocess.PIPE,
    ) as process:
        wait_for(lambda: size(tmp_path / "1.jsonl") > 0)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate()
    assert not (tmp_path / "2.jsonl").exists()
    assert 0 < len(rows(tmp_path / "1.jsonl")) < 30_000


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_race_into_one_file(
    command: Callable[..., list[str]],
    photos: Callable[[int], Path],
    tmp_path: Path,
    suffix: str,
    resume: bool,
) -> None:
    photos(400)
    options = ["photos", "-o", f"out{suffix}", *(["--resume"] if resume else [])]
    racers = [
        subprocess.Popen(command(*options), cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    told = [racer.communicate()[1] for racer in racers]
    codes = [racer.returncode for racer in racers]
    for code, text in zip(codes, told, strict=True):
        assert code in (0, 2)
        if code == 2:
            late = "there are results already: go on with --resume, or remove"
            assert "another run is writing to it" in text or (not resume and late in text)
    assert codes.count(0) >= 1 if resume else codes.count(0) == 1
    found = rows(tmp_path / f"out{suffix}")
    assert len(found) == len(dict(found)) == 400


def test_rows_come_while_the_pipe_is_open(
    command: Callable[..., list[str]], photos: Callable[[int], Path], tmp_path: Path
) -> None:
    photos(5)
    out = tmp_path / "out.csv"
    with subprocess.Popen(
        command("-", "-o", "out.csv", "--workers", 4), cwd=tmp_path, stdin=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        for number in range(5):
            name = f"photos/{number % 3}/{number:05}.jpg"
            process.stdin.write(name.encode() + b"\n")
            process.stdin.flush()
            wait_for(lambda n=number: out.exists() and len(rows(out)) == n + 1)  # type: ignore[misc]
        assert process.poll() is None
        process.stdin.close()
    assert process.returncode == 0


def test_names_are_not_drained_ahead(
    classifier: FungiClassifier, pictures: list[Path], tmp_path: Path
) -> None:
    class Counting(Results):
        written = 0

        def append(self, prediction: Prediction) -> None:
            self.written += 1
            super().append(prediction)

    pulled, furthest = 0, 0

    def names() -> Iterator[str]:
        nonlocal pulled, furthest
        for _ in range(400):
            pulled += 1
            furthest = max(furthest, pulled - results.written)
            yield str(pictures[0])

    with Counting(str(tmp_path / "out.csv"), {"made_by": {}}, 5) as results:
        progress = Progress(0, 0, lambda: None)
        summary = bulk.run(classifier, iter([names()]), results, progress, workers=3)
    assert (summary.pictures, pulled) == (400, 400)
    assert furthest <= 3 * 4 + 1


@SUFFIXES
def test_a_grown_folder(
    batch: Batch, photos: Callable[[int], Path], tmp_path: Path, suffix: str
) -> None:
    out = f"out{suffix}"
    photos(50)
    assert batch("photos", "-o", out, "--resume").returncode == 0
    first = rows(tmp_path / out)
    photos(80)
    assert batch("photos", "-o", out).returncode == 2
    result = batch("photos/", "-o", out, "--resume")
    assert result.returncode == 0
    assert result.stderr.startswith("fungi-onnx: 30 pictures in ")
    assert "50 were there already, none failed" in result.stderr
    assert rows(tmp_path / out)[:50] == first
    assert len(dict(rows(tmp_path / out))) == len(rows(tmp_path / out)) == 80
    nothing = batch("photos", "-o", out, "--resume")
    assert nothing.stderr.startswith("fungi-onnx: nothing new, 80 were there already, none failed")


def test_resuming_refuses_what_would_be_mixed(
    batch: Batch, photos: Callable[[int], Path], tmp_path: Path, tiny: Path
) -> None:
    photos(3)
    assert batch("photos", "-o", "out.csv").returncode == 0
    whole = (tmp_path / "out.csv").read_bytes()
    other = tmp_path / "other.onnx"
    other.write_bytes(tiny.read_bytes().replace(b"spotted", b"dappled"))
    for options, told in (
        (["-k", 3, "--view", "fast"], "mixed: top_k 5 → 3, view exact → fast; go on as it was"),
        (["--crop", "centre"], "crop whole → centre"),
        (["--max-megapixels", 1], "max_pixels 200000000 → 1000000"),
        (["--max-megabytes", 1], "max_bytes 100000000 → 1000000"),
        (["--allow-truncated"], "allow_truncated False → True"),
    ):
        result = batch("photos", "-o", "out.csv", "--resume", *options)
        assert result.returncode == 2
        assert told in result.stderr
    result = batch("photos/0", "-o", "out.csv", "--resume")
    assert result.returncode == 2
    assert "folder photos → photos/0" in result.stderr
    with tiny.open("rb") as file:
        data = bytearray(file.read())
    data[data.index(b"fungi_onnx.schema") - 5000] ^= 1
    other.write_bytes(data)
    result = batch("photos", "-o", "out.csv", "--resume", "-m", other)
    assert result.returncode == 2
    assert re.search(r"mixed: model SHA-256 [0-9a-f]{64} → [0-9a-f]{64}; go on", result.stderr)
    assert (tmp_path / "out.csv").read_bytes() == whole


def test_wrong_usage(batch: Batch, photos: Callable[[int], Path], tmp_path: Path) -> None:
    photos(1)
    for arguments, told in (
        (["photos"], "required: -o/--output"),
        (["photos", "-o", "out.txt"], "must end with .jsonl, .ndjson, .csv, .parquet"),
        (["photos", "-o", "gone/out.csv"], "gone/out.csv: cannot be written: No such file"),
        (["gone", "-o", "out.csv"], "gone: no such folder or list file"),
        (["photos/0/00000.jpg", "-o", "out.csv"], "is not a list of names"),
        (["photos", "-o", "out.csv", "--workers", 0], "'0' is not a whole number above 0"),
        (["photos", "-o", "out.csv", "--threads", 1], "unrecognized arguments: --threads"),
        (["photos", "-o", "out.csv", "--device", "gpu"], "device must be"),
    ):
        result = batch(*arguments)
        assert result.returncode == 2, arguments
        assert told in result.stderr
        assert result.stdout == ""
    assert batch("photos", "-o", "out.csv", "-m", "gone.onnx").returncode == 3
    assert batch("photos", "-o", "out.csv", "--device", "cuda:7").returncode == 4
    assert os.listdir(tmp_path) == ["photos"]


def test_results_inside_the_folder(
    batch: Batch, photos: Callable[[int], Path], tmp_path: Path
) -> None:
    photos(5)
    for suffix in (".jsonl", ".parquet"):
        folder = tmp_path / "photos" / "2"
        assert batch(folder, "-o", f"photos/2/out{suffix}").returncode == 0
        assert [Path(name).name for name, _ in rows(folder / f"out{suffix}")] == ["00002.jpg"]
        assert batch(folder, "-o", f"photos/2/out{suffix}", "--resume").returncode == 0
        for path in folder.glob("out*"):
            path.unlink()


def test_a_full_disk_ends_it_and_a_freed_one_goes_on(
    command: Callable[..., list[str]], batch: Batch, photos: Callable[[int], Path], tmp_path: Path
) -> None:
    photos(100)
    limited = ["bash", "-c", 'ulimit -f 8; exec "$@"', "-", *command("photos", "-o", "out.jsonl")]
    result = subprocess.run(
        limited,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "FUNGI_ONNX_CACHE": "off"},
    )
    assert result.returncode == 1
    assert result.stderr == (
        "fungi-onnx: out.jsonl: cannot be written: File too large; the results so far are kept:"
        " mend that and go on with --resume\n"
    )
    assert 0 < len(rows(tmp_path / "out.jsonl")) < 100
    assert batch("photos", "-o", "out.jsonl", "--resume").returncode == 0
    assert len(dict(rows(tmp_path / "out.jsonl"))) == len(rows(tmp_path / "out.jsonl")) == 100


def test_memory_is_flat(
    command: Callable[..., list[str]], photos: Callable[[int], Path], tmp_path: Path
) -> None:
    photos(5000)
    samples: list[tuple[int, float]] = []
    out = tmp_path / "out.jsonl"
    with subprocess.Popen(
        command("photos", "-o", out.name), cwd=tmp_path, stderr=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
            if pages:  # of a process that has just ended there are none
                samples.append((size(out), pages * os.sysconf("SC_PAGE_SIZE") / 1e6))
            time.sleep(0.02)
    assert process.returncode == 0
    warm = [memory for done, memory in samples if done > size(out) / 5]
    assert len(warm) > 20
    assert max(warm) - min(warm) < 10


def watched(arguments: list[str], folder: Path, columns: int = 90) -> tuple[str, int]:
    """What a terminal is shown, and the exit code."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.execv(arguments[0], arguments)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    shown = b""
    while True:
        try:
            part = os.read(terminal, 1 << 16)
        except OSError:  # that is how a terminal ends
            break
        if not part:
            break
        shown += part
    os.close(terminal)
    return shown.decode(), os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def test_the_bar(
    command: Callable[..., list[str]], photos: Callable[[int], Path], tmp_path: Path
) -> None:
    folder = photos(700)
    (folder / "broken.jpg").touch()
    shown, code = watched(command("photos", "-o", "out.csv"), tmp_path)
    assert code == 1
    bars = re.findall(r" (\d+)% ([ █▏▎▍▌▋▊▉]+) ([ \d]+) of 701 · [\d,]+/s · \d+ s left", shown)
    assert len(bars) >= 2
    assert [int(done) for _, _, done in bars] == sorted(int(done) for _, _, done in bars)
    assert "1 failed" in shown
    last = shown.rstrip().split("\r")
    assert any(not line.strip() for line in last[-6:])  # the bar goes when it is done
    assert "700 pictures" not in shown
    assert "fungi-onnx: 701 pictures in " in shown
    photos(1400)
    shown, code = watched(command("photos", "-o", "out.csv", "--resume"), tmp_path, columns=40)
    assert code == 1
    counts = [int(n.replace(",", "")) for n in re.findall(r"([\d,]+) (?:of|done)", shown)]
    assert counts[0] >= 701
    assert max(counts) <= 1401
    assert max(map(len, re.findall(r"\r([^\r\n]*%[^\r\n]*)", shown))) <= 40
    (tmp_path / "list").write_text("photos/0/00000.jpg\n" * 300)
    line = ["/bin/sh", "-c", "cat list | " + " ".join(command("-", "-o", "piped.csv"))]
    shown, code = watched(line, tmp_path)
    assert code == 0
    assert re.search(r"\d+ done · [\d,]+/s", shown)
    assert "%" not in shown.split("fungi-onnx:")[0]


def test_no_bar_without_a_terminal(batch: Batch, photos: Callable[[int], Path]) -> None:
    photos(300)
    result = batch("photos", "-o", "out.csv")
    assert result.stderr.count("\n") == 3
    assert "\r" not in result.stderr


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (61, "1 min 01 s"),
        (3599.7, "1 h 00 min"),
        (9e4, "25 h 00 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_help_has_an_example_and_tells_of_order(batch: Batch) -> None:
    result = batch("--help")
    assert result.returncode == 0
    assert "Example: fungi-onnx batch photos -o results.jsonl" in result.stdout
    text = " ".join(result.stdout.split())
    assert "in the order in which the system lists it" in text
    assert "relative ones from the current folder" in text


def test_the_summary() -> None:
    facts: dict[str, Any] = {"results": "o.csv", "total": None, "stopped_by": None}
    one = bulk.Summary(pictures=1, already=0, failed={}, seconds=0.5, **facts)
    assert str(one) == "1 picture in 0.5 s (2.0/s), none failed: o.csv"
    assert one.to_dict()["per_second"] == 2
    many = bulk.Summary(
        pictures=9000, already=1000, failed={"B": 1, "A": 2000}, seconds=90, **facts
    )
    assert str(many) == (
        "8,000 pictures in 1 min 30 s (89/s), 1,000 were there already, 2,001 failed"
        " (2,000 A, 1 B): o.csv"
    )
    facts.update(total=5000, stopped_by=2)
    stopped = bulk.Summary(pictures=1234, already=0, failed={}, seconds=90, **facts)
    assert str(stopped) == "stopped: 1,234 of 5,000 done; go on with --resume"
