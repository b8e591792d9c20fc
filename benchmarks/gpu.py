"""How fast a GPU classifies, and how far that is from what it could do: one command.

    python benchmarks/gpu.py fungi.onnx --half fungi.fp16.onnx --markdown gpu.md

First every variant's answers are compared with the CPU's; one that differs by more than its gate
has no speed. Then each is measured, NumPy in and NumPy out, so that copies count; and at the end
the best of them take turns, for what is said of one beside another. PyTorch and onnx are used if
they are installed; TensorFlow is not needed. ``--device cpu`` rehearses it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from gpu_peers import ceilings, pictures, report, targets
from gpu_peers.pictures import Materials
from gpu_peers.variants import Variant, variants
from gpu_peers.worker import Worker, WorkerError, problem_of

from fungi_onnx import FungiClassifier

FEW = (1, 16, 64, 256, 512)  # the sizes of what is not measured at all of them
TELLING = (1, 256, 64, 512, 16, 128, 32)  # first, in case that time runs out
FINAL = 0.25  # the part of the time that is the final's
MOST = 0.25  # the part that one variant may have: compiling takes long
WINDOW = 0.3  # seconds, in the final
MOST_ROUNDS = 15


def main() -> int:
    """Measures, prints, and gives 1 if answers are beyond their gate, or there are none."""
    options = _options()
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {text}", flush=True)

    classifier = FungiClassifier(options.model, device="cpu")
    machine = report.machine(options.device)
    print(report.table(machine), flush=True)
    say("what the device can do")
    limits, versions = ceilings.find(options)
    machine |= versions
    say("the right answers, by the CPU")
    materials = pictures.make(options.model, options.photos)
    made = variants(options.model, options.half, options.device, options.batches)
    end = began + options.seconds
    results = []
    for variant in made:
        result = _survey(variant, materials, options, end - FINAL * options.seconds)
        say(_in_short(result))
        results.append(result)
    found = {
        "machine": machine,
        "model": classifier.model.name,
        "pictures": len(materials.floats),
        "winners": len(np.unique(materials.of_floats.argmax(1))),
        "rounding": float(np.abs(materials.of_floats - materials.of_levels).max()),
        "results": results,
        "ceilings": limits,
        "final": {},
    }
    names = targets.finalists(results)
    say(f"the final: {'; '.join(names)}")
    found["final"] = _final([v for v in made if v.name in names], results, materials, end)
    found["seconds"] = time.monotonic() - began
    text = report.markdown(found)
    print(f"\n{text}")
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    passed = [result["passed"] for result in results if "passed" in result]
    return int(not passed or not all(passed))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path, help="a float32 model file")
    parser.add_argument("--half", type=Path, help="its float16 variant")
    parser.add_argument("--photos", type=Path, help="a folder; they are shown as well")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu (default cuda)")
    parser.add_argument("--seconds", type=float, default=480, help="about how long (default 480)")
    parser.add_argument(
        "--batches",
        type=lambda text: tuple(sorted({int(size) for size in text.split(",")})),
        default=tuple(2**power for power in range(10)),
        help="sizes, separated by commas (default 1 to 512)",
    )
    parser.add_argument("--json", type=Path, help="all figures, to this file")
    parser.add_argument("--markdown", type=Path, help="the tables, to this file")
    for rate, text in (("tflops", "of a float16 matrix product"), ("tflops32", "of a float32 one")):
        parser.add_argument(f"--{rate}", type=float, help=f"TFLOP/s {text}, if there is no PyTorch")
    parser.add_argument("--bandwidth", type=float, help="GB/s of a copy on the GPU, likewise")
    parser.add_argument("--bus", type=float, help="GB/s from pinned memory, likewise")
    return parser.parse_args()


def _survey(
    variant: Variant, materials: Materials, options: argparse.Namespace, end: float
) -> dict[str, Any]:
    """Compares a variant's answers and, if they pass, measures it; or why not."""
    result: dict[str, Any] = {"variant": variant.name, "settings": variant.settings}
    windows = 5 if variant.everywhere and options.seconds >= 240 else 3
    end = min(end, time.monotonic() + MOST * options.seconds)
    try:
        variant.check()
        if time.monotonic() > end:
            raise WorkerError("no time was left")
        with Worker(variant, materials, max(options.batches)) as worker:
            result |= worker.ask("compare", patience=_patience(end))
            if not result["passed"]:
                return result
            cells = result["batches"] = {}
            for size in _sizes(variant, options.batches):
                cells[size] = _cell(worker, size, windows, end)
                # Beyond the gate at one size: none of its figures is a result.
                result["passed"] &= not cells[size].get("problem", "").startswith("WRONG")
            if not result["passed"]:
                problems = (f"batch {size}: {cell['problem']}" for size, cell in cells.items()
                            if "problem" in cell)  # fmt: skip
                result["problem"] = "; ".join(problems)
                del result["batches"]
    except Exception as error:  # a variant that cannot run must not end the others
        result["problem"] = problem_of(error)
    return result


