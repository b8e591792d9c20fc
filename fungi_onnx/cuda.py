"""CUDA, link by link: the package, the driver, the GPU, the libraries; and what is missing.

onnxruntime, asked for CUDA where it cannot be had, takes the CPU and writes a line to its log. This
room finds out why, with the driver's and the loader's own words.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import sys
import weakref
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from fungi_onnx.tuning import Tuning

PROVIDER = "CUDAExecutionProvider"
INSTALL = "pip install 'fungi-onnx[gpu]'"
SWAP = f"pip uninstall -y onnxruntime onnxruntime-gpu && {INSTALL}"
_FOR_CUDA_12 = "pip install 'onnxruntime-gpu[cuda,cudnn]<1.27'"  # the last that is built for it
_PORTABLE = 1  # cudaHostRegisterPortable: pinned for every device

# What onnxruntime's CUDA provider is linked with (readelf -d says so), and cuDNN, which it loads
# later, by CUDA's major version: the library, its own version, and the package that has it.
_LIBRARIES = {
    12: (
        ("cudart", 12, "nvidia-cuda-runtime-cu12"),
        ("cublasLt", 12, "nvidia-cublas-cu12"),
        ("cublas", 12, "nvidia-cublas-cu12"),
        ("curand", 10, "nvidia-curand-cu12"),
        ("cufft", 11, "nvidia-cufft-cu12"),
        ("cudnn", 9, "nvidia-cudnn-cu12"),
    ),
    13: (
        ("cudart", 13, "nvidia-cuda-runtime"),
        ("cublasLt", 13, "nvidia-cublas"),
        ("cublas", 13, "nvidia-cublas"),
        ("curand", 10, "nvidia-curand"),
        ("cudnn", 9, "nvidia-cudnn-cu13"),
    ),
}


@dataclass(frozen=True)
class Driver:
    """What the NVIDIA driver says.

    Attributes:
        version: the newest CUDA that it can run, such as (13, 0); None if there is no driver.
        gpus: the names of the GPUs that this process may use, by their index.
        problems: why none can be used, and what to do.
    """

    version: tuple[int, int] | None = None
    gpus: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def provider_options(index: int, tuning: Tuning) -> dict[str, str]:
    """The options of onnxruntime's CUDA provider.

    Float32 convolutions are float32 unless it is asked otherwise: with TF32's 10 bits of mantissa
    probabilities would differ by more than the 1e-4 that the model file promises.
    """
    return {
        "device_id": str(index),
        "use_tf32": str(int(tuning.tf32)),
        "prefer_nhwc": str(int(tuning.nhwc)),
        "enable_cuda_graph": str(int(tuning.graphs)),
    }


@functools.cache
def preload() -> None:
    """Loads the libraries of pip's NVIDIA packages, so that no LD_LIBRARY_PATH is needed."""
    ort.set_default_logger_severity(4)  # what is missing is said once, by `missing_links`
    with contextlib.redirect_stdout(io.StringIO()):  # it prints
        ort.preload_dlls()


def package_problem() -> str | None:
    """Why the installed onnxruntime cannot do CUDA, and what to do; None if it can."""
    if PROVIDER in ort.get_available_providers():
        return None
    if len(packages()) > 1:
        return (
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other, and what"
            f" is left has no CUDA: {SWAP}"
        )
    return f"the installed onnxruntime {ort.__version__} is built without CUDA: {SWAP}"


