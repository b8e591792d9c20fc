"""What was found, in tables: the machine, answers, speeds, ceilings."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import onnxruntime as ort
from gpu_peers.targets import best_batch, best_rate, shares, targets, tunings

from fungi_onnx import __version__, cuda

Rows = dict[str, Any]


def machine(device: str) -> dict[str, str]:
    """What it runs on."""
    found = {
        "device": device,
        "gpu": _nvidia_smi("name,memory.total,driver_version") or "none",
        "clocks": _nvidia_smi("clocks.max.sm,clocks.max.mem,power.limit") or "unknown",
        "cuda": f"onnxruntime is built for {getattr(ort, 'cuda_version', '') or 'none'}",
        "python": f"{platform.python_version()}, {platform.machine()}",
        "fungi-onnx": __version__,
        "numpy": np.__version__,
    }
    packages = ("onnxruntime", "onnxruntime-gpu", "nvidia-cudnn-cu13", "nvidia-cudnn-cu12",
                "torch", "triton", "onnx")  # fmt: skip
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if cuda.built_for():
        newest = cuda.driver().version
        found["cuda"] += f", the driver can {newest[0]}.{newest[1]}" if newest else ", no driver"
    return found


def _nvidia_smi(query: str) -> str:
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    return "; ".join(line.strip() for line in done.stdout.splitlines())


def table(rows: dict[str, Any]) -> str:
    """Aligned names and values."""
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def markdown(found: dict[str, Any]) -> str:
    """All tables, readable as they are and as Markdown."""
    results = found["results"]
    measured = [result for result in results if result.get("batches")]
    sizes = sorted({size for result in measured for size in result["batches"]})
    parts = [
        f"# {found['model']} on {found['machine']['gpu']}",
        _grid(["", ""], [[name, str(value)] for name, value in found["machine"].items()], left=2),
        "## Answers, compared with float32 on the CPU",
        f"{found['pictures']} pictures: golden probes, parts of them or of photos, and random ones;"
        f" {found['winners']} different classes are on top. Float and 8-bit input are each compared"
        " with the float32 model's answers to the same input; to round the pictures to 8 bits moves"
        f" those by {found['rounding']:.2g}. The answers at each batch size are compared, too.",
        _grid(
            ["", "max abs(Δp)", "mean abs(Δp)", "top-1", "gate", ""],
            [_answers(result) for result in results],
        ),
        "## Images a second, by batch",
        "The median of windows of calls, NumPy in and NumPy out, and half the distance from the"
        " slowest to the fastest.",
        _grid(["", *map(str, sizes)], [_speeds(result, sizes) for result in measured]),
        "## Milliseconds of a call at batch 1",
        _grid(
            ["", "p50", "p90", "p99", "first call, s"], [_latency(result) for result in measured]
        ),
        "## The best in turn",
        _final(found["final"]),
        "## What the device allows",
        _allowed(found),
        "## Targets",
        _grid(["", "target", "found", ""], targets(found)),
        "## The best `Tuning`",
        _grid(["", "throughput", "latency at batch 1", "both"], tunings(results))
        if tunings(results)
        else "None was measured.",
    ]
    if problems := _problems(results):
        parts += ["## What did not run", problems]
    if "seconds" in found:
        parts.append(f"It took {found['seconds']:,.0f} s.")
    return "\n\n".join(parts) + "\n"


def _problems(results: list[Rows]) -> str:
    """Each problem once, with where it was."""
    where: dict[str, list[str]] = {}
    for result in results:
        if "problem" in result:
            where.setdefault(result["problem"], []).append(result["variant"])
        for size, cell in sorted(result.get("batches", {}).items()):
            if "problem" in cell:
                name = f"{result['variant']}, batch {size}"
                where.setdefault(cell["problem"], []).append(name)
    return "\n".join(f"- {'; '.join(names)}: {problem}" for problem, names in where.items())


def _grid(head: list[str], rows: list[list[str]], left: int = 1) -> str:
    """A table; the first columns, so many, are aligned to the left and the others to the right."""
    lines = [head, *rows]
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]

    def row(cells: list[str]) -> str:
        aligned = [
            cell.ljust(width) if k < left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(aligned)} |"

    rules = ["-" * (width + 2) if k < left else "-" * (width + 1) + ":"
             for k, width in enumerate(widths)]  # fmt: skip
    return "\n".join([row(head), f"|{'|'.join(rules)}|", *map(row, rows)])


def _answers(result: Rows) -> list[str]:
    if "passed" not in result:
        return [result["variant"], "", "", "", "", "did not run"]
    return [
        result["variant"],
        f"{result['max_difference']:.2g}",
        f"{result['mean_difference']:.2g}",
        f"{result['top1_agreement']:.1%}",
        result["gate"].replace("|Δp|", "abs(Δp)"),
        "passed" if result["passed"] else "FAILED",
    ]


def _speeds(result: Rows, sizes: list[int]) -> list[str]:
    cells = []
    for size in sizes:
        cell = result.get("batches", {}).get(size, {})
        text = ""
        if "problem" in cell:
            text = "no memory" if "memory" in cell["problem"].lower() else "failed"
            text = "no time" if cell["problem"] == "no time was left" else text
        if "images_per_second" in cell:
            rate = cell["images_per_second"]
            text = f"{_number(rate)} ±{(cell['largest'] - cell['smallest']) / 2 / rate:.0%}"
        cells.append(text)
    return [result["variant"], *cells]


def _number(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"


def _latency(result: Rows) -> list[str]:
    cell = result.get("batches", {}).get(1, {})
    if "ms" not in cell:
        return [result["variant"], "", "", "", ""]
    times = [f"{cell['ms'][name]:.2f}" for name in ("p50", "p90", "p99")]
    return [result["variant"], *times, f"{cell['first_call_s']:.1f}"]


def _final(final: dict[str, Rows]) -> str:
    """Median and smallest to largest, of all rounds."""

    def spread(values: list[float], digits: int) -> str:
        if not values:
            return ""
        low, middle, high = min(values), float(np.median(values)), max(values)
        return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"

    rows = []
    for name, seen in final.items():
        rates, ms = seen.get("images_per_second", []), seen.get("ms", [])
        last = seen.get("problem", "")[:60] or f"{len(rates)} rounds"
        rows.append([name, str(seen["batch"]), spread(rates, 0), spread(ms, 2), last])
    if not rows:
        return "Nothing was measured."
    return _grid(["", "batch", "images a second", "ms at batch 1", ""], rows)


def _allowed(found: dict[str, Any]) -> str:
    known = found["ceilings"]
    if "counts" not in known:
        return f"{known['problem']}."
    counts, batch, moved = known["counts"], known["batch"], known["bytes"]
    lines = [
        f"A picture takes {counts['multiply_adds']:,} multiply-adds, two operations each, and the"
        f" reading or writing of {counts['activations']:,} activations; a batch takes"
        f" {counts['weights']:,} weights. Fused into its kernel, an element-wise operation costs"
        f" nothing. At batch {batch} that is {moved['4,4'] / 1e6:,.1f} MB a picture in float32,"
        f" {moved['2,4'] / 1e6:,.1f} in float16, {moved['2,1'] / 1e6:,.1f} with 8-bit input."
    ]
    if "problem" in known:
        return f"{lines[0]} But {known['problem']}."
    rates = known["rates"]
    lines.append(
        f"The device does {rates['float16'] / 1e12:,.1f} TFLOP/s in float16,"
        f" {rates['float32'] / 1e12:,.1f} in float32 (a matrix product), reads and writes"
        f" {rates['memory'] / 1e9:,.0f} GB/s (a copy on the device)"
        + (f", and is sent {rates['bus'] / 1e9:,.1f} GB/s (pinned memory)." if "bus" in rates
           else ".")
    )  # fmt: skip
    rows = []
    for result, form, share in shares(found):
        limits = known["images_per_second"][form]
        rows.append(
            [
                result["variant"],
                *(f"{limits[name]:,.0f}" if limits[name] else "" for name in limits),
                _number(best_rate(result)),
                str(best_batch(result)),
                f"{share:.1%}",
            ]
        )
    if not rows:
        return "\n\n".join(lines)
    head = ["images a second", "arithmetic", "memory", "bus", "reached", "at batch",
            "of the tighter of the first two"]  # fmt: skip
    return "\n\n".join([*lines, _grid(head, rows)])
