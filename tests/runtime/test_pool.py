"""Several devices as one. They are CPU sessions here: the sharing is the same."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from fungi_onnx import DeviceUnavailableError, FungiClassifier, ImageError, selftest
from fungi_onnx import pool as pool_room
from fungi_onnx.pool import Pool
from fungi_onnx.session import Session, say_why_not_cuda


class Device(Session):
    """A CPU that calls itself a GPU, takes batches of three, and says who ran at once."""

    def __init__(self, path: Path, name: str, busy: threading.Barrier | None = None) -> None:
        super().__init__(path, "cpu", 1)
        self.device, self.batch, self.parallel = name, 3, 1
        self.runs: list[int] = []
        self.busy = busy
        self.alone = threading.Lock()

    def run(self, images):
        assert self.alone.acquire(blocking=False), "two runs at once on one device"
        try:
            self.runs.append(len(images))
            if self.busy is not None:
                self.busy.wait(10)
            time.sleep(0.002)
            return super().run(images)
        finally:
            self.alone.release()


class OnDevices(FungiClassifier):
    """A classifier whose session is replaced by these."""

    def __init__(self, path: Path, *sessions: Session) -> None:
        super().__init__(path, device="cpu", threads=2)
        self._session = Pool(list(sessions))
        self.device = self._session.device


@pytest.fixture(scope="module")
def samples(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Five different parts of the sample."""
    folder = tmp_path_factory.mktemp("samples")
    with PIL.Image.open(sample) as picture:
        for number in range(5):
            part = picture.crop((0, 0, 100 + 40 * number, 300 - 40 * number))
            part.save(folder / f"{number}.png")
    return sorted(folder.iterdir())


@pytest.fixture
def two(tiny: Path) -> tuple[Device, Device]:
    return Device(tiny, "cuda:0"), Device(tiny, "cuda:1")


def test_both_are_at_work_at_the_same_time(tiny: Path) -> None:
    together = threading.Barrier(2)  # breaks unless both are in it
    devices = [Device(tiny, f"cuda:{number}", together) for number in range(2)]
    pool = Pool(devices)
    assert (pool.device, pool.parallel) == ("cuda:0,cuda:1", 2)
    images = np.zeros((1, *devices[0].shapes()[0][1:]), np.float32)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(pool.run, [images] * 20))
    assert [len(device.runs) for device in devices] == [10, 10]


def test_many_pictures_in_their_order_with_their_errors(
    two: tuple[Device, Device], tiny: Path, samples: list[Path]
) -> None:
    given = [*samples, b"no picture", *samples, samples[0].parent / "missing.jpg"] * 3
    classifier = OnDevices(tiny, *two)
    found = list(classifier.classify_many(given, 3, workers=4))
    expected = list(FungiClassifier(tiny, device="cpu").classify_many(given, 3))
    assert len(found) == len(given)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.image, ours.ok) == (theirs.image, theirs.ok)
        if ours.ok:
            assert [match.id for match in ours.top] == [match.id for match in theirs.top]
            assert abs(ours.top[0].probability - theirs.top[0].probability) < 1e-6
        else:
            assert isinstance(ours.error, ImageError)
            assert str(ours.error) == str(theirs.error)
    assert min(len(device.runs) for device in two) > 0
    assert sum(sum(device.runs) for device in two) == sum(one.ok for one in expected)
    assert max(max(device.runs) for device in two) == 3, "the largest batch that there may be"


def test_a_batch_of_nothing_but_errors(two: tuple[Device, Device], tiny: Path) -> None:
    found = list(OnDevices(tiny, *two).classify_many([b"", b"x", b"y", b"z"]))
    assert [one.ok for one in found] == [False] * 4
    assert two[0].runs == two[1].runs == []


def test_what_comes_before_a_failing_source_is_answered(
    two: tuple[Device, Device], tiny: Path, samples: list[Path]
) -> None:
    def source():
        yield from samples[:4]
        raise OSError("the disk is gone")

    answers = OnDevices(tiny, *two).classify_many(source())
    assert [next(answers).ok for _ in range(4)] == [True] * 4
    with pytest.raises(OSError, match="the disk is gone"):
        next(answers)


def test_a_million_are_not_read_ahead(
    two: tuple[Device, Device], tiny: Path, samples: list[Path]
) -> None:
    pulled = 0

    def source():
        nonlocal pulled
        while True:
            pulled += 1
            yield samples[0]

    answers = OnDevices(tiny, *two).classify_many(source(), workers=2)
    for _ in range(30):
        next(answers)
    # 2 batches being decoded, one for each device, one being stacked, and the one given out
    assert pulled <= 30 + 3 * (2 + 2 + 1 + 1) + 2 * 4
    answers.close()
    deadline = time.monotonic() + 5
    while any(thread.name.startswith("fungi-onnx") for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "threads are left behind"
        time.sleep(0.01)


def test_the_golden_probes_run_on_each_device(two: tuple[Device, Device], tiny: Path) -> None:
    report = selftest.run(OnDevices(tiny, *two))
    assert report.ok
    assert report.device == "cuda:0,cuda:1"
    assert report.tolerance == OnDevices(tiny, *two).model.probes.tolerance["cuda"]
    assert len(report.results) == 16
    assert [result.name.rpartition(" on ")[2] for result in report.results[::8]] == [
        "cuda:0",
        "cuda:1",
    ]
    assert [len(device.runs) for device in two] == [8, 8]


def test_one_wrong_device_of_two_is_found_out(tiny: Path) -> None:
    class Wrong(Device):
        def run(self, images):
            return np.roll(super().run(images), 1, axis=1)

    report = selftest.run(OnDevices(tiny, Device(tiny, "cuda:0"), Wrong(tiny, "cuda:1")))
    assert not report.ok
    assert {one.name.rpartition(" ")[2] for one in report.results if one.problem} == {"cuda:1"}


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("wrong", "device 'auto' is the CPU: cuda:0 answers wrongly: probabilities differ by"),
        ("broken", "device 'auto' is the CPU: the GPU fell off the bus"),
    ],
)
def test_auto_takes_no_gpu_whose_first_golden_probe_fails(
    fault: str,
    text: str,
    tiny: Path,
    sample: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Faulty(Device):
        def run(self, images):
            if fault == "broken":
                raise DeviceUnavailableError("the GPU fell off the bus")
            return np.roll(super().run(images), 1, axis=1)

    faulty = Faulty(tiny, "cuda:0")
    monkeypatch.setattr(pool_room, "load", lambda *_, **__: faulty)
    say_why_not_cuda.cache_clear()
    with caplog.at_level(logging.INFO, "fungi_onnx"):
        classifier = FungiClassifier(tiny, device="auto")
    assert classifier.device == "cpu"
    assert classifier.classify(sample).ok
    assert [record.getMessage()[: len(text)] for record in caplog.records] == [text]
    assert len(faulty.runs) == (fault == "wrong")  # one probe is enough
    # Named, it stays: what is wrong with it says the self-test.
    assert FungiClassifier(tiny, device="cuda").device == "cuda:0"


def test_auto_takes_a_gpu_that_answers_rightly(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(tiny, "cuda:0")
    monkeypatch.setattr(pool_room, "load", lambda *_, **__: device)
    assert FungiClassifier(tiny, device="auto").device == "cuda:0"
    assert device.runs == [1]
