"""A model file as a model of a repository for NVIDIA's Triton Inference Server.

What is written here follows Triton's published schema (``model_config.proto`` in
triton-inference-server/common) and the README of its ONNX Runtime backend.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from string import Template

import numpy as np

from fungi_onnx import image, selftest
from fungi_onnx.classifier import FungiClassifier
from fungi_onnx.model_file import INPUT, OUTPUT, ModelFile
from fungi_onnx_export import __version__
from fungi_onnx_export.errors import ExportError

CONFIG, LABELS, MODEL = "config.pbtxt", "labels.txt", "1/model.onnx"
PREFIX = "fungi_onnx."  # of our keys among the configuration's parameters

# As `fungi-onnx serve` has them on CUDA. 32 pictures of 299x299 take 34 MB, and Triton's HTTP door
# lets 64 MiB in (`tritonserver --help`, --http-max-input-size), which 64 pictures are above.
BATCH, BATCH_DELAY_MICROSECONDS, MAX_BATCH = 16, 2_000, 32

_CONFIG = Template("""\
# $title
# Licence: $licence
# Not for: $unsuitable
# Its configuration for Triton Inference Server, written by fungi-onnx-export $version.

name: "$name"
backend: "onnxruntime"

# Of several versions (the folders with numbers) the newest alone is served.
version_policy: { latest: { num_versions: 1 } }

# The most pictures in one run. The dims below are those of one picture, without the batch.
max_batch_size: $max_batch

# RGB in [0, 1]. The photo is decoded and resized by the client.
input [
  {
    name: "$input"
    data_type: TYPE_FP32
    format: FORMAT_NHWC
    dims: [ $height, $width, 3 ]
  }
]

# One row a picture, its sum 1. Who asks for "classification" gets the best, by name.
output [
  {
    name: "$output"
    data_type: TYPE_FP32
    dims: [ $classes ]
    label_filename: "$labels"
  }
]

# An instance that is free runs $batch pictures as soon as they are there, and fewer when the first
# of them has waited $milliseconds ms.
dynamic_batching {
  preferred_batch_size: [ $batch ]
  max_queue_delay_microseconds: $delay
}

# On every GPU, or on the CPU where there is none; count is for each of them. KIND_GPU insists on a
# GPU, KIND_CPU leaves it alone.
instance_group [
  {
    kind: KIND_AUTO
    count: 1
  }
]

optimization {
  # 0: all of ONNX Runtime's optimisations. Not "2", which in this backend means none.
  graph { level: 0 }
  execution_accelerators {
    # No TF32 on a GPU: with its 10 bits of mantissa, answers differ from the CPU's.
    gpu_execution_accelerator [
      {
        name: "cuda"
        parameters { key: "use_tf32" value: "0" }
      }
    ]
  }
}

# On a GPU: 1 chooses convolutions by cuDNN's heuristics. The default, 0, tries them all anew for
# each size of a batch, while clients wait. It is read here only, and ignored among the above
# (triton-inference-server/server, issue 8808).
parameters { key: "cudnn_conv_algo_search" value { string_value: "1" } }

# Threads of an instance on the CPU; 0 is one for each core of the machine. A container that may
# use fewer wants their number here.
parameters { key: "intra_op_thread_count" value { string_value: "0" } }

# Ready means: these have run. One golden probe, as raw bytes, which Triton repeats for a batch.
model_warmup [
$warmup
]

