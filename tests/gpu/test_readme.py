"""The README's way to a GPU, as far as it goes without one."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from .test_gpu_package import GPU, NO_DRIVER, ROOT, TINY, pytestmark  # noqa: F401 - its skips


@pytest.mark.parametrize("page", ["README.md", "docs/gpu.md"])
def test_every_command_up_to_the_missing_gpu(page: str, tmp_path: Path) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    block = re.search(r"```bash\n(python3 -m venv gpu\n.*?)```", text, flags=re.DOTALL)[1]
    make, install, *commands = block.splitlines()
    assert make == "python3 -m venv gpu"
    # `make gpu` has done just this.
    assert install == "gpu/bin/pip install '.[gpu]'"
    assert "$(INSTALL) --editable '.[gpu]'" in (ROOT / "Makefile").read_text(encoding="utf-8")
    (tmp_path / "gpu").symlink_to(GPU)
    (tmp_path / "fungi.onnx").symlink_to(TINY)
    *before, last = (
        subprocess.run(
            command.split(), cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
        )
        for command in commands
    )
    for result in before:
        assert result.returncode == 0, result.stderr
    assert commands[-1] == "gpu/bin/fungi-onnx selftest -m fungi.onnx --device cuda"
    assert last.returncode == 4
    assert NO_DRIVER in last.stderr


def test_the_extra_brings_cuda_and_cudnn() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    (gpu,) = extras["gpu"]
    assert gpu.startswith("onnxruntime-gpu[cuda,cudnn]>=1.27")
    assert not any(name.startswith("onnxruntime-gpu") for name in extras["cpu"])
