"""The chain from the package to the GPU: what is said of each link that does not hold.

Real drivers and packages are in tests/gpu; here is what follows from what they say.
"""

from __future__ import annotations

import onnxruntime as ort
import pytest

from fungi_onnx import cuda
from fungi_onnx.cuda import Driver, explain, missing_links
from fungi_onnx.tuning import Tuning

WELL = Driver((13, 0), ("NVIDIA A", "NVIDIA B"))
NO_CUDNN = ["libcudnn.so.9 (nvidia-cudnn-cu13)"]


def test_a_chain_that_holds() -> None:
    assert missing_links(0, WELL, []) == missing_links(1, WELL, []) == []


def test_a_gpu_that_there_is_not() -> None:
    assert missing_links(2, WELL, []) == [
        "there is no GPU 2 (cuda:0 is NVIDIA A, cuda:1 is NVIDIA B); CUDA_VISIBLE_DEVICES limits"
        " and numbers them"
    ]


def test_libraries_that_are_not_found() -> None:
    assert missing_links(0, WELL, ["libcublas.so.13 (nvidia-cublas)", *NO_CUDNN]) == [
        "libraries are not found, libcublas.so.13 (nvidia-cublas), libcudnn.so.9"
        f" (nvidia-cudnn-cu13): pip install 'onnxruntime-gpu[cuda,cudnn]=={ort.__version__}'"
    ]


def test_all_broken_links_are_told_at_once() -> None:
    links = missing_links(5, Driver(problems=("there is no driver",)), NO_CUDNN)
    assert [link[:21] for link in links] == ["there is no driver", "libraries are not fou"]


def test_links_explain_more_than_onnxruntime_does() -> None:
    assert explain(["no driver", "no cuDNN"], "CUDA failure 35") == "no driver; no cuDNN"


@pytest.mark.parametrize(
    "error",
    [
        "CUDA failure 2: out of memory ; GPU=0 ; hostname=x",
        "BFCArena::AllocateRawInternal(...) Failed to allocate memory for requested buffer of size",
    ],
)
def test_out_of_memory(error: str) -> None:
    assert explain([], f"{error}\nand more") == (
        f"the GPU is out of memory; nvidia-smi shows who has it, cuda:N takes another GPU ({error})"
    )


def test_what_nothing_explains_is_told_in_onnxruntimes_words() -> None:
    assert explain([], "CUDA failure 719: unspecified\nat a line\n") == (
        "CUDA failure 719: unspecified"
    )
    assert explain([], "x" * 1000) == f"{'x' * 300} ..."
    said = f"onnxruntime {ort.__version__} took the CPU and does not say why"
    assert explain([], "") == explain([], "\n") == said


def test_float32_is_float32_unless_it_is_asked_otherwise() -> None:
    assert cuda.provider_options(1, Tuning()) == {
        "device_id": "1",
        "use_tf32": "0",
        "prefer_nhwc": "0",
        "enable_cuda_graph": "0",
    }
    assert set(cuda.provider_options(0, Tuning(graphs=True, nhwc=True, tf32=True)).values()) == {
        "0",
        "1",
    }
