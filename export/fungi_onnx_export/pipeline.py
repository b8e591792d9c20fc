"""One export from beginning to end, and the verification of a file that exists."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from fungi_onnx.classifier import FungiClassifier
from fungi_onnx.model_file import ModelFile, Parity, Terms
from fungi_onnx.session import Session
from fungi_onnx_export import convert, describe, known, labels, parity
from fungi_onnx_export.choice import Choice, choose
from fungi_onnx_export.errors import ConversionError, ExportError, ModuleError, ParityError
from fungi_onnx_export.known import Known
from fungi_onnx_export.module import open_original
from fungi_onnx_export.original import Original
from fungi_onnx_export.parity import Comparison, PictureSet, Reference
from fungi_onnx_export.source import Source

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wishes:
    """What the user may say about an export beyond its source and its target."""

    labels: Path | None = None
    pictures: Path | None = None
    signature: str | None = None
    output_key: str | None = None
    image_size: tuple[int, int] | None = None
    expect: Known | None = None
    name: str | None = None


def export(opened: Source, target: Path, wishes: Wishes, say: Say) -> ModelFile:
    """Converts a module, proves the result, and only then writes the file.

    Raises:
        ExportError: one of its family, for whatever is wrong; no file is left behind.
    """
    if target.is_dir() or not target.parent.is_dir():
        problem = "is a folder" if target.is_dir() else f"there is no folder {target.parent}"
        raise ExportError(f"{target}: {problem}; name a file to write: -o MODEL.onnx")
    original = open_original(opened)
    choice = _choose(original, wishes)
    candidate = choice.candidate
    say(f"classifier: {candidate.signature} / {candidate.output.key}: {choice.why}")
    classes = candidate.classes
    names = labels.read(wishes.labels, classes) if wishes.labels else labels.numbered(classes)
    shown = _pictures(wishes, choice)
    say(f"reference: {original.facts.reference} on {len(shown.names)} pictures")
    reference = parity.measure(original, choice, shown.chunks())
    with tempfile.TemporaryDirectory(prefix="fungi-onnx-") as folder:
        draft = Path(folder) / "draft.onnx"
        form, result = _best_form(original, choice, shown, reference, draft, say)
        description = ModelFile(
            name=_name(opened, original, wishes),
            source=_provenance(opened, choice),
            height=choice.height,
            width=choice.width,
            labels=names,
            labels_given=wishes.labels is not None,
            precision=_precision(original, form),
            terms=_terms(opened, original, wishes),
            parity=result,
            probes=describe.probes(original, choice, Session(draft, "cpu")),
            tools=describe.tools(),
            created=describe.created(),
        )
        describe.write_proven(description, draft, target)
    return description


def verify(
    opened: Source, model_path: Path, wishes: Wishes
) -> tuple[ModelFile, Comparison, PictureSet]:
    """Repeats the parity gate for a file that exists.

    Returns:
        What the file says about itself, the comparison, and the pictures it was made on.

    Raises:
        ExportError, ModelFormatError, ModelNotFoundError: source or file cannot be used.
    """
    classifier = FungiClassifier(model_path, device="cpu")
    made_from = classifier.model.source
    original = open_original(opened)
    choice = choose(
        original,
        signature=wishes.signature or made_from["signature"],
        output_key=wishes.output_key or made_from["output_key"],
        size=classifier.image_size,
    )
    if choice.candidate.classes != len(classifier.labels):
        raise ModuleError(
            f"{opened.location} has {choice.candidate.classes} classes,"
            f" {model_path} has {len(classifier.labels)}"
        )
    if (choice.height, choice.width) != classifier.image_size:
        raise ModuleError(
            f"{opened.location} takes pictures of {choice.height}x{choice.width},"
            f" {model_path} of {classifier.image_size[0]}x{classifier.image_size[1]}"
        )
    shown = _pictures(wishes, choice)
    reference = parity.measure(original, choice, shown.chunks())
    ours = _answers(Session(model_path, "cpu"), shown)
    comparison = parity.compare(original, reference, ours, shown.description)
    return classifier.model, comparison, shown


def _choose(original: Original, wishes: Wishes) -> Choice:
    expect = wishes.expect
    choice = choose(
        original,
        signature=wishes.signature,
        output_key=wishes.output_key,
        classes=expect.classes if expect else None,
        size=wishes.image_size,
    )
    if expect is not None:
        found = choice.height, choice.width, choice.candidate.classes
        if found != (expect.height, expect.width, expect.classes) or choice.add_softmax:
            raise ModuleError(
                f"{expect.name} takes {expect.height}x{expect.width} pictures and gives"
                f" {expect.classes} probabilities; this module takes {found[0]}x{found[1]} and"
                f" gives {found[2]} {choice.candidate.behaviour}; without --expect it is exported"
                " all the same"
            )
    return choice


def _best_form(
    original: Original,
    choice: Choice,
    shown: PictureSet,
    reference: Reference,
    draft: Path,
    say: Say,
) -> tuple[str, Parity]:
    """Converts to every form there is, keeps the nearest in ``draft``, and lets it pass or not."""
    results: dict[str, Comparison] = {}
    models = {}
    for form, build in convert.forms(original, choice).items():
        try:
            models[form] = build()
        except ConversionError as error:
            failure = error
            say(f"the form '{form}' is not possible: {error}")
            continue
        onnx.save(models[form], draft)
        ours = _answers(Session(draft, "cpu"), shown)
        results[form] = parity.compare(original, reference, ours, shown.description)
        figures = results[form].parity
        say(
            f"parity of the form '{form}': max |Δp| {figures.max_difference:.2g},"
            f" mean largest {figures.mean_max_difference:.2g},"
            f" top-1 agreement {figures.top1_agreement:.1%}"
        )
    if not results:
        raise failure
    best = min(
        results,
        key=lambda form: (
            results[form].problem is not None,
            results[form].parity.mean_max_difference,
        ),
    )
    if results[best].problem:
        raise ParityError(
            f"the ONNX graph does not give the original's numbers: {results[best].problem};"
            " nothing was written"
        )
    onnx.save(models[best], draft)
    if len(results) == 1:
        return best, results[best].parity
    tried = {form: result.parity.mean_max_difference for form, result in results.items()}
    return best, replace(results[best].parity, forms=tried)


def _answers(session: Session, shown: PictureSet) -> parity.Vectors:
    return np.concatenate([session.run(chunk) for chunk in shown.chunks()])


def _pictures(wishes: Wishes, choice: Choice) -> PictureSet:
    if wishes.pictures is None:
        return parity.builtin(choice.height, choice.width)
    return parity.from_folder(wishes.pictures, choice.height, choice.width)


def _provenance(opened: Source, choice: Choice) -> dict[str, object]:
    return {
        "format": opened.format,
        "location": opened.handle or Path(opened.location).name,
        "signature": choice.candidate.signature,
        "output_key": choice.candidate.output.key,
        "softmax_added": choice.add_softmax,
        "sha256": opened.digests(),
    }


def _name(opened: Source, original: Original, wishes: Wishes) -> str:
    if wishes.name:
        return wishes.name
    if original.facts.standin:
        return "stand-in for fungi_mobile_V1/2 (untrained, its answers mean nothing)"
    if wishes.expect:
        return wishes.expect.name
    if opened.handle:  # its last two parts: the module's name and its version
        return "/".join(opened.handle.rstrip("/").split("/")[-2:])
    stem = Path(opened.location).name
    for suffix in (".gz", ".tar", ".tgz", ".tflite"):
        stem = stem.removesuffix(suffix)
    return stem


def _terms(opened: Source, original: Original, wishes: Wishes) -> Terms:
    if original.facts.standin:
        return known.STANDIN_TERMS
    found = wishes.expect or (known.by_handle(opened.handle) if opened.handle else None)
    return found.terms if found else known.UNKNOWN_TERMS


def _precision(original: Original, form: str) -> str:
    if original.facts.quantised:
        return "8-bit integers (QDQ), as trained"
    return f"float32 ({form})" if original.facts.noisy else "float32"
