"""Which tensor is the classifier: decided by shapes and by behaviour on pictures, not by names.

Names mislead: in the siblings' modules the output ``logits`` holds probabilities, and version 1 of
the fungi module returned logits under the name of the classifier.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from fungi_onnx_export import pictures
from fungi_onnx_export.errors import ModuleError
from fungi_onnx_export.lite import LiteModel
from fungi_onnx_export.original import Original, Signature, Tensor


class Behaviour(StrEnum):
    """What an output does on pictures."""

    PROBABILITIES = "probabilities"  # never negative, and each row sums to 1
    LOGITS = "logits"  # of both signs: a softmax is to be added
    SCORES = "scores"  # in [0, 1], but the rows do not sum to 1: no softmax classifier
    FEATURES = "features"  # never negative and beyond 1: activations, most likely


@dataclass(frozen=True)
class Candidate:
    """An output that could be the classifier."""

    signature: str
    input: Tensor
    output: Tensor
    behaviour: Behaviour
    values: NDArray[np.float32]

    @property
    def classes(self) -> int:
        """The length of the vector."""
        return int(self.values.shape[1])

    def __str__(self) -> str:
        return (
            f"--signature {self.signature} --output-key {self.output.key}"
            f"  ({self.classes} values, {self.behaviour})"
        )


@dataclass(frozen=True)
class Choice:
    """The tensor taken, the size its pictures must have, and why."""

    candidate: Candidate
    height: int
    width: int
    why: str

    @property
    def add_softmax(self) -> bool:
        """True if the output is logits, or was named by the user and is not probabilities."""
        return self.candidate.behaviour is not Behaviour.PROBABILITIES


def behaviour(values: NDArray[np.float32], step: float = 0.0) -> Behaviour:
    """Judges an output by its values.

    Args:
        values: float32 [N, length], one row a picture.
        step: the step of a quantised output, 0 for float: each value may be off by half of it.
    """
    if values.min() < 0:
        return Behaviour.LOGITS
    if values.max() > 1 + 1e-3:
        return Behaviour.FEATURES
    slack = max(1e-3, step / 2 * values.shape[1])
    summed = np.abs(values.sum(axis=1) - 1).max() <= slack
    return Behaviour.PROBABILITIES if summed else Behaviour.SCORES


def candidates(original: Original, size: tuple[int, int] | None = None) -> list[Candidate]:
    """Every vector output of every signature that takes pictures, tried on pictures.

    Args:
        original: the module.
        size: (height, width) where the module itself leaves it open.

    Raises:
        ModuleError: no signature takes images, or none gives vectors.
    """
    found = []
    for signature in original.facts.signatures:
        image = _image_input(original, signature)
        if image is None:
            continue
        height, width = _size(original, image, size)
        values = original.outputs(signature.name, pictures.parity_set(height, width, 8))
        for output in signature.outputs:
            if output.key in values:
                rows = values[output.key]
                if not np.isfinite(rows).all():
                    raise ModuleError(
                        f"the output {output.key} of the signature {signature.name} is not finite:"
                        " the weights are damaged"
                    )
                kind = behaviour(rows, original.step(signature.name, output.key))
                found.append(Candidate(signature.name, image, output, kind, rows))
    if not found:
        raise ModuleError(_lacks(original))
    return found


def choose(
    original: Original,
    *,
    signature: str | None = None,
    output_key: str | None = None,
    classes: int | None = None,
    size: tuple[int, int] | None = None,
) -> Choice:
    """Takes the one classifier among the outputs.

    Args:
        original: the module.
        signature, output_key: overrule the choice.
        classes: outputs of this length are preferred, if there are any.
        size: (height, width) where the module itself leaves it open.

    Raises:
        ModuleError: there is none, or it is not clear which; the text lists the candidates.
    """
    everything = candidates(original, size)
    named = [
        candidate
        for candidate in everything
        if signature in (None, candidate.signature) and output_key in (None, candidate.output.key)
    ]
    fitting = [candidate for candidate in named if candidate.classes == classes] or named
    overruled = signature is not None or output_key is not None
    kinds = [Behaviour.PROBABILITIES, Behaviour.LOGITS]
    if overruled:
        kinds.append(Behaviour.FEATURES)
    for kind in kinds:
        of_kind = [candidate for candidate in fitting if candidate.behaviour is kind]
        if not of_kind:
            continue
        if not _all_equal(of_kind):
            raise _unclear(f"{len(of_kind)} different outputs behave as {kind}", everything)
        taken = min(of_kind, key=_familiarity)
        return Choice(
            taken,
            *_size(original, taken.input, size),
            _reason(taken, len(of_kind), len(fitting), overruled),
        )
    if not named:
        raise _unclear(f"there is no output {signature or '*'} / {output_key or '*'}", everything)
    raise _unclear("no output behaves as probabilities or as logits", everything)


def _image_input(original: Original, signature: Signature) -> Tensor | None:
    """The one picture input of a signature that needs nothing else.

    8-bit inputs are fed in TF Lite files alone: what their levels mean is a convention there.
    """
    if len(signature.inputs) != 1 or not signature.inputs[0].takes_images:
        return None
    (image,) = signature.inputs
    return image if image.dtype == "float32" or isinstance(original, LiteModel) else None


def _size(original: Original, image: Tensor, given: tuple[int, int] | None) -> tuple[int, int]:
    assert image.shape is not None
    _, height, width, _ = image.shape
    if height and width:
        return height, width
    if size := original.facts.image_size or given:
        return height or size[0], width or size[1]
    raise ModuleError(
        f"the image size of '{image.key}' is open and the module has no ImageModuleInfo"
        " attachment; give it with --image-size HEIGHTxWIDTH"
    )


def _all_equal(options: list[Candidate]) -> bool:
    """True if the outputs are one tensor under several names."""
    first = options[0].values
    return all(
        option.values.shape == first.shape and np.allclose(option.values, first, atol=1e-6)
        for option in options
    )


def _familiarity(candidate: Candidate) -> tuple[bool, bool, str]:
    """Among equal outputs, the Hub's own names for a classifier come first."""
    return (
        not candidate.signature.startswith("image_classif"),
        candidate.output.key not in ("default", candidate.signature),
        candidate.output.key,
    )


def _reason(taken: Candidate, equal: int, fitting: int, overruled: bool) -> str:
    if taken.behaviour is Behaviour.PROBABILITIES:
        what = "its rows are never negative and sum to 1"
    elif overruled:
        what = f"it behaves as {taken.behaviour}: a softmax is added"
    else:
        what = "no output is probabilities, and this one is logits: a softmax is added"
    rivals = f"{fitting} vector outputs were tried"
    same = f", {equal} of them the same tensor" if equal > 1 else ""
    return f"{'named by you; ' if overruled else ''}{what} ({rivals}{same})"


def _unclear(problem: str, options: list[Candidate]) -> ModuleError:
    listing = "\n".join(f"  {option}" for option in options)
    return ModuleError(
        f"which output is the classifier is not clear: {problem}; name one:\n{listing}"
    )


def _lacks(original: Original) -> str:
    listing = "\n".join(
        f"  {signature.name}({', '.join(map(str, signature.inputs))})"
        f" -> {', '.join(map(str, signature.outputs))}"
        for signature in original.facts.signatures
    )
    pictured = [entry for entry in original.facts.signatures if _image_input(original, entry)]
    missing = (
        "no output with one vector a picture, of shape [N, classes]"
        if pictured
        else "no signature that takes images (one float input of shape [N, height, width, 3])"
    )
    return f"this is no image classifier: it has {missing}; it has:\n{listing or '  no signature'}"
