"""The original and the ONNX graph on the same pictures: parity as a gate, not a log line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fungi_onnx import image
from fungi_onnx.model_file import Parity
from fungi_onnx_export import pictures
from fungi_onnx_export.choice import Choice
from fungi_onnx_export.errors import ExportError
from fungi_onnx_export.original import Images, Original

# The gates. One step of an 8-bit answer is 1/256 = 0.0039.
FLOAT_LIMIT, QUANTISED_LIMIT, NOISE_FACTOR = 1e-4, 5e-3, 2.0

# A fake-quantised graph rounds at every layer: what moves a value across a rounding border moves
# the answer. Its own noise is measured by moving every input value by this much, up or down at
# random; the mean of a few runs, for a single one may be half or twice as much.
NOISE_STEP, NOISE_RUNS = 1e-7, 4

SUFFIXES = {".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class PictureSet:
    """Pictures to compare on: a name for each, and tensors in chunks that fit into memory."""

    description: str
    names: tuple[str, ...]
    chunks: Callable[[], Iterator[Images]]


def builtin(height: int, width: int) -> PictureSet:
    """The exporter's own pictures, made by code, a little larger and resized as photos are."""
    # At the model's own size every value would be a whole level, where a fake-quantised input
    # swallows any small movement and the noise floor would come out as next to nothing.
    large = pictures.parity_set(height * 5 // 4, width * 5 // 4)
    tensors = np.stack(
        [image.to_tensor(np.rint(one * 255).astype(np.uint8), height, width) for one in large]
    )
    names = tuple(f"built-in {number}" for number in range(len(tensors)))
    return PictureSet("built-in", names, lambda: iter([tensors]))


def from_folder(folder: Path, height: int, width: int, chunk: int = 16) -> PictureSet:
    """All pictures in a folder and below, seen as `fungi_onnx` sees them.

    Args:
        folder: the pictures; hidden files and folders and other kinds of files are passed over.
        height, width: the model's input size.
        chunk: how many are in memory at a time.

    Raises:
        ExportError: there are none.
        ImageError: one of them cannot be read.
    """
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not paths:
        raise ExportError(f"{folder}: holds no pictures ({', '.join(sorted(SUFFIXES))})")

    def chunks() -> Iterator[Images]:
        for start in range(0, len(paths), chunk):
            some = paths[start : start + chunk]
            yield np.stack([image.to_tensor(image.read_rgb(path), height, width) for path in some])

    names = tuple(str(path.relative_to(folder)) for path in paths)
    return PictureSet(f"{len(paths)} pictures given", names, chunks)


@dataclass(frozen=True)
class Reference:
    """What the original answers, and how much it wavers by itself.

    Attributes:
        probabilities: float32 [N, classes].
        noise: [N], the mean over runs of the largest |Δp| when the input moves by 1e-7; empty for
            sources that are not noisy.
        steady: [N] of bool, the pictures whose top-1 the original itself does not change.
    """

    probabilities: Vectors
    noise: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    steady: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))


@dataclass(frozen=True)
class Comparison:
    """Both answers to the same pictures, the figures, and the verdict."""

    reference: Reference
    onnx: Vectors
    parity: Parity
    problem: str | None


def probabilities_of(original: Original, choice: Choice, images: Images) -> Vectors:
    """The original's probabilities; a softmax is added in float64 where it gives logits."""
    candidate = choice.candidate
    values = original.outputs(candidate.signature, images)[candidate.output.key]
    if not choice.add_softmax:
        return values
    shifted = values.astype(np.float64) - values.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), np.float32)


