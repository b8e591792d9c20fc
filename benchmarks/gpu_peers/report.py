"""What was found: the machine, the ceilings, the tables, and how far it is from the targets."""

from __future__ import annotations

import argparse
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import onnxruntime as ort

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
        found["cuda"] += f", the driver can {cuda.driver().version}"
    return found


def _nvidia_smi(query: str) -> str:
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    return "; ".join(line.strip() for line in done.stdout.splitlines())


def ceilings(options: argparse.Namespace) -> dict[str, Any]:
    """What a picture costs at least, and what the device can do; or why that is not known."""
    try:
        import onnx
        from gpu_peers.counts import count

        counts = count(onnx.load(options.model))
    except (ModuleNotFoundError, ValueError) as error:
        return {"problem": f"the network was not counted: {error}"}
    rates, problem = _rates(options)
    found: dict[str, Any] = {"counts": vars(counts), "rates": rates}
    if problem:
        return {**found, "problem": problem}
    limits = {}
    for width, input_width in ((4, 4), (2, 4), (2, 1)):
        operations = rates["float32" if width == 4 else "float16"]
        batch = max(options.batches)
        arithmetic = counts.arithmetic(batch, operations)
        moving = counts.memory(batch, rates["memory"], width=width, input_width=input_width)
        limits[f"{width},{input_width}"] = {
            "arithmetic": batch / arithmetic,
            "memory": batch / moving,
            "bus": rates["bus"] / (counts.inputs * input_width) if "bus" in rates else None,
        }
    return {**found, "images_per_second": limits}


def _rates(options: argparse.Namespace) -> tuple[dict[str, float], str]:
    given = {
        "float16": (options.tflops, 1e12),
        "float32": (options.tflops32, 1e12),
        "memory": (options.bandwidth, 1e9),
        "bus": (options.bus, 1e9),
    }
    rates: dict[str, float] = {}
    try:
        from gpu_peers.torch_network import rates as measured

        rates = measured(options.device)
    except ModuleNotFoundError:
        pass
    rates |= {name: value * unit for name, (value, unit) in given.items() if value is not None}
    missing = {"float16", "float32", "memory"} - rates.keys()
    problem = "what the device can do was not measured, as there is no PyTorch: see --tflops"
    return rates, problem if missing else ""


def table(rows: dict[str, Any]) -> str:
    """Aligned names and values."""
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def markdown(found: dict[str, Any]) -> str:
    """All tables, readable as they are and as Markdown."""
    results = found["results"]
    sizes = sorted({size for result in results for size in result.get("batches", {})})
    parts = [
        f"# {found['model']} on {found['machine']['gpu']}",
        _grid(["", ""], [[name, str(value)] for name, value in found["machine"].items()]),
        f"## Answers, compared with float32 on the CPU: {found['pictures']} pictures",
        _grid(
            ["", "max abs(Δp)", "mean abs(Δp)", "top-1", "gate", ""],
            [_answers(result) for result in results],
        ),
        "## Images a second, by batch: median (smallest to largest)",
        _grid(["", *map(str, sizes)], [_speeds(result, sizes) for result in results]),
        "## Milliseconds of a call at batch 1",
        _grid(["", "p50", "p90", "p99", "first call, s"], [_latency(result) for result in results]),
        "## What the device allows",
        _allowed(found),
        "## Targets",
        _grid(["", "target", "found", ""], _targets(found)),
    ]
    problems = [f"- {r['variant']}: {r['problem']}" for r in results if "problem" in r]
    if problems:
        parts += ["## What did not run", "\n".join(problems)]
    return "\n\n".join(parts) + "\n"


def _grid(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, *rows]
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]

    def row(cells: list[str]) -> str:
        aligned = [cells[0].ljust(widths[0])]
        aligned += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return f"| {' | '.join(aligned)} |"

    rule = "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])])
    return "\n".join([row(head), f"|{rule}|", *map(row, rows)])


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
        text = cell.get("problem", "")[:24]
        if "images_per_second" in cell:
            spread = f"{cell['smallest']:,.0f} to {cell['largest']:,.0f}"
            text = f"{cell['images_per_second']:,.0f} ({spread})"
        cells.append(text)
    return [result["variant"], *cells]


def _latency(result: Rows) -> list[str]:
    cell = result.get("batches", {}).get(1, {})
    if "ms" not in cell:
        return [result["variant"], "", "", "", ""]
    times = [f"{cell['ms'][name]:.2f}" for name in ("p50", "p90", "p99")]
    return [result["variant"], *times, f"{cell['first_call_s']:.1f}"]


