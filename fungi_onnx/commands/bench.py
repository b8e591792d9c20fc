"""`fungi-onnx bench`."""

from __future__ import annotations

import argparse
import sys

from fungi_onnx import bench
from fungi_onnx.commands import common


def run(options: argparse.Namespace) -> int:
    """Measures what this machine does with this model."""
    classifier = common.classifier(options)
    if sys.stderr.isatty():
        print("fungi-onnx: measuring for half a minute ...", file=sys.stderr)
    facts = bench.run(classifier)
    if options.json:
        common.print_json(facts)
        return 0
    common.print_table(
        {
            "model": f"{facts['model']} ({facts['precision']})",
            "device": f"{facts['device']}, {facts['threads']} threads; {facts['machine']}",
            "versions": ", ".join(f"{name} {found}" for name, found in facts["versions"].items()),
            "photo": facts["photo"],
        }
    )
    percentiles = bench.PERCENTILES
    print(f"\n{'latency of one, ms':<22}" + "".join(f"{name:>9}" for name in percentiles))
    for what, found in facts["latency_ms"].items():
        print(f"  {what:<20}" + "".join(f"{found[name]:9.1f}" for name in percentiles))
    print(f"\n{'throughput, a second':<22}{'all CPUs':>9}")
    for what, rate in facts["throughput"].items():
        print(f"  {what:<20}{rate:9.1f}")
    start, memory = facts["cold_start_ms"], facts["peak_memory_mb"]
    print(f"\n{'a process':<22}")
    print(
        f"  {'start to answer, ms':<20}{start['median']:9.1f}"
        f"  (of {start['runs']}: {start['min']:.1f} to {start['max']:.1f})"
    )
    print(f"  {'peak memory, MB':<20}" + (f"{memory:9.1f}" if memory else f"{'unknown':>9}"))
    return 0
