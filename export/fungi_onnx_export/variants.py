"""The int8 variant of a float model: smaller, quicker, and held to the float model's answers.

Static quantisation to QDQ: activations as uint8 with a range found on calibration pictures,
weights as int8 with a scale for each output channel, rounded as `fungi_onnx_export.gptq` does.
The first convolutions see the picture itself and carry what all others build on: as many of them
as the gate needs, and no more, stay float. They are small; time is what they cost.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from fungi_onnx import image
from fungi_onnx.classifier import FungiClassifier
from fungi_onnx.cpus import has_vnni
from fungi_onnx.errors import ModelFormatError
from fungi_onnx.model_file import INPUT, OUTPUT, ModelFile, Parity, Probe, Probes
from fungi_onnx.session import Session
from fungi_onnx_export import describe, gptq, parity
from fungi_onnx_export.errors import ExportError, ParityError
from fungi_onnx_export.judging import Images, Say, compared, drawings, float_model

TOP1, TOP5 = 0.98, 0.95  # the gate
CALIBRATION, CHOOSING, HELD_OUT = 192, 128, 256  # drawings
LEAST_GIVEN = 150  # a third is held out: of 50 a single one is 2 %
_MARGIN = 0.01  # to pass by on the pictures that choose, so as to pass on those that judge
_FLOAT_CONVOLUTIONS = (2, 4, 7, 10, 13, 16, 19, 22)
_CHUNK = 8
_PROBE_MARGIN = 3.0


@dataclass(frozen=True)
class _Sets:
    """Pictures for three uses, none for two: to calibrate on, to choose by, to be judged by."""

    description: str
    calibration: Images
    choosing: Callable[[], Iterator[Images]]
    held_out: Callable[[], Iterator[Images]]


def quantize(path: Path, target: Path, folder: Path | None, say: Say) -> ModelFile:
    """Makes the int8 variant of a model file, proves it, and only then writes it.

    Args:
        path: a float32 model file.
        target: the file to write.
        folder: pictures like those that the model will see. By their names in order the first
            third calibrates, the second chooses what stays float, and the third judges, so that
            a burst of shots is not on both sides. None for the exporter's own drawings.
        say: is told of the progress.

    Returns:
        What the new file says about itself; its `Parity` is with the float file.

    Raises:
        ExportError: the target or the folder cannot be used.
        ModelFormatError: the model is no float32 model of this project.
        ModelNotFoundError: there is no such file.
        ParityError: the gate is not reached; nothing was written.
    """
    classifier = float_model(path, target, ".int8.onnx", "quantised")
    sets = _own(classifier) if folder is None else _given(folder, classifier)
    say(sets.description)
    with tempfile.TemporaryDirectory(prefix="fungi-onnx-") as name, _advice_unheard():
        draft = Path(name) / "draft.onnx"
        kept = _choose(path, draft, sets, classifier, say)
        result = _agreement(classifier, draft, sets.held_out)
        figures = f"top-1 {result.top1_agreement:.1%}, top-5 {result.top5_agreement:.1%}"
        say(f"judged on {result.pictures} pictures held out: {figures}")
        if result.top1_agreement < TOP1 or result.top5_agreement < TOP5:
            raise ParityError(
                f"the int8 variant reaches {figures} of the float model's answers; {TOP1:.0%} and"
                f" {TOP5:.0%} are needed, so nothing was written. What helps are pictures like"
                " those that the model was trained for, and many of them: --pictures DIR"
            )
        result = replace(result, picture_set=sets.description)
        description = replace(
            classifier.model,
            precision=_precision(kept),
            parity=replace(result, of_source=classifier.model.parity),
            probes=_probes(classifier, draft),
            tools=describe.tools(),
            created=describe.created(),
        )
        describe.write_proven(description, draft, target)
    return description


def _own(classifier: FungiClassifier) -> _Sets:
    judging, choosing = (
        drawings(classifier, 0, HELD_OUT),
        drawings(classifier, HELD_OUT, CHOOSING),
    )
    return _Sets(
        f"{CALIBRATION} drawings calibrate, {CHOOSING} choose, {HELD_OUT} judge",
        drawings(classifier, HELD_OUT + CHOOSING, CALIBRATION),
        lambda: _chunks(choosing),
        lambda: _chunks(judging),
    )


def _given(folder: Path, classifier: FungiClassifier) -> _Sets:
    found = parity.from_folder(folder, *classifier.image_size, chunk=_CHUNK)
    total = len(found.names)
    if total < LEAST_GIVEN:
        raise ExportError(
            f"{folder}: holds {total} pictures; to calibrate on some and to judge by others takes"
            f" at least {LEAST_GIVEN}; without --pictures drawings are used"
        )

    def part(first: int, end: int) -> Iterator[Images]:
        start = 0
        for chunk in found.chunks():
            wanted = chunk[max(first - start, 0) : max(end - start, 0)]
            start += len(chunk)
            if len(wanted):
                yield wanted

    third, two = total // 3, 2 * total // 3
    return _Sets(
        f"of {total} pictures given {third} calibrate, {two - third} choose, {total - two} judge",
        np.concatenate(list(part(0, min(third, 2 * CALIBRATION)))),
        lambda: part(third, two),
        lambda: part(two, total),
    )


def _choose(path: Path, draft: Path, sets: _Sets, classifier: FungiClassifier, say: Say) -> int:
    """Leaves in ``draft`` the graph with the fewest float convolutions that passes well.

    If none does, it is the best one.
    """
    # Slow to import, and only needed here.
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared, ranges = draft.with_name("prepared.onnx"), draft.with_name("ranges.json")
    # Among others it joins MatMul and Add to the Gemm whose int8 weights have a kernel.
    quant_pre_process(path, prepared, skip_symbolic_shape=True)
    model = onnx.load(prepared)
    say("second moments of every layer's input")
    found = gptq.moments(model, ({INPUT: chunk} for chunk in _chunks(sets.calibration)))
    convolutions = [k for k, node in enumerate(model.graph.node) if node.op_type == "Conv"]
    best: tuple[float, int, onnx.ModelProto] | None = None
    for count in _FLOAT_CONVOLUTIONS:
        if count >= len(convolutions):
            break
        kept = [node.name for node in model.graph.node[: convolutions[count]]]
        kept += [node.name for node in model.graph.node if node.op_type == "Softmax"]
        quantize_static(
            prepared,
            draft,
            _Reader(sets.calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=not has_vnni(),
            activation_type=QuantType.QUInt8,  # onnxruntime leaves int8 ones in float on x86
            weight_type=QuantType.QInt8,
            nodes_to_exclude=kept,
            calibration_cache_path=ranges,
            extra_options={
                "OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"],  # the logits
                "QDQOpTypePerChannelSupportToAxis": {"MatMul": 1},
            },
        )
        quantised = onnx.load(draft)
        gptq.round_weights(quantised, model, found)
        onnx.save(quantised, draft)
        result = _agreement(classifier, draft, sets.choosing)
        say(
            f"{count} convolutions float: top-1 {result.top1_agreement:.1%},"
            f" top-5 {result.top5_agreement:.1%}, mean |Δp| {result.mean_difference:.2g}"
        )
        spare = min(result.top1_agreement - TOP1, result.top5_agreement - TOP5)
        if best is None or spare > best[0]:
            best = spare, count, quantised
        if spare >= _MARGIN:
            break
    if best is None:
        raise ModelFormatError(f"{path}: has too few convolutions for an int8 variant")
    onnx.save(best[2], draft)
    return best[1]


def _chunks(images: Images) -> Iterator[Images]:
    return (images[k : k + _CHUNK] for k in range(0, len(images), _CHUNK))


class _Reader:
    """Calibration pictures as onnxruntime.quantization asks for them."""

    def __init__(self, images: Images) -> None:
        self._feeds = ({INPUT: chunk} for chunk in _chunks(images))

    def get_next(self) -> dict[str, Images] | None:
        """The next chunk, or None."""
        return next(self._feeds, None)


@contextmanager
def _advice_unheard() -> Iterator[None]:
    """onnxruntime.quantization tells the root logger to do what has been done."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)