def _sizes(variant: Variant, batches: tuple[int, ...]) -> list[int]:
    chosen = [size for size in batches if variant.everywhere or size in FEW] or [batches[0]]
    return sorted(chosen, key=lambda size: (*TELLING, size).index(size))


def _cell(worker: Worker, size: int, windows: int, end: float) -> dict[str, Any]:
    if time.monotonic() > end:
        return {"problem": "no time was left"}
    try:
        answer: dict[str, Any] = worker.ask("measure", size, windows, patience=_patience(end))
    except WorkerError as error:
        return {"problem": problem_of(error)}
    return answer


def _patience(end: float) -> float:
    """Seconds: compiling, and searching for convolutions, take long the first time."""
    return max(60.0, min(240.0, end - time.monotonic() + 60))


def _final(
    chosen: list[Variant], results: list[dict[str, Any]], materials: Materials, end: float
) -> dict[str, Any]:
    """The best take turns: each at its best batch, and at batch 1, until time is up.

    Returns:
        By the variant's name its ``batch``, and of each round ``images_per_second`` and ``ms``, the
        median of its calls at batch 1; or the ``problem``.
    """
    by_name = {result["variant"]: result for result in results}
    found: dict[str, Any] = {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for variant in chosen:
            batch = targets.best_batch(by_name[variant.name])
            cells = by_name[variant.name]["batches"]
            sizes = [size for size in sorted({1, batch}) if "ms" in cells.get(size, {})]
            found[variant.name] = {"batch": batch, "images_per_second": [], "ms": []}
            try:
                worker = stack.enter_context(Worker(variant, materials, batch))
                for size in sizes:
                    answer = worker.ask("measure", size, 1, patience=_patience(end))
                    if "problem" in answer:
                        raise WorkerError(answer["problem"])
            except Exception as error:  # such as memory that does not suffice for all of them
                found[variant.name]["problem"] = problem_of(error)
            else:
                workers[variant.name] = worker
        for names in _rounds(list(workers), end):
            for name in [name for name in names if name in workers]:
                try:
                    _turn(workers[name], found[name], by_name[name])
                except WorkerError as error:
                    found[name]["problem"] = problem_of(error)
                    del workers[name]
    return found


def _turn(worker: Worker, seen: dict[str, Any], result: dict[str, Any]) -> None:
    rate = worker.ask("rate", seen["batch"], WINDOW)
    if "ms" in result["batches"].get(1, {}):
        seen["ms"].append(float(np.median(worker.ask("calls", 1, 50))))
    seen["images_per_second"].append(rate)


def _rounds(names: list[str], end: float) -> Iterator[list[str]]:
    """The order of each round: every one begins with another."""
    for number in range(MOST_ROUNDS if names else 0):
        if number >= 3 and time.monotonic() > end:
            return
        turn = number % len(names)
        yield names[turn:] + names[:turn]


def _in_short(result: dict[str, Any]) -> str:
    best = targets.best_rate(result)
    what = result.get("problem") or ("FAILED its gate" if result.get("passed") is False else "")
    if not what:
        what = f"{best:,.0f} images/s at batch {targets.best_batch(result)}" if best else "no speed"
    return f"{result['variant']}: {what[:100]}"


if __name__ == "__main__":
    sys.exit(main())