def packages() -> dict[str, str]:
    """The installed packages that hold onnxruntime, with their versions; there should be one."""
    found = {}
    for name in ("onnxruntime", "onnxruntime-gpu"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def built_for() -> int:
    """The major version of CUDA that the installed onnxruntime is built for; 0 for none."""
    text = str(getattr(ort, "cuda_version", "") or "0")
    return int(text.partition(".")[0])


def driver() -> Driver:
    """Asks the NVIDIA driver which CUDA it can run and which GPUs there are."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        cuda = ctypes.CDLL(name)
    except OSError:
        return Driver(
            problems=(
                f"there is no NVIDIA driver ({name} cannot be loaded): install it and see that"
                " nvidia-smi works; a container needs docker run --gpus all and the NVIDIA"
                " Container Toolkit",
            )
        )
    number, count = ctypes.c_int(), ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(number))
    newest = number.value // 1000, number.value % 1000 // 10
    problems = []
    if newest[0] < built_for():
        older = f", or {_FOR_CUDA_12}" if newest[0] == 12 else ""
        problems.append(
            f"the NVIDIA driver can run CUDA up to {newest[0]}.{newest[1]}, and onnxruntime"
            f" {ort.__version__} needs CUDA {built_for()}: update the driver{older}"
        )
    if code := cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        problems.append(
            f"the NVIDIA driver sees no GPU ({_meaning(cuda, code)}): see nvidia-smi,"
            " CUDA_VISIBLE_DEVICES, and docker's --gpus"
        )
    gpus = tuple(_name(cuda, index) for index in range(count.value))
    return Driver(newest, gpus, tuple(problems))


def install_libraries() -> str:
    """The command that installs the libraries of the onnxruntime that is there."""
    return f"pip install 'onnxruntime-gpu[cuda,cudnn]=={ort.__version__}'"


def missing_libraries() -> list[str]:
    """The CUDA and cuDNN libraries that onnxruntime needs and the loader cannot find."""
    preload()
    missing = []
    for name, number, package in _LIBRARIES.get(built_for(), ()):
        windows = sys.platform == "win32"
        file = f"{name}64_{number}.dll" if windows else f"lib{name}.so.{number}"
        try:
            ctypes.CDLL(file)
        except OSError:
            missing.append(f"{file} ({package})")
    return missing


def missing_links(index: int, found: Driver, libraries: list[str]) -> list[str]:
    """What stands between this process and a GPU, as a pure function of what was found.

    Args:
        index: of the GPU.
        found: as of `driver`.
        libraries: as of `missing_libraries`.

    Returns:
        A sentence for each broken link, with what mends it; empty if all hold.
    """
    links = list(found.problems)
    if found.gpus and index >= len(found.gpus):
        shown = ", ".join(f"cuda:{number} is {name}" for number, name in enumerate(found.gpus))
        links.append(
            f"there is no GPU {index} ({shown}); CUDA_VISIBLE_DEVICES limits and numbers them"
        )
    if libraries:
        links.append(f"libraries are not found, {', '.join(libraries)}: {install_libraries()}")
    return links


def explain(links: list[str], error: str) -> str:
    """Why a GPU cannot be used, as a pure function.

    Args:
        links: as of `missing_links`.
        error: what onnxruntime said, for what no link explains; it may be empty.
    """
    if links:
        return "; ".join(links)
    line = error.strip().partition("\n")[0]
    line = line if len(line) <= 300 else f"{line[:300]} ..."
    # Both CUDA's words and those of onnxruntime's own allocator.
    if any(text in error.lower() for text in ("out of memory", "failed to allocate memory")):
        return (
            "the GPU is out of memory; nvidia-smi shows who has it, cuda:N takes another GPU"
            f" ({line})"
        )
    return line or f"onnxruntime {ort.__version__} took the CPU and does not say why"


def reason(index: int, error: str = "") -> str:
    """Why GPU ``index`` cannot be used, found out now; ``error`` as of `explain`."""
    return explain(missing_links(index, driver(), missing_libraries()), error)


def pin(array: NDArray[np.generic], index: int) -> None:
    """Locks an array's memory, so that the GPU copies it without a detour, as long as it lives.

    Where this fails the copies only take longer.
    """
    major = built_for()
    name = f"cudart64_{major}.dll" if sys.platform == "win32" else f"libcudart.so.{major}"
    with contextlib.suppress(OSError):
        runtime = ctypes.CDLL(name)
        address, size = ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes)
        if runtime.cudaSetDevice(index) == 0 and not runtime.cudaHostRegister(
            address, size, _PORTABLE
        ):
            weakref.finalize(array, runtime.cudaHostUnregister, address)


def _meaning(cuda: ctypes.CDLL, code: int) -> str:
    """The driver's own words for an error of it."""
    text = ctypes.c_char_p()
    cuda.cuGetErrorString(code, ctypes.byref(text))
    said = text.value.decode(errors="replace") if text.value else "unknown error"
    return f"CUDA error {code}: {said}"


def _name(cuda: ctypes.CDLL, index: int) -> str:
    device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
    cuda.cuDeviceGet(ctypes.byref(device), index)
    cuda.cuDeviceGetName(name, len(name), device)
    return name.value.decode(errors="replace")
