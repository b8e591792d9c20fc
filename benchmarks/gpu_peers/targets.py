"""What is concluded: which variants are best, and how far they are from the targets."""

from __future__ import annotations

from typing import Any

import numpy as np

Rows = dict[str, Any]

PLAIN, TORCH, EIGHT = "plain onnxruntime", "PyTorch", "float16, 8 bits"


def best_batch(result: Rows) -> int:
    """The batch with the most images a second; 0 if none was measured."""
    cells = result.get("batches", {})
    rates = {size: cell["images_per_second"] for size, cell in cells.items() if "ms" in cell}
    return max(rates, key=lambda size: rates[size], default=0)


def best_rate(result: Rows | None) -> float:
    """Images a second at the best batch; 0 if none was measured."""
    cells = (result or {}).get("batches", {}).values()
    return max((float(cell["images_per_second"]) for cell in cells if "ms" in cell), default=0.0)


def first_ms(result: Rows | None) -> float:
    """Milliseconds of a call at batch 1; infinite if it was not measured."""
    cell = (result or {}).get("batches", {}).get(1, {})
    return float(cell["ms"]["p50"]) if "ms" in cell else float("inf")


def form(result: Rows) -> str:
    """Which of the ceilings is its: bytes of a weight, bytes of a value of the input."""
    width = 2 if "float16" in result["variant"] else 4
    return f"{width},{1 if '8 bits' in result['variant'] and width == 2 else 4}"


def shares(found: dict[str, Any]) -> list[tuple[Rows, str, float]]:
    """Each variant's form and the part it reaches of what arithmetic and memory both allow."""
    limits = found["ceilings"].get("images_per_second")
    if not limits:
        return []
    tighter = {name: min(of["arithmetic"], of["memory"]) for name, of in limits.items()}
    measured = [result for result in found["results"] if best_rate(result)]
    return [(one, form(one), best_rate(one) / tighter[form(one)]) for one in measured]


def finalists(results: list[Rows]) -> list[str]:
    """The names of those that the targets speak of, as far as they were measured."""
    chosen = _chosen(results)
    wanted = [chosen[name] for name in ("plain", "fastest", "quickest", "torch")]
    names = [result["variant"] for result in wanted if result is not None]
    return list(dict.fromkeys(names))


def targets(found: dict[str, Any]) -> list[list[str]]:
    """The rows: what is asked, how much, what was found, and whether that is met.

    Of two that took turns in the final the ratio is the median of the rounds' ratios.
    """
    chosen, final = _chosen(found["results"]), found.get("final", {})
    plain, torch = chosen["plain"], chosen["torch"]
    fastest, quickest = chosen["fastest"], chosen["quickest"]
    if fastest is not None and not fastest["variant"].startswith(EIGHT):
        fastest = None
    known = [share for result, _, share in shares(found) if result is fastest]
    compared = [result for result in found["results"] if "passed" in result]
    passed = sum(result["passed"] for result in compared)

    def line(name: str, least: float, ratios: list[float], of: Rows | None) -> list[str]:
        if of is None or not ratios or not np.isfinite(ratios).all():
            return [name, f">= {least:g}", "not measured", ""]
        value = float(np.median(ratios))
        spread = f", {min(ratios):.2f} to {max(ratios):.2f}" if len(ratios) > 1 else ""
        met = "met" if value >= least else "NOT met"
        return [name, f">= {least:g}", f"{value:.2f}{spread} ({of['variant']})", met]

    def rates(of: Rows | None, to: Rows | None) -> list[float]:
        if not best_rate(of) or not best_rate(to):
            return []
        return _in_turn(final, of, to, "images_per_second") or [best_rate(of) / best_rate(to)]

    def times(of: Rows | None, to: Rows | None) -> list[float]:
        if not np.isfinite([first_ms(of), first_ms(to)]).all():
            return []
        return _in_turn(final, of, to, "ms") or [first_ms(of) / first_ms(to)]

    all_pass = compared and passed == len(compared)
    against = f"the same over {torch['variant'].partition(',')[0] if torch else 'PyTorch compiled'}"
    return [
        ["answers within their gates", "all", f"{passed} of {len(compared)}",
         "met" if all_pass else "NOT met"],
        line("images a second: best with 8 bits over plain", 4, rates(fastest, plain), fastest),
        line(against, 1, rates(fastest, torch), fastest),
        line("latency at batch 1: plain over ours", 2, times(plain, quickest), quickest),
        line("share of the tighter ceiling", 0.4, known, fastest),
    ]  # fmt: skip


def tunings(results: list[Rows]) -> list[list[str]]:
    """For each form of the model the best `Tuning` for throughput, for latency, and for both.

    For both: the largest product of images a second and calls a second at batch 1. Those with
    TF32, which is not held to a gate, are left out.
    """
    rows = []
    for name in ("float32", "float16", EIGHT):
        ours = [r for r in _ours(results) if _family(r) == name and np.isfinite(first_ms(r))]
        if not ours:
            continue
        fastest, quickest = max(ours, key=best_rate), min(ours, key=first_ms)
        both = max(ours, key=lambda result: best_rate(result) / first_ms(result))
        rows.append(
            [
                name,
                f"{_settings(fastest)}: {best_rate(fastest):,.0f}/s at batch {best_batch(fastest)}",
                f"{_settings(quickest)}: {first_ms(quickest):.2f} ms",
                _settings(both),
            ]
        )
    return rows


def _in_turn(final: dict[str, Rows], of: Rows | None, to: Rows | None, what: str) -> list[float]:
    """The ratio in each round; empty if they did not take turns."""
    series = [final.get((one or {}).get("variant", ""), {}).get(what, []) for one in (of, to)]
    if not all(series) or len(series[0]) != len(series[1]):
        return []
    return [a / b for a, b in zip(*series, strict=True)]


def _chosen(results: list[Rows]) -> dict[str, Rows | None]:
    """The naive session, the fastest and the quickest of ours, and PyTorch.

    The fastest is one with 8-bit input, if there is any; PyTorch the compiled, else the eager one.
    """
    good = [result for result in results if result.get("passed") and best_rate(result)]
    ours = _ours(results)
    eight = [result for result in ours if result["variant"].startswith(EIGHT)]
    torch = [result for result in good if result["variant"].startswith(TORCH)]
    return {
        "plain": next((result for result in good if result["variant"] == PLAIN), None),
        "fastest": max(eight or ours, key=best_rate, default=None),
        "quickest": min(ours, key=first_ms, default=None),
        "torch": max(torch, key=lambda r: "compiled" in r["variant"], default=None),
    }


def _ours(results: list[Rows]) -> list[Rows]:
    others = (PLAIN, TORCH)
    good = [result for result in results if result.get("passed") and best_rate(result)]
    return [
        result
        for result in good
        if not result["variant"].startswith(others) and "TF32" not in result["variant"]
    ]


def _family(result: Rows) -> str:
    name = str(result["variant"])
    return EIGHT if name.startswith(EIGHT) else name.partition(",")[0]


def _settings(result: Rows) -> str:
    given = ", ".join(f"{name}={value}" for name, value in result.get("settings", {}).items())
    return given or "defaults"