def measure(original: Original, choice: Choice, chunks: Iterable[Images]) -> Reference:
    """Runs the original, and a noisy one again on the pictures moved by ±1e-7."""
    answers, noise, steady = [], [], []
    random = np.random.default_rng(0)
    for images in chunks:
        answer = probabilities_of(original, choice, images)
        answers.append(answer)
        if not original.facts.noisy:
            continue
        differences, same = [], np.ones(len(images), np.bool_)
        for _ in range(NOISE_RUNS):
            signs = random.choice(np.array([-NOISE_STEP, NOISE_STEP], np.float32), images.shape)
            moved = probabilities_of(original, choice, images + signs)
            differences.append(np.abs(moved - answer).max(axis=1))
            same &= moved.argmax(axis=1) == answer.argmax(axis=1)
        noise.append(np.mean(differences, axis=0, dtype=np.float64))
        steady.append(same)
    if not original.facts.noisy:
        return Reference(np.concatenate(answers))
    return Reference(np.concatenate(answers), np.concatenate(noise), np.concatenate(steady))


def compare(
    original: Original, reference: Reference, onnx: Vectors, picture_set: str
) -> Comparison:
    """Judges the ONNX graph's answers by the gate that fits the original.

    * Float: no probability differs by more than 1e-4.
    * Quantised: by no more than 5e-3, one step of its 8-bit output.
    * Noisy (fake-quantised): the mean over pictures of the largest difference is at most twice
      what the original shows against itself; on pictures that do not stir it, the float gate.

    The top-1 must be equal beyond ties. For the first two the limit sees to that: where the two
    differ in it, one of them prefers its own by no more than the limit. For noisy ones a tie is
    within the picture's own noise, or where the original does not agree with itself.
    """
    expected = reference.probabilities
    difference = np.abs(onnx.astype(np.float64) - expected)
    largest = difference.max(axis=1)
    first, ours = expected.argmax(axis=1), onnx.argmax(axis=1)
    floor, problem = None, None
    if original.facts.noisy:
        floor, mean = float(reference.noise.mean()), float(largest.mean())
        gate = (
            f"mean over pictures of the largest |Δp| <= {NOISE_FACTOR:g} x the reference's own"
            f" noise floor (or max |Δp| <= {FLOAT_LIMIT:g}), top-1 equal beyond ties wherever the"
            " reference agrees with itself"
        )
        # How clearly each of the two prefers its own; where either hardly does, it is a tie.
        rows = np.arange(len(expected))
        margin = np.minimum(
            expected[rows, first] - expected[rows, ours], onnx[rows, ours] - onnx[rows, first]
        )
        wrong = reference.steady & (margin > reference.noise)
        if not (mean <= NOISE_FACTOR * floor or largest.max() <= FLOAT_LIMIT):
            problem = f"the mean largest |Δp| is {mean:.2g}, the reference's own is {floor:.2g}"
        elif wrong.any():
            problem = f"{int(wrong.sum())} of {len(expected)} pictures get another top-1"
    else:
        limit = QUANTISED_LIMIT if original.facts.quantised else FLOAT_LIMIT
        gate = f"max |Δp| <= {limit:g}, so top-1 equal beyond ties"
        if not largest.max() <= limit:
            problem = f"max |Δp| is {largest.max():.2g}, allowed are {limit:g}"
    if not np.isfinite(onnx).all():
        problem = "the ONNX graph gives values that are not finite"
    parity = Parity(
        reference=original.facts.reference,
        pictures=len(expected),
        picture_set=picture_set,
        max_difference=float(largest.max()),
        mean_difference=float(difference.mean()),
        mean_max_difference=float(largest.mean()),
        top1_agreement=float((first == ours).mean()),
        top5_agreement=top5_agreement(expected, onnx),
        gate=gate,
        noise_floor=floor,
    )
    return Comparison(reference, onnx, parity, problem)


def top5_agreement(expected: Vectors, onnx: Vectors) -> float:
    """The mean share of the reference's best five that are among the ONNX graph's best five.

    Both are float32 [N, classes].
    """
    count = min(5, expected.shape[1])
    first, ours = (np.argsort(-p, axis=1, kind="stable")[:, :count] for p in (expected, onnx))
    shared: Sequence[float] = [
        len(set(a.tolist()) & set(b.tolist())) / count for a, b in zip(first, ours, strict=True)
    ]
    return float(np.mean(shared))