def _allowed(found: dict[str, Any]) -> str:
    known = found["ceilings"]
    if "counts" not in known:
        return f"{known['problem']}."
    counts = known["counts"]
    lines = [
        f"A picture takes {counts['multiply_adds']:,} multiply-adds, two operations each, and the"
        f" reading or writing of {counts['activations']:,} activations; a batch takes"
        f" {counts['weights']:,} weights. Fused into its kernel, an element-wise operation costs"
        " nothing."
    ]
    if "problem" in known:
        return f"{lines[0]} {known['problem']}."
    rates = known["rates"]
    lines.append(
        f"Measured here: {rates['float16'] / 1e12:,.1f} TFLOP/s in float16,"
        f" {rates['float32'] / 1e12:,.1f} in float32 (a matrix product);"
        f" {rates['memory'] / 1e9:,.0f} GB/s read and written (a copy on the device)"
        + (f"; {rates['bus'] / 1e9:,.1f} GB/s from pinned memory." if "bus" in rates else ".")
    )
    rows = []
    for result, share in _shares(found):
        limits = known["images_per_second"][_form(result)]
        rows.append(
            [
                result["variant"],
                *(f"{limits[name]:,.0f}" if limits[name] else "" for name in limits),
                f"{_best(result):,.0f}",
                f"{share:.1%}",
            ]
        )
    head = ["images a second", "arithmetic", "memory", "bus", "reached", "of the tighter of two"]
    return "\n\n".join([*lines, _grid(head, rows)])


def _form(result: Rows) -> str:
    name = result["variant"]
    width = 2 if "float16" in name else 4
    return f"{width},{1 if '8 bits' in name and width == 2 else 4}"


def _best(result: Rows | None) -> float:
    cells = (result or {}).get("batches", {}).values()
    return max((cell["images_per_second"] for cell in cells if "images_per_second" in cell),
               default=0.0)  # fmt: skip


def _shares(found: dict[str, Any]) -> list[tuple[Rows, float]]:
    """Of what arithmetic and the device's memory allow, the part that each variant reaches."""
    limits = found["ceilings"].get("images_per_second")
    if not limits:
        return []
    tighter = {form: min(of["arithmetic"], of["memory"]) for form, of in limits.items()}
    measured = [result for result in found["results"] if _best(result)]
    return [(result, _best(result) / tighter[_form(result)]) for result in measured]


def _targets(found: dict[str, Any]) -> list[list[str]]:
    results = [result for result in found["results"] if result.get("passed")]
    plain = next((r for r in results if r["variant"] == "plain onnxruntime"), None)
    torch = next((r for r in results if r["variant"].startswith("PyTorch compiled")), None)
    eight = [r for r in results if r["variant"].startswith("float16, 8 bits")]
    ours = [r for r in results if r is not plain and not r["variant"].startswith("PyTorch")]
    ours = [r for r in ours if not r["variant"].endswith("again")]
    fastest = max(eight, key=_best, default=None)

    def first(result: Rows | None) -> float:
        cell = (result or {}).get("batches", {}).get(1, {})
        return float(cell["ms"]["p50"]) if "ms" in cell else float("nan")

    quickest = min(ours, key=lambda r: np.nan_to_num(first(r), nan=np.inf), default=None)
    shares = [share for result, share in _shares(found) if result is fastest]
    compared = [r for r in found["results"] if "passed" in r]
    passed = sum(r["passed"] for r in compared)

    def line(name: str, at_least: float, value: float, of: Rows | None) -> list[str]:
        if not np.isfinite(value) or of is None:
            return [name, f">= {at_least:g}", "not measured", ""]
        met = "met" if value >= at_least else "NOT met"
        return [name, f">= {at_least:g}", f"{value:.2f} ({of['variant']})", met]

    def ratio(of: Rows | None, to: Rows | None) -> float:
        return _best(of) / _best(to) if _best(of) and _best(to) else float("nan")

    within = "met" if passed == len(compared) else "NOT met"
    share = shares[0] if shares else float("nan")
    return [
        ["answers within their gates", "all", f"{passed} of {len(compared)}", within],
        line("images a second: best with 8 bits over plain", 4, ratio(fastest, plain), fastest),
        line("the same over PyTorch compiled", 1, ratio(fastest, torch), fastest),
        line("latency at batch 1: plain over ours", 2, first(plain) / first(quickest), quickest),
        line("share of the tighter ceiling", 0.4, share, fastest),
    ]
