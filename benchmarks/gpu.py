"""How fast a GPU classifies, and how far that is from what it could do: one command.

    python benchmarks/gpu.py fungi.onnx --half fungi.fp16.onnx --markdown gpu.md

First every variant's answers are compared with the CPU's; one that differs by more than its gate
has no speed. Then each is measured, NumPy in and NumPy out, so that copies count. PyTorch and onnx
are used if they are installed; TensorFlow is not needed. ``--device cpu`` rehearses it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from gpu_peers import report
from gpu_peers.variants import Variant, variants
from numpy.typing import NDArray

from fungi_onnx import FungiClassifier, image
from fungi_onnx.session import Session

WINDOWS = 7
FEW = (1, 16, 64, 256)  # the sizes of what is not measured at all of them
SETS = 4  # different pictures, so that no cache holds all of them


def main() -> int:
    """Measures, prints, and gives 1 if a variant's answers are beyond its gate."""
    options = _options()
    classifier = FungiClassifier(options.model, device="cpu")
    height, width = classifier.image_size
    machine = report.machine(options.device)
    print(report.table(machine), flush=True)
    made = variants(options.model, options.half, options.device, options.batches)
    shown = _pictures(classifier)
    expected = Session(options.model, "cpu").run(shown)
    end = time.monotonic() + options.seconds
    results: list[dict[str, Any]] = []
    for variant in [*made, made[0]]:  # the first again at the end: has the machine changed?
        again = any(result["variant"] == variant.name for result in results)
        result = {"variant": f"{variant.name}, again" if again else variant.name}
        print(f"{time.monotonic() - end + options.seconds:6.0f} s  {result['variant']}", flush=True)
        try:
            run = variant.load()
            result |= _compare(variant, run, shown, expected)
            if result["passed"]:
                sizes = options.batches if variant.everywhere else FEW
                chosen = [size for size in options.batches if size in sizes and not again]
                chosen = chosen or options.batches[:1]
                result["batches"] = {
                    size: _measure(run, variant, size, height, width, end) for size in chosen
                }
            del run
        except Exception as error:  # a variant that cannot run must not end the others
            result["problem"] = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
        results.append(result)
    found = {
        "machine": machine,
        "model": classifier.model.name,
        "pictures": len(shown),
        "results": results,
        "ceilings": report.ceilings(options),
    }
    text = report.markdown(found)
    print(f"\n{text}")
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return int(any(result.get("passed") is False for result in results))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path, help="a float32 model file")
    parser.add_argument("--half", type=Path, help="its float16 variant")
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


def _pictures(classifier: FungiClassifier) -> NDArray[np.float32]:
    """The golden probes and smooth random pictures, float32 [N, height, width, 3] in [0, 1]."""
    height, width = classifier.image_size
    chance = np.random.default_rng(0)
    coarse = [chance.integers(0, 256, (7, 7, 3), np.uint8) for _ in range(56)]
    probes = [image.read_rgb(probe.png) for probe in classifier.model.probes.pictures]
    return np.stack([image.to_tensor(one, height, width) for one in [*probes, *coarse]])


def _compare(
    variant: Variant, run: Any, shown: NDArray[np.float32], expected: NDArray[np.float32]
) -> dict[str, Any]:
    given = image.to_levels(shown) if variant.uint8 else shown
    chunk = 16
    rows = [run(np.ascontiguousarray(given[k : k + chunk])) for k in range(0, len(given), chunk)]
    found = np.concatenate(rows)
    difference = np.abs(found.astype(np.float64) - expected)
    largest = float(difference.max()) if np.isfinite(found).all() else float("nan")
    agreement = float((found.argmax(1) == expected.argmax(1)).mean())
    limit, least = variant.gate
    return {
        "max_difference": largest,
        "mean_difference": float(difference.mean()),
        "top1_agreement": agreement,
        "gate": f"max |Δp| <= {limit:g}" + (f", top-1 >= {least:.1%}" if least else ""),
        # `not <=` also catches NaN.
        "passed": largest <= limit and agreement >= least,
    }


def _measure(
    run: Any, variant: Variant, size: int, height: int, width: int, end: float
) -> dict[str, Any]:
    """Images a second and, one after the other, milliseconds of a call; or why there are none."""
    if time.monotonic() > end:
        return {"problem": "no time was left"}
    chance = np.random.default_rng(size)
    levels = [chance.integers(0, 256, (size, height, width, 3), np.uint8) for _ in range(SETS)]
    sets = levels if variant.uint8 else [one.astype(np.float32) / np.float32(255) for one in levels]
    try:
        begun = time.perf_counter()
        run(sets[0])  # searches for convolutions, captures graphs, compiles
        first = time.perf_counter() - begun
        for _ in range(2):
            run(sets[1])
        calls = []
        for number in range(20):
            calls.append(_timed(run, sets[number % SETS]))
            if sum(calls) > 1:
                break
        # Windows of about a fifth of a second.
        count = max(2 * variant.threads, round(0.2 / float(np.median(calls))))
        with ThreadPoolExecutor(variant.threads) as pool:
            rates = [_window(run, sets, count, pool) * size for _ in range(WINDOWS)]
        calls += [_timed(run, sets[number % SETS]) for number in range(200 if size == 1 else 0)]
    except Exception as error:  # out of memory, above all
        return {"problem": f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"}
    p50, p90, p99 = np.percentile(calls, (50, 90, 99)) * 1e3
    return {
        "images_per_second": float(np.median(rates)),
        "smallest": min(rates),
        "largest": max(rates),
        "ms": {"p50": float(p50), "p90": float(p90), "p99": float(p99), "calls": len(calls)},
        "first_call_s": first,
    }


def _timed(run: Any, images: NDArray[Any]) -> float:
    start = time.perf_counter()
    run(images)
    return time.perf_counter() - start


def _window(run: Any, sets: list[NDArray[Any]], count: int, pool: ThreadPoolExecutor) -> float:
    """Calls a second, of as many threads as the pool has."""
    start = time.perf_counter()
    for _ in pool.map(lambda number: run(sets[number % SETS]), range(count)):
        pass
    return count / (time.perf_counter() - start)


if __name__ == "__main__":
    sys.exit(main())