def _agreement(
    classifier: FungiClassifier, draft: Path, shown: Callable[[], Iterator[Images]]
) -> Parity:
    session = Session(draft, "cpu")
    pairs = [(classifier(chunk), session.run(chunk)) for chunk in shown()]
    expected, answers = (np.concatenate(part) for part in zip(*pairs, strict=True))
    gate = f"the float model's top-1 on {TOP1:.0%} of pictures held out, {TOP5:.0%} of its top-5"
    return compared(classifier, expected, answers, gate)


def _precision(kept: int) -> str:
    reduced = "" if has_vnni() else ", reduced range"
    return f"int8 (QDQ, per channel{reduced}; first {kept} convolutions float32)"


def _probes(classifier: FungiClassifier, draft: Path) -> Probes:
    """The same pictures with the variant's own answers, computed without integer kernels.

    Those of other machines round otherwise now and then: what this machine's differ by, with a
    margin, and at least what 8-bit sources are allowed, is the tolerance.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain: Any = ort.InferenceSession(str(draft), options, providers=["CPUExecutionProvider"])
    before = classifier.model.probes
    tensors = np.stack(
        [
            image.to_tensor(image.read_rgb(probe.png), *classifier.image_size)
            for probe in before.pictures
        ]
    )
    expected = plain.run([OUTPUT], {INPUT: tensors})[0]
    seen = float(np.abs(Session(draft, "cpu").run(tensors) - expected).max())
    tolerance = {
        kind: max(usual, _PROBE_MARGIN * seen)
        for kind, usual in describe.QUANTISED_TOLERANCE.items()
    }
    return Probes(
        tuple(
            Probe(probe.name, probe.png, describe.best_five(row))
            for probe, row in zip(before.pictures, expected, strict=True)
        ),
        tolerance,
    )
