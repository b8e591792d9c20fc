"""The float16 variant of a float model, for GPUs: half the size, and pictures in 8 bits.

Weights and activations are float16. What scales the input and the softmax stay float32, as the
contract's input and output do. Beside ``images`` the graph has the input ``pictures``, see
`fungi_onnx.model_file.UINT8_INPUT`: to the GPU travels a quarter of the bytes.

It is judged on the CPU, where the file by itself is another graph. onnxruntime has no float16
convolutions there; it calculates in float32 and leaves out nearly all of the rounding in between,
even with optimisations disabled. A GPU stores each of these values in float16. So what is judged
is `fungi_onnx_export.float16.rounded`: it rounds the weights and what each node gives, and adds up
in float32 as GPUs do.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from fungi_onnx import image
from fungi_onnx.classifier import FungiClassifier
from fungi_onnx.model_file import INPUT, OUTPUT, UINT8_INPUT, ModelFile, Parity, Probes
from fungi_onnx.selftest import log_probabilities
from fungi_onnx_export import describe, gptq, judging, parity
from fungi_onnx_export.errors import ExportError, ParityError
from fungi_onnx_export.float16 import rounded, scaling_of, to_float16
from fungi_onnx_export.judging import Images, Rows, Say

TOP1, LIMIT = 0.995, 1e-2  # the gate
DRAWINGS, CALIBRATION, LEAST_GIVEN = 256, 96, 100
# What a golden probe may differ by, at least, and how many times what was seen. A GPU may choose
# convolutions that round on the way, too (Winograd's), and nobody has seen them here.
TOLERANCE, _MARGIN = 1e-2, 3.0
_LOG_MARGIN = {"cpu": 4.0, "cuda": 8.0}
_CHUNK = 8
_GATE = (
    f"max |Δp| <= {LIMIT:g} from the float model on the same input, for float and for 8-bit input;"
    f" its top-1 on {TOP1:.1%} of the pictures, for 8 bits too as they were before rounding"
)

Run = Callable[[Images | NDArray[np.uint8]], Rows]


def convert(path: Path, target: Path, folder: Path | None, say: Say) -> ModelFile:
    """Makes the float16 variant of a model file, proves it, and only then writes it.

    Args:
        path: a float32 model file.
        target: the file to write.
        folder: pictures to judge by, 100 or more; None for the exporter's own drawings.
        say: is told of the progress.

    Returns:
        What the new file says about itself. Its `Parity` is with the float file's answers to the
        pictures as they were, for the input that is further from it. As a rule that is the 8-bit
        one, for which they are rounded to whole levels.

    Raises:
        ExportError: the target or the folder cannot be used.
        ModelFormatError: the model is no float32 model of this project.
        ModelNotFoundError: there is no such file.
        ParityError: the gate is not reached; nothing was written.
    """
    classifier = judging.float_model(path, target, ".fp16.onnx", "made float16")
    described, chunks = _pictures(classifier, folder)
    original = onnx.load(path)
    say(f"weights are rounded by what {CALIBRATION} other drawings make of them")
    model = to_float16(_rounded_weights(original, classifier))
    run = _runner(rounded(model))
    say(f"{described} judge, on a graph that rounds as a GPU does")
    scaled = "input scaling and " if scaling_of(original.graph) else ""
    result = _judged(classifier, run, chunks, described, say)
    description = replace(
        classifier.model,
        precision=f"float16 ({scaled}softmax float32)",
        uint8_input=True,
        parity=replace(result, of_source=classifier.model.parity),
        probes=_probes(classifier, run),
        tools=describe.tools(),
        created=describe.created(),
    )
    with tempfile.TemporaryDirectory(prefix="fungi-onnx-") as name:
        draft = Path(name) / "draft.onnx"
        onnx.save(model, draft)
        describe.write_proven(description, draft, target)
    return description


def _rounded_weights(model: onnx.ModelProto, classifier: FungiClassifier) -> onnx.ModelProto:
    """The same graph with weights that float16 has, such that its layers give what they gave.

    Rounded to the nearest they alone move the stand-in's answers by up to 0.011 on 64 drawings,
    and its biases half of that; see `gptq.round_to_float16`.
    """
    named = onnx.ModelProto()
    named.CopyFrom(model)
    for number, node in enumerate(named.graph.node):
        node.name = f"node {number}"
    starts = range(DRAWINGS, DRAWINGS + CALIBRATION, _CHUNK)
    feeds = ({INPUT: judging.drawings(classifier, start, _CHUNK)} for start in starts)
    return gptq.round_to_float16(named, gptq.moments(named, feeds, biases=True))


def _pictures(
    classifier: FungiClassifier, folder: Path | None
) -> tuple[str, Callable[[], Iterator[Images]]]:
    """Those that judge: what they are, and float32 [n, height, width, 3] in chunks."""
    if folder is None:
        starts = range(0, DRAWINGS, _CHUNK)
        return f"{DRAWINGS} drawings", lambda: (
            judging.drawings(classifier, start, _CHUNK) for start in starts
        )
    found = parity.from_folder(folder, *classifier.image_size, chunk=_CHUNK)
    if len(found.names) < LEAST_GIVEN:
        raise ExportError(
            f"{folder}: holds {len(found.names)} pictures; to judge by them takes at least"
            f" {LEAST_GIVEN}; without --pictures drawings are used"
        )
    return found.description, found.chunks


def _judged(
    classifier: FungiClassifier,
    run: Run,
    chunks: Callable[[], Iterator[Images]],
    described: str,
    say: Say,
) -> Parity:
    """Compares both forms of input with the float model, says the figures, and holds the gate.

    Rounding a resized picture to whole levels moves answers by more than float16 does: the bird
    classifier's by up to 0.03 on drawings, in float32 as well. That belongs to the input and not
    to the graph, so that a limit on it would refuse models for being sensitive. Hence the limit
    is for answers to the same input, while the top-1 must stand up to the rounding.

    Raises:
        ParityError: the gate is not reached.
    """
    answers: list[tuple[Rows, ...]] = []
    for images in chunks():
        levels = image.to_levels(images)
        same = levels / np.float32(255)
        answers.append((classifier(images), run(images), classifier(same), run(levels)))
    before, floats, on_levels, whole = (np.concatenate(part) for part in zip(*answers, strict=True))

    def compared(expected: Rows, found: Rows, fed: str) -> Parity:
        result = judging.compared(classifier, expected, found, _GATE)
        return replace(result, picture_set=f"{described}, fed as {fed}")

    forms = {"images (float)": (before, floats), "pictures (8 bits)": (on_levels, whole)}
    results, problems = [], []
    for fed, (expected, found) in forms.items():
        alike, result = compared(expected, found, fed), compared(before, found, fed)
        figures = (
            f"{fed}: top-1 {result.top1_agreement:.1%},"
            f" max |Δp| {alike.max_difference:.2g}, mean {alike.mean_difference:.2g}"
        )
        if expected is not before:
            figures += (
                f"; with the rounding to whole levels {result.max_difference:.2g}, which costs the"
                f" float model itself {np.abs(on_levels - before).max():.2g}"
            )
        say(figures)
        results.append(result)
        # `not <=` also catches NaN, which is what overflowing float16 comes to.
        if not (alike.max_difference <= LIMIT and result.top1_agreement >= TOP1):
            problems.append(figures)
    if problems:
        raise ParityError(
            f"the float16 variant differs too much from the float model: {'. '.join(problems)}."
            f" Needed are top-1 {TOP1:.1%} and max |Δp| {LIMIT:g}, so nothing was written"
        )
    return max(results, key=lambda result: result.max_difference)


def _runner(model: onnx.ModelProto) -> Run:
    """Runs a graph with both inputs on the CPU, as `fungi_onnx.session.Session.run` does."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3  # or it warns that ``pictures`` is no constant, which is meant
    session: Any = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def run(images: Images | NDArray[np.uint8]) -> Rows:
        feed: dict[str, Any] = {INPUT: images}
        if images.dtype == np.uint8:
            feed = {INPUT: np.zeros((1, *images.shape[1:]), np.float32), UINT8_INPUT: images}
        return np.asarray(session.run([OUTPUT], feed)[0])

    return run


def _probes(classifier: FungiClassifier, run: Run) -> Probes:
    """The float file's own, with the original's answers, and what float16 may differ from them."""
    before = classifier.model.probes
    tensors = np.stack(
        [
            image.to_tensor(image.read_rgb(probe.png), *classifier.image_size)
            for probe in before.pictures
        ]
    )
    seen, seen_log = 0.0, 0.0
    for rows in (run(tensors), run(image.to_levels(tensors))):
        for probe, row in zip(before.pictures, rows, strict=True):
            ids, expected = zip(*probe.top, strict=True)
            seen = max(seen, float(np.abs(row[list(ids)] - expected).max()))
            if probe.log_probabilities is not None:
                difference = np.abs(log_probabilities(row) - probe.log_probabilities)
                seen_log = max(seen_log, float(difference.max()))
    return replace(
        before,
        tolerance={
            kind: max(usual, TOLERANCE, _MARGIN * seen) for kind, usual in before.tolerance.items()
        },
        log_tolerance={
            kind: max(usual, _LOG_MARGIN[kind] * seen_log)
            for kind, usual in before.log_tolerance.items()
        },
    )
