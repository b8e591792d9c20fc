from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fungi_onnx import FungiClassifier

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="session", autouse=True)
def _a_cache_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests leave the user's cache folder alone, and start with an empty one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUNGI_ONNX_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_reaches_the_commands() -> Iterator[None]:
    """A shell's job in the background ignores SIGINT, and what it starts inherits that."""
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _no_model_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FUNGI_ONNX_MODEL", raising=False)


@pytest.fixture(scope="session")
def tiny() -> Path:
    """A stand-in of 12 classes for 48x48 pictures, made by `make fixtures`."""
    return DATA / "tiny.onnx"


@pytest.fixture(scope="session")
def bare() -> Path:
    """An ONNX file with the right tensors and no metadata."""
    return DATA / "bare.onnx"


@pytest.fixture(scope="session")
def sample() -> Path:
    """A drawing of species 3, 320x320."""
    return DATA / "sample.jpg"


@pytest.fixture(scope="session")
def classifier(tiny: Path) -> FungiClassifier:
    return FungiClassifier(tiny, device="cpu")


@pytest.fixture
def altered(tiny: Path, tmp_path: Path):
    """A copy of the tiny model with some bytes replaced by as many others."""

    def alter(old: bytes, new: bytes) -> Path:
        data = tiny.read_bytes()
        assert len(old) == len(new)
        assert data.count(old) >= 1, f"{old!r} is not in the file"
        path = tmp_path / "altered.onnx"
        path.write_bytes(data.replace(old, new, 1))
        return path

    return alter