# Whose model it is and what for, for those who ask /v2/models/$name/config.
$parameters
""")

_WARMUP = Template("""\
  {
    name: "$size of $probe"
    batch_size: $size
    inputs {
      key: "$input"
      value {
        data_type: TYPE_FP32
        dims: [ $height, $width, 3 ]
        input_data_file: "$file"
      }
    }
  }""")


def add_model(model: Path, repository: Path, *, replace: bool = False) -> Path:
    """Writes a model file into a Triton model repository, whole or not at all.

    The model's folder has its slug as name; nothing else in the repository is touched.

    Args:
        model: a self-describing model file.
        repository: the folder of models; made if it is not there.
        replace: whether a folder that this function wrote earlier may give way.

    Returns:
        The model's folder.

    Raises:
        FungiOnnxError: the model file is not one.
        ExportError: a golden probe fails, the folder is there already, or it cannot be written.
    """
    if repository.exists() and not repository.is_dir():
        raise ExportError(f"{repository}: is a file; name a folder: -o model_repository")
    classifier = FungiClassifier(model, device="cpu")
    target = repository.resolve() / classifier.model.slug
    if os.path.lexists(target) and not replace:
        raise ExportError(f"{repository / target.name}: is there already; --replace writes it anew")
    if os.path.lexists(target) and not _is_ours(target):
        raise ExportError(
            f"{repository / target.name}: was not written by this command, and is not replaced;"
            " move it away or name another repository"
        )
    files = _files(classifier)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Whatever folder lies in a repository is a model to Triton, a hidden one, too. So it
            # grows beside the repository,
            _write(files, target, beside=target.parent.parent)
        except OSError:
            # or within it, if that is a file system of its own or the only place we may write to.
            _write(files, target, beside=target.parent)
    except OSError as error:
        raise ExportError(f"{repository}: cannot be written: {error.strerror}") from None
    return repository / target.name


def _files(classifier: FungiClassifier) -> dict[str, bytes]:
    """What the model's folder holds, by the path within it."""
    description = classifier.model
    report = selftest.run(classifier)
    if not report.ok:
        # Triton looks whether its warm-up runs, not at what comes out.
        problems = [result.problem for result in report.results if result.problem]
        reason = problems[0] if problems else "there are none"
        raise ExportError(f"{classifier.path}: its golden probes do not pass here: {reason}")
    probe = description.probes.pictures[0]
    tensor = image.to_tensor(image.read_rgb(probe.png), description.height, description.width)
    content = classifier.path.read_bytes()
    warmup = "probe.f32"
    return {
        CONFIG: _config(description, hashlib.sha256(content).hexdigest(), warmup).encode(),
        LABELS: "".join(f"{_one_line(label)}\n" for label in description.labels).encode(),
        MODEL: content,
        f"warmup/{warmup}": tensor.astype(np.dtype("<f4")).tobytes(),
    }


def _config(description: ModelFile, sha256: str, warmup: str) -> str:
    terms = description.terms
    shared = {
        "input": INPUT,
        "height": description.height,
        "width": description.width,
    }
    probe = _quoted(description.probes.pictures[0].name)
    facts = {
        "model": description.name,
        "precision": description.precision,
        "sha256": sha256,
        "licence": terms.licence,
        "suitable": _listed(terms.suitable),
        "unsuitable": _listed(terms.unsuitable),
        "limits": _listed(terms.limits),
    }
    return _CONFIG.substitute(
        shared,
        title=_one_line(description.name),
        version=__version__,
        licence=_one_line(terms.licence),
        unsuitable=_one_line(_listed(terms.unsuitable)),
        name=description.slug,
        max_batch=MAX_BATCH,
        output=OUTPUT,
        classes=len(description.labels),
        labels=LABELS,
        batch=BATCH,
        delay=BATCH_DELAY_MICROSECONDS,
        milliseconds=BATCH_DELAY_MICROSECONDS // 1000,
        warmup=",\n".join(
            _WARMUP.substitute(shared, size=size, probe=probe, file=warmup) for size in (1, BATCH)
        ),
        parameters="\n".join(
            f'parameters {{ key: "{PREFIX}{key}" value {{ string_value: "{_quoted(text)}" }} }}'
            for key, text in facts.items()
        ),
    )


def _listed(texts: Sequence[str]) -> str:
    return "; ".join(texts) or "not stated"


def _one_line(text: str) -> str:
    """A label or a comment ends where its line does, and all of a text where C++ meets a NUL."""
    return " ".join(text.replace("\0", " ").splitlines())


def _quoted(text: str) -> str:
    """The text within the quotes of protobuf's text format, where a line break is an error."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\0": "\\000"}
    return "".join(escapes.get(character, character) for character in text)


def _is_ours(folder: Path) -> bool:
    try:
        return f'"{PREFIX}sha256"' in (folder / CONFIG).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def _write(files: dict[str, bytes], target: Path, *, beside: Path) -> None:
    """Writes the folder somewhere else first, and then puts it in its place.

    Raises:
        OSError: it could not be written; the target is what it was.
    """
    with tempfile.TemporaryDirectory(
        dir=beside, prefix=f".{target.name}.", ignore_cleanup_errors=True
    ) as name:
        fresh, old = Path(name) / "new", Path(name) / "old"
        for path, content in files.items():
            (fresh / path).parent.mkdir(parents=True, exist_ok=True)
            with (fresh / path).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        try:
            if os.path.lexists(target):
                target.rename(old)
            fresh.rename(target)
        except BaseException:
            if os.path.lexists(old):
                old.rename(target)
            raise
