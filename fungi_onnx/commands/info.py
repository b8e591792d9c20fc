"""`fungi-onnx info`."""

from __future__ import annotations

import argparse

from fungi_onnx.classifier import FungiClassifier
from fungi_onnx.commands import common
from fungi_onnx.model_file import SCHEMA, Parity


def run(options: argparse.Namespace) -> int:
    """Shows what the model file says about itself."""
    classifier = FungiClassifier(options.model, device="cpu")
    model, parity, source = classifier.model, classifier.model.parity, classifier.model.source
    facts = {"path": str(classifier.path), **model.to_dict()}
    if options.json:
        common.print_json(facts)
        return 0
    labels = f"{len(model.labels)}, for example {model.labels[0]}"
    numbered = "none were given: the classes are numbered"
    common.print_table(
        {
            "model": model.name,
            "file": f"{classifier.path} (schema {SCHEMA})",
            "source": f"{source['location']} ({source['format']}),"
            f" {source['signature']} / {source['output_key']}"
            + (", softmax added" if source["softmax_added"] else ""),
            "input": facts["input"],
            "output": facts["output"],
            "precision": model.precision,
            "labels": labels if model.labels_given else numbered,
            "parity": _parity(parity),
            "gate": parity.gate,
            **({"parity of that": _parity(parity.of_source)} if parity.of_source else {}),
            "probes": f"{len(model.probes.pictures)}, run them with: fungi-onnx selftest",
            "licence": model.terms.licence,
            "suitable": "; ".join(model.terms.suitable) or "not stated",
            "unsuitable": "; ".join(model.terms.unsuitable),
            "limits": "; ".join(model.terms.limits) or "not stated",
            "made": f"{model.created} with "
            + ", ".join(f"{tool} {version}" for tool, version in model.tools.items()),
        }
    )
    return 0


def _parity(parity: Parity) -> str:
    noise = ""
    if parity.noise_floor is not None:
        noise = (
            f"; mean largest |Δp| {parity.mean_max_difference:.2g},"
            f" the reference against itself {parity.noise_floor:.2g}"
        )
    return (
        f"with {parity.reference} on {parity.pictures} pictures"
        f" ({parity.picture_set}): max |Δp| {parity.max_difference:.2g},"
        f" mean |Δp| {parity.mean_difference:.2g},"
        f" top-1 {parity.top1_agreement:.1%}, top-5 {parity.top5_agreement:.1%}{noise}"
    )
