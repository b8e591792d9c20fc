"""The self-describing model file: what its metadata says.

The contract (schema 1): one ``.onnx`` file with the input ``images`` (float32 [N, height, width,
3], RGB in [0, 1]), the output ``probabilities`` (float32 [N, classes], each row summing to 1 within
the precision of its source) and five ``metadata_props`` under the prefix ``fungi_onnx.``:
``schema``, ``model``, ``labels``, ``parity`` and ``probes``. `ModelFile` is both their reader and
their writer, so that the exporter and the runtime cannot disagree.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fungi_onnx.errors import ModelFormatError

SCHEMA = "1"
PREFIX = "fungi_onnx."
INPUT, OUTPUT = "images", "probabilities"
# A second input that some files have, for pictures as whole levels: uint8 [N, height, width, 3].
# Both are added up, and each may be a single black picture: ``pictures`` is by default, and who
# feeds them gives ``images`` as zeros, float32 [1, height, width, 3].
UINT8_INPUT = "pictures"

HOW_TO_MAKE = "make one with: fungi-onnx-export export SOURCE -o MODEL.onnx"


@dataclass(frozen=True)
class Terms:
    """What the model may be used for, as its publisher's card says."""

    licence: str
    suitable: tuple[str, ...]
    unsuitable: tuple[str, ...]
    limits: tuple[str, ...]


@dataclass(frozen=True)
class Parity:
    """How near the ONNX file came to the original on the same pictures.

    Differences are of probabilities: ``max_difference`` is the largest anywhere,
    ``mean_difference`` the mean over all values, ``mean_max_difference`` the mean over pictures of
    the largest in each. ``gate`` is the sentence the file had to satisfy to be written.
    ``noise_floor`` is the reference's own ``mean_max_difference`` when its input moves by 1e-7, and
    ``forms`` the ``mean_max_difference`` of each ONNX form tried; both only for noisy sources.
    Of a variant (int8) the reference is the file it was made from, whose own parity with the
    original is ``of_source``.
    """

    reference: str
    pictures: int
    picture_set: str
    max_difference: float
    mean_difference: float
    mean_max_difference: float
    top1_agreement: float
    top5_agreement: float
    gate: str
    noise_floor: float | None = None
    forms: dict[str, float] = field(default_factory=dict)
    of_source: Parity | None = None


@dataclass(frozen=True)
class Probe:
    """A little picture and what the original answers to it.

    ``png`` is lossless; ``top`` holds the reference's best five as (id, probability).
    ``log_probabilities`` is float16 [classes], natural logarithms, for sources smooth enough that
    every class can be checked and not only the best five; else None.
    """

    name: str
    png: bytes
    top: tuple[tuple[int, float], ...]
    log_probabilities: NDArray[np.float16] | None = None


