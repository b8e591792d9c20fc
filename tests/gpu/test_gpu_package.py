"""onnxruntime's real package for GPUs where there is no GPU: what is missing is said, never hidden.

The package lies in an environment of its own, .venv/gpu; NVIDIA's own driver library beside it. In
copies of that environment files are really missing. `make gpu` sets it up.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GPU = ROOT / ".venv" / "gpu"
DRIVER = GPU / "driver"
TINY, SAMPLE = ROOT / "tests" / "data" / "tiny.onnx", ROOT / "tests" / "data" / "sample.jpg"

NO_DRIVER = (
    "there is no NVIDIA driver (libcuda.so.1 cannot be loaded): install it and see that nvidia-smi"
    " works; a container needs docker run --gpus all and the NVIDIA Container Toolkit"
)
NO_GPU = (
    "the NVIDIA driver sees no GPU (CUDA error 100: no CUDA-capable device is detected): see"
    " nvidia-smi, CUDA_VISIBLE_DEVICES, and docker's --gpus"
)
CHAIN = " (fungi-onnx doctor shows the whole chain)"


LIBRARIES = {
    "libcudart.so.13": "nvidia-cuda-runtime",
    "libcublasLt.so.13": "nvidia-cublas",
    "libcublas.so.13": "nvidia-cublas",
    "libcurand.so.10": "nvidia-curand",
    "libcudnn.so.9": "nvidia-cudnn-cu13",
}


def _can_load(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


pytestmark = [
    pytest.mark.skipif(
        not (GPU / ".ready").exists(), reason="there is no onnxruntime-gpu: `make gpu` said why"
    ),
    pytest.mark.skipif(
        _can_load("libcuda.so.1"), reason="there is an NVIDIA driver, so other errors are due"
    ),
]
with_driver = pytest.mark.skipif(
    not (DRIVER / "libcuda.so.1").exists(), reason="NVIDIA's driver library could not be fetched"
)

Run = Callable[..., subprocess.CompletedProcess[str]]
COMMAND = "import sys; from _fungi_onnx_command import main; sys.exit(main())"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs Python code, or the command, in .venv/gpu or in a copy of it."""

    def run(
        *arguments: object, code: str = COMMAND, home: Path = GPU, driver: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        env = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
        if driver is not None:
            env["LD_LIBRARY_PATH"] = str(driver)
        env["FUNGI_ONNX_CACHE"] = str(tmp_path / "cache")
        result = subprocess.run(
            [home / "bin" / "python", "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            env=env,
            check=False,
            timeout=120,
        )
        assert "Traceback" not in result.stderr, result.stderr
        return result

    return run


@pytest.fixture
def copy(tmp_path: Path) -> Callable[..., Path]:
    """A copy of .venv/gpu without some of its files; what is large is linked, and only read."""

    def make(*missing: str) -> Path:
        home = tmp_path / "env"
        subprocess.run([GPU / "bin" / "python", "-m", "venv", "--without-pip", home], check=True)
        packages = next((home / "lib").glob("*/site-packages"))
        original = next((GPU / "lib").glob("*/site-packages"))

        def link(source: str, target: str) -> None:
            # What pip may write into is really copied.
            shutil.copy2(source, target) if "onnxruntime" in source else os.symlink(source, target)

        shutil.copytree(original, packages, copy_function=link, dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns("pip", "pip-*", "__pycache__"))  # fmt: skip
        for pattern in missing:
            found = list(packages.glob(pattern))
            assert found, f"there is no {pattern}"
            for path in found:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        return home

    return make


def installed() -> str:
    """The version of onnxruntime-gpu, by the name of its folder."""
    (folder,) = (GPU / "lib").glob("*/site-packages/onnxruntime_gpu-*.dist-info")
    return folder.name.removesuffix(".dist-info").partition("-")[2]


def unavailable(result: subprocess.CompletedProcess[str], device: str = "cuda") -> str:
    """Checks how the command fails where a device cannot be had, and gives the reason."""
    assert (result.returncode, result.stdout) == (4, ""), result.stderr
    start = f"fungi-onnx: device '{device}' was asked for and cannot run the model here: "
    assert result.stderr.startswith(start)
    assert result.stderr.endswith(f"{CHAIN}\n")
    assert result.stderr.count("\n") == 1
    return result.stderr[len(start) : -len(CHAIN) - 1]


@pytest.mark.parametrize(
    "command",
    [
        ["classify", SAMPLE],
        ["selftest"],
        ["bench"],
        ["batch", SAMPLE.parent, "-o", "{folder}/out.jsonl"],
    ],
    ids=lambda command: command[0],
)
def test_cuda_that_is_named_is_never_replaced(
    run: Run, command: list[object], tmp_path: Path
) -> None:
    arguments = [str(argument).format(folder=tmp_path) for argument in command]
    assert unavailable(run(*arguments, "-m", TINY, "--device", "cuda")) == NO_DRIVER
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("device", ["cuda:0", "cuda:1", "cuda:1,cuda:0"])
def test_in_python_too(run: Run, device: str) -> None:
    code = f"""
from fungi_onnx import DeviceUnavailableError, FungiClassifier
try:
    FungiClassifier({str(TINY)!r}, device={device!r})
except DeviceUnavailableError as error:
    print(error)
"""
    first = device.partition(",")[0]
    assert run(code=code).stdout == (
        f"device '{first}' was asked for and cannot run the model here: {NO_DRIVER}{CHAIN}\n"
    )


def test_auto_is_the_cpu_and_says_so_once(run: Run) -> None:
    result = run("classify", SAMPLE, SAMPLE, "-m", TINY, "--json")
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) == 2
    assert result.stderr.count(f"device 'auto' is the CPU: {NO_DRIVER}\n") == 1
    assert "onnxruntime:" not in result.stderr  # its own log lines
    selftest = json.loads(run("selftest", "-m", TINY, "--json").stdout)
    assert (selftest["ok"], selftest["device"]) == (True, "cpu")
    quiet = run("classify", SAMPLE, "-m", TINY, "--device", "cpu")
    assert "CUDA" not in quiet.stderr
    assert "NVIDIA" not in quiet.stderr


def test_the_doctor_shows_the_chain(run: Run) -> None:
    facts = json.loads(run("doctor", "-m", TINY, "--json").stdout)
    assert re.fullmatch(r"onnxruntime-gpu 1\.\d+\.\d+", facts["versions"]["onnxruntime"])
    assert facts["cuda"] == {
        "package": "built for CUDA 13",
        "driver": NO_DRIVER,
        "gpus": "none",
        "libraries": "found",
    }
    assert facts["devices"]["cpu"].startswith("works: loads in")
    assert facts["devices"]["cuda"] == "not usable, see cuda driver"


@with_driver
def test_a_driver_that_is_too_old_and_sees_no_gpu(run: Run) -> None:
    reason = unavailable(run("selftest", "-m", TINY, "--device", "cuda:1", driver=DRIVER), "cuda:1")
    too_old, no_gpu = reason.split("; ")
    assert re.fullmatch(
        r"the NVIDIA driver can run CUDA up to 12\.\d, and onnxruntime 1\.\d+\.\d+ needs CUDA 13:"
        r" update the driver, or pip install 'onnxruntime-gpu\[cuda,cudnn\]<1\.27'",
        too_old,
    )
    assert no_gpu == NO_GPU
    auto = run("selftest", "-m", TINY, driver=DRIVER)
    assert auto.returncode == 0
    assert f"device 'auto' is the CPU: {reason}\n" in auto.stderr
    assert "probes passed on cpu" in auto.stdout


@with_driver
def test_the_provider_knows_every_option(run: Run) -> None:
    """It reads its options before it looks for a GPU, and refuses those that it does not know."""
    code = """
import onnxruntime as ort
from fungi_onnx import cuda
from fungi_onnx.tuning import Tuning
cuda.preload()
on = Tuning(graphs=True, nhwc=True, tf32=True)
for more in ({}, {"no_such_option": "1"}):
    options = {**cuda.provider_options(0, on), **more}
    del options["device_id"]  # that one it looks for at once
    try:
        ort.InferenceSession(MODEL, providers=[(cuda.PROVIDER, options)], enable_fallback=0)
    except Exception as error:
        print(str(error).replace("\\n", " "))
"""
    known, unknown = run(code=f"MODEL = {str(TINY)!r}{code}", driver=DRIVER).stdout.splitlines()
    assert "CUDA failure" in known
    assert "provider option" not in known
    assert 'Unknown provider option: "no_such_option"' in unknown


def test_the_extra_s_versions_fit_together(run: Run) -> None:
    """CUDA's and cuDNN's majors, and all that the provider's library is linked with."""
    code = """
import importlib.metadata, json, onnxruntime as ort
from fungi_onnx import cuda
names = [d.metadata["Name"] for d in importlib.metadata.distributions()]
print(json.dumps({
    "built": cuda.built_for(),
    "missing": cuda.missing_libraries(),
    "versions": {n: importlib.metadata.version(n) for n in names if n.startswith("nvidia-")},
    "package": list(cuda.packages()),
}))
"""
    facts = json.loads(run(code=code).stdout)
    versions = facts["versions"]
    assert facts["package"] == ["onnxruntime-gpu"]
    assert facts["missing"] == []
    assert facts["built"] == 13
    assert versions["nvidia-cuda-runtime"].startswith("13.")
    assert versions["nvidia-cublas"].startswith("13.")
    assert versions["nvidia-cudnn-cu13"].startswith("9.")
    # The loader's own word, without a line of ours.
    packages = next((GPU / "lib").glob("*/site-packages"))
    provider = packages / "onnxruntime" / "capi" / "libonnxruntime_providers_cuda.so"
    folders = ":".join(str(path) for path in packages.glob("nvidia/*/lib"))
    found = subprocess.run(
        ["ldd", provider], capture_output=True, text=True, check=True,
        env={**os.environ, "LD_LIBRARY_PATH": folders},
    ).stdout  # fmt: skip
    assert re.findall(r"(\S+) => not found", found) == ["libcuda.so.1"]
    assert "libcudart.so.13 => " in found


@pytest.mark.skipif(_can_load("libcudnn.so.9"), reason="the system has a cuDNN of its own")
def test_a_missing_cudnn_is_named(run: Run, copy: Callable[..., Path]) -> None:
    """onnxruntime loads it late: without it a session is made, and the first run fails."""
    home = copy("nvidia/cudnn")
    reason = unavailable(run("selftest", "-m", TINY, "--device", "cuda", home=home))
    assert reason == (
        f"{NO_DRIVER}; libraries are not found, libcudnn.so.9 (nvidia-cudnn-cu13): pip install"
        f" 'onnxruntime-gpu[cuda,cudnn]=={installed()}'"
    )


@pytest.mark.skipif(_can_load("libcudnn.so.9"), reason="the system has a cuDNN of its own")
def test_all_missing_libraries_are_named(run: Run, copy: Callable[..., Path]) -> None:
    home = copy("nvidia")
    reason = unavailable(run("selftest", "-m", TINY, "--device", "cuda", home=home))
    # A machine may have some of them by itself.
    expected = ", ".join(
        f"{file} ({package})" for file, package in LIBRARIES.items() if not _can_load(file)
    )
    assert "libcudnn.so.9" in expected
    assert reason == (
        f"{NO_DRIVER}; libraries are not found, {expected}: pip install"
        f" 'onnxruntime-gpu[cuda,cudnn]=={installed()}'"
    )
    doctor = run("doctor", "-m", TINY, home=home).stdout
    assert re.search(rf"^cuda libraries +not found, {re.escape(expected)}: pip ", doctor, re.M)


def test_both_packages_in_one_environment(run: Run, copy: Callable[..., Path]) -> None:
    home = copy()
    pip = [sys.executable, "-m", "pip", "--python", home / "bin" / "python"]
    installed = subprocess.run(
        [*pip, "install", "--quiet", "--no-deps", "--disable-pip-version-check", "onnxruntime"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert installed.returncode == 0, installed.stderr
    swap = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'fungi-onnx[gpu]'"
    assert unavailable(run("selftest", "-m", TINY, "--device", "cuda", home=home)) == (
        "onnxruntime and onnxruntime-gpu are both installed and overwrite each other, and what is"
        f" left has no CUDA: {swap}"
    )
    facts = json.loads(run("doctor", "-m", TINY, "--json", home=home).stdout)
    assert re.fullmatch(
        r"onnxruntime 1\.\S+, onnxruntime-gpu 1\.\S+ - both are installed and overwrite each other:"
        rf" {re.escape(swap)}",
        facts["versions"]["onnxruntime"],
    )
    auto = run("selftest", "-m", TINY, home=home)
    assert auto.returncode == 0
    assert "device 'auto' is the CPU: onnxruntime and onnxruntime-gpu are both" in auto.stderr
