"""The bodies of the `fungi-onnx-export` command: each calls the library, prints, gives a code."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from fungi_onnx_export import source
from fungi_onnx_export.errors import ModuleError
from fungi_onnx_export.known import BY_NAME


def inspect(options: argparse.Namespace) -> int:
    """Shows a module's tensors and the one that would be taken."""
    with source.opened(options.source) as opened:
        from fungi_onnx_export import choice, module

        original = module.open_original(opened)
        try:
            taken: choice.Choice | None = choice.choose(
                original,
                signature=options.signature,
                output_key=options.output_key,
                size=options.image_size,
            )
            problem = None
        except ModuleError as error:
            taken, problem = None, error
        facts: dict[str, Any] = {
            "source": options.source,
            "format": opened.format,
            "standin": original.facts.standin,
            "image_size": original.facts.image_size,
            "quantised": original.facts.quantised,
            "fake_quantised": original.facts.noisy,
            "signatures": {
                signature.name: {
                    "inputs": [vars(tensor) for tensor in signature.inputs],
                    "outputs": [vars(tensor) for tensor in signature.outputs],
                }
                for signature in original.facts.signatures
            },
            "classifier": taken
            and {
                "signature": taken.candidate.signature,
                "output_key": taken.candidate.output.key,
                "height": taken.height,
                "width": taken.width,
                "classes": taken.candidate.classes,
                "behaviour": taken.candidate.behaviour,
                "softmax_added": taken.add_softmax,
                "why": taken.why,
            },
        }
    if options.json:
        print(json.dumps(facts, ensure_ascii=False))
    else:
        _print_inspection(facts, original.facts.signatures)
    if problem is not None:
        raise problem
    return 0


def _print_inspection(facts: dict[str, Any], signatures: Sequence[Any]) -> None:
    kind = " (8-bit quantised)" if facts["quantised"] else ""
    kind = " (fake-quantised, so noisy by itself)" if facts["fake_quantised"] else kind
    print(f"{facts['source']}: {facts['format']}{kind}")
    if facts["standin"]:
        print(f"  {facts['standin']}")
    if facts["image_size"]:
        height, width = facts["image_size"]
        print(f"  expected image size: {height}x{width} (ImageModuleInfo)")
    for signature in signatures:
        print(f"  signature {signature.name}")
        for tensor in signature.inputs:
            print(f"    in   {tensor}")
        for tensor in signature.outputs:
            print(f"    out  {tensor}")
    if taken := facts["classifier"]:
        print(
            f"  classifier: {taken['signature']} / {taken['output_key']},"
            f" {taken['height']}x{taken['width']}, {taken['classes']} classes: {taken['why']}"
        )


def export(options: argparse.Namespace) -> int:
    """Converts a module to one self-describing ONNX file."""
    with source.opened(options.source) as opened:
        from fungi_onnx_export import pipeline

        wishes = pipeline.Wishes(
            labels=options.labels,
            pictures=options.pictures,
            signature=options.signature,
            output_key=options.output_key,
            image_size=options.image_size,
            expect=BY_NAME[options.expect] if options.expect else None,
            name=options.name,
        )
        made = pipeline.export(opened, options.output, wishes, say=_say)
    size = options.output.stat().st_size / 1e6
    print(f"{options.output}: {made.name}, {len(made.labels)} classes, {size:.1f} MB")
    return 0


def verify(options: argparse.Namespace) -> int:
    """Compares a module and its ONNX file again, and writes a report."""
    with source.opened(options.source) as opened:
        from fungi_onnx_export import pipeline, report

        wishes = pipeline.Wishes(
            pictures=options.pictures, signature=options.signature, output_key=options.output_key
        )
        description, comparison, shown = pipeline.verify(opened, options.model, wishes)
    page = options.report or options.model.with_suffix(".parity.html")
    report.write(page, options.source, options.model, description, comparison, shown)
    parity = comparison.parity
    verdict = "passed" if comparison.problem is None else f"FAILED: {comparison.problem}"
    print(
        f"{verdict}\n"
        f"  reference  {parity.reference}, {parity.pictures} pictures ({parity.picture_set})\n"
        f"  max |Δp| {parity.max_difference:.3g}, mean |Δp| {parity.mean_difference:.3g},"
        f" mean largest {parity.mean_max_difference:.3g}\n"
        f"  top-1 agreement {parity.top1_agreement:.2%}, top-5 {parity.top5_agreement:.2%}\n"
        f"  gate       {parity.gate}\n"
        f"  report     {page} and {page.with_suffix('.json')}"
    )
    return 0 if comparison.problem is None else 1


def quantize(options: argparse.Namespace) -> int:
    """Makes the int8 variant of a float model."""
    from fungi_onnx_export import variants

    made = variants.quantize(options.model, options.output, options.pictures, say=_say)
    size = options.output.stat().st_size / 1e6
    print(f"{options.output}: {made.name}, {made.precision}, {size:.1f} MB")
    return 0


def half(options: argparse.Namespace) -> int:
    """Makes the float16 variant of a float model."""
    from fungi_onnx_export.half import convert

    made = convert(options.model, options.output, options.pictures, say=_say)
    size = options.output.stat().st_size / 1e6
    print(f"{options.output}: {made.name}, {made.precision}, {size:.1f} MB")
    return 0


def standin(options: argparse.Namespace) -> int:
    """Builds an untrained module of the fungi module's form."""
    from fungi_onnx_export.standin import build

    recall = build(options.directory, say=_say)
    print(f"{options.directory}: a stand-in with Recall@1 {recall:.3f} on pictures made by code")
    return 0


def wheel(options: argparse.Namespace) -> int:
    """Packs a model file into a pip-installable wheel."""
    from fungi_onnx_export import packaging

    print(packaging.model_wheel(options.model, options.output))
    return 0


def triton(options: argparse.Namespace) -> int:
    """Adds a model file to a Triton Inference Server's model repository."""
    from fungi_onnx_export.triton import add_model

    print(add_model(options.model, options.output, replace=options.replace))
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