@dataclass(frozen=True)
class Probes:
    """The golden probes, with the largest |Δp| (and |Δ log p|) allowed on each kind of device."""

    pictures: tuple[Probe, ...]
    tolerance: dict[str, float]
    log_tolerance: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelFile:
    """Everything that a model file says about itself.

    ``uint8_input`` says whether the graph has `UINT8_INPUT`.
    """

    name: str
    source: dict[str, Any]
    height: int
    width: int
    labels: tuple[str, ...]
    labels_given: bool
    precision: str
    terms: Terms
    parity: Parity
    probes: Probes
    tools: dict[str, str]
    created: str
    uint8_input: bool = False

    @property
    def slug(self) -> str:
        """The name in the form of packages and addresses: of its wheel, and under /v2."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")[:40].strip("-") or "model"

    def to_dict(self) -> dict[str, Any]:
        """What the file says about itself, as JSON's types, without the labels and the probes."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "source": self.source,
            "input": f"{INPUT} float32 [N, {self.height}, {self.width}, 3], RGB in [0, 1]"
            + (f"; or {UINT8_INPUT} uint8, RGB in [0, 255]" if self.uint8_input else ""),
            "output": f"{OUTPUT} float32 [N, {len(self.labels)}]",
            "precision": self.precision,
            "labels": {"count": len(self.labels), "given": self.labels_given},
            "terms": asdict(self.terms),
            "parity": asdict(self.parity),
            "probes": len(self.probes.pictures),
            "tools": self.tools,
            "created": self.created,
        }

    def check_graph(
        self, image_shape: list[Any], output_shape: list[Any], uint8: bool, path: str
    ) -> None:
        """Sees that the graph has the tensors that the metadata promises.

        Args:
            image_shape, output_shape: the graph's; the first dimension may be anything.
            uint8: whether it has `UINT8_INPUT`.
            path: for the error texts alone.

        Raises:
            ModelFormatError: it has others.
        """
        if self.uint8_input and not uint8:
            raise ModelFormatError(
                f"{path}: its metadata promises the input '{UINT8_INPUT}', and the graph has none;"
                " make it again"
            )
        classes = len(self.labels)
        if image_shape[1:] != [self.height, self.width, 3] or output_shape[1:] != [classes]:
            raise ModelFormatError(
                f"{path}: the graph takes {image_shape} and gives {output_shape}, but its metadata"
                f" promises [N, {self.height}, {self.width}, 3] and [N, {classes}]; export it again"
            )

    def to_metadata(self) -> dict[str, str]:
        """The ``metadata_props`` of the file, all of them strings."""
        labels = _dumps(list(self.labels))
        model = {
            "name": self.name,
            "source": self.source,
            "input": {
                "name": INPUT,
                "shape": ["N", self.height, self.width, 3],
                "dtype": "float32",
                "colour": "RGB",
                "range": [0, 1],
                **({"uint8": UINT8_INPUT} if self.uint8_input else {}),
            },
            "output": {"name": OUTPUT, "shape": ["N", len(self.labels)], "dtype": "float32"},
            "precision": self.precision,
            **asdict(self.terms),
            "labels": {"given": self.labels_given, "sha256": _sha256(labels)},
            "tools": self.tools,
            "created": self.created,
        }
        probes = {
            "tolerance": self.probes.tolerance,
            "log_tolerance": self.probes.log_tolerance,
            "pictures": [_probe_to_json(probe) for probe in self.probes.pictures],
        }
        return {
            PREFIX + "schema": SCHEMA,
            PREFIX + "model": _dumps(model),
            PREFIX + "labels": labels,
            PREFIX + "parity": _dumps(asdict(self.parity)),
            PREFIX + "probes": _dumps(probes),
        }

    @classmethod
    def from_metadata(cls, properties: Mapping[str, str], path: str) -> ModelFile:
        """Reads what `to_metadata` wrote; ``path`` is for the error texts alone.

        Raises:
            ModelFormatError: not a fungi-onnx file, another schema, or altered.
        """
        schema = properties.get(PREFIX + "schema")
        if schema is None:
            raise ModelFormatError(
                f"{path} is an ONNX file but not a self-describing fungi-onnx model"
                f" (it has no '{PREFIX}schema'); {HOW_TO_MAKE}"
            )
        if schema != SCHEMA:
            raise ModelFormatError(
                f"{path} has schema {schema}, this fungi-onnx reads schema {SCHEMA};"
                " update fungi-onnx or export the model again"
            )
        try:
            return cls._parse(properties)
        except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
            what = f"{type(error).__name__}: {error}"
            raise ModelFormatError(f"{path}: its metadata is damaged ({what})") from None

    @classmethod
    def _parse(cls, properties: Mapping[str, str]) -> ModelFile:
        model = json.loads(properties[PREFIX + "model"])
        parity = json.loads(properties[PREFIX + "parity"])
        probes = json.loads(properties[PREFIX + "probes"])
        label_text = properties[PREFIX + "labels"]
        if _sha256(label_text) != model["labels"]["sha256"]:
            raise ValueError("the label list does not match its SHA-256 digest")
        labels = tuple(json.loads(label_text))
        _, height, width, _ = model["input"]["shape"]
        if len(labels) != model["output"]["shape"][1]:
            raise ValueError(f"{len(labels)} labels for {model['output']['shape'][1]} classes")
        return cls(
            name=model["name"],
            source=model["source"],
            height=int(height),
            width=int(width),
            labels=labels,
            labels_given=model["labels"]["given"],
            precision=model["precision"],
            terms=Terms(
                licence=model["licence"],
                suitable=tuple(model["suitable"]),
                unsuitable=tuple(model["unsuitable"]),
                limits=tuple(model["limits"]),
            ),
            parity=_parity_from_json(parity),
            probes=Probes(
                tuple(_probe_from_json(probe) for probe in probes["pictures"]),
                probes["tolerance"],
                probes["log_tolerance"],
            ),
            tools=model["tools"],
            created=model["created"],
            uint8_input="uint8" in model["input"],
        )


def _parity_from_json(parity: dict[str, Any]) -> Parity:
    source = parity.pop("of_source", None)
    return Parity(**parity, of_source=source and _parity_from_json(source))


def _probe_to_json(probe: Probe) -> dict[str, Any]:
    logs = probe.log_probabilities
    return {
        "name": probe.name,
        "png": base64.b64encode(probe.png).decode(),
        "top": [{"id": i, "probability": p} for i, p in probe.top],
        "log_probabilities": None
        if logs is None
        else base64.b64encode(logs.astype("<f2").tobytes()).decode(),
    }


def _probe_from_json(probe: dict[str, Any]) -> Probe:
    logs = probe["log_probabilities"]
    return Probe(
        name=probe["name"],
        png=base64.b64decode(probe["png"], validate=True),
        top=tuple((match["id"], match["probability"]) for match in probe["top"]),
        log_probabilities=None
        if logs is None
        else np.frombuffer(base64.b64decode(logs, validate=True), "<f2"),
    )


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
