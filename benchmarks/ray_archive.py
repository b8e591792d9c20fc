"""Is `fungi-onnx batch --engine ray` right when machines and drivers die, and what does Ray cost?

    .venv/ray/bin/python benchmarks/ray_archive.py kills MODEL.onnx [--pictures 20000]
    .venv/ray/bin/python benchmarks/ray_archive.py overhead MODEL.onnx [--rounds 5]

``kills``: small pictures, every hundredth broken, on a cluster of two nodes on this machine: left
alone; a node killed; the driver killed and resumed. Each time the rows are compared with those of
`fungi-onnx batch`. ``overhead``: photos of 12 megapixels (hard links to eight), by `batch` and by
Ray in turns, on the same CPUs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from pyarrow import parquet as pq
from ray.cluster_utils import Cluster

from fungi_onnx import cpus

COMMAND = str(Path(sys.executable).with_name("fungi-onnx"))
BROKEN = 100  # one of so many small pictures is cut short


def fill(folder: Path, names: int, size: tuple[int, int], kinds: int, *, broken: bool) -> None:
    """``names`` hard links to a few JPEGs with the grain of a sensor."""
    chance = np.random.default_rng(1)
    folder.mkdir()
    for number in range(kinds):
        pixels = cv2.resize(chance.integers(0, 256, (12, 16, 3), np.uint8), size).astype(np.int16)
        pixels += chance.normal(0, 4, pixels.shape).astype(np.int16)
        jpeg = cv2.imencode(".jpg", pixels.clip(0, 255).astype(np.uint8))[1].tobytes()
        (folder / f".kind{number}").write_bytes(jpeg)
    (folder / ".broken").write_bytes(jpeg[:200])
    for number in range(names):
        cut = broken and number % BROKEN == 7
        os.link(
            folder / (".broken" if cut else f".kind{number % kinds}"), folder / f"{number:06}.jpg"
        )


def begin(folder: Path, model: Path, out: str, *more: str) -> subprocess.Popen[str]:
    """Starts the command in a folder, on its ``photos``."""
    command = [COMMAND, "batch", "photos", "-m", str(model.resolve()), "-o", out, "--json", *more]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The summary of a run that went to its end."""
    out, _ = process.communicate()
    assert process.returncode in (0, 1), process.returncode
    return dict(json.loads(out))


def first_part(out: Path, process: subprocess.Popen[str]) -> None:
    """Returns when a part is there; a run that has ended writes none."""
    while not list(out.glob("part-*.parquet")):
        assert process.poll() is None, f"it ended with code {process.returncode}"
        time.sleep(0.02)


def rows_in(out: Path) -> int:
    """How many rows the parts have."""
    return sum(pq.read_metadata(part).num_rows for part in out.glob("part-*.parquet"))


def compare(expected: pa.Table, out: Path) -> str:
    """How the rows compare, in a few words; they may be in another order if it was resumed."""
    rows = pq.read_table(out)
    assert rows.sort_by("image").equals(expected.sort_by("image")), f"{out}: other rows"
    assert max(Counter(rows.column("image").to_pylist()).values()) == 1, f"{out}: rows twice"
    errors = len(rows) - rows.column("error_type").null_count
    same = "the same rows in the same order" if rows.equals(expected) else "the same rows"
    return f"{same}; {len(rows):,}, {errors:,} with an error, none twice"


def kills(options: argparse.Namespace, folder: Path) -> None:
    """Kills, and compares."""
    fill(folder / "photos", options.pictures, (90, 70), 50, broken=True)
    summary = ended(begin(folder, options.model, "single.parquet"))
    print(f"batch: {summary['pictures']:,} pictures, {summary['per_second']:.0f} a second")
    expected = pq.read_table(folder / "single.parquet")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    on = ("--engine", "ray", "--address", cluster.address)

    summary = ended(begin(folder, options.model, "alone", *on))
    print(
        f"left alone, {summary['per_second']:.0f} a second: {compare(expected, folder / 'alone')}"
    )

    process = begin(folder, options.model, "node", *on)
    first_part(folder / "node", process)
    rows = rows_in(folder / "node")
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    assert process.poll() is None, "the node was killed too late"
    ended(process)
    print(f"a node killed after {rows:,} rows: {compare(expected, folder / 'node')}")
    cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()

    process = begin(folder, options.model, "driver", *on)
    first_part(folder / "driver", process)
    process.kill()
    process.communicate()
    rows = rows_in(folder / "driver")
    before = {part.name: part.read_bytes() for part in (folder / "driver").glob("part-*")}
    summary = ended(begin(folder, options.model, "driver", *on, "--resume"))
    assert summary["already"] == rows < options.pictures, "the driver was killed too late"
    for name, content in before.items():
        assert (folder / "driver" / name).read_bytes() == content
    after = sum(
        pq.read_metadata(part).num_rows
        for part in (folder / "driver").glob("part-*")
        if part.name not in before
    )
    print(
        f"the driver killed after {rows:,} rows and resumed, which made {after:,}:"
        f" {compare(expected, folder / 'driver')}"
    )
    cluster.shutdown()


def overhead(options: argparse.Namespace, folder: Path) -> None:
    """Takes turns, and prints the rates and their ratio."""
    fill(folder / "photos", options.pictures, (4000, 3000), 8, broken=False)
    size = sum(path.stat().st_size for path in (folder / "photos").glob(".kind*")) / 8e6
    print(
        f"{options.pictures:,} photos of 12 megapixels, {size:.1f} MB each, {cpus.available()} CPUs"
    )
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": cpus.available()})
    engines = {"batch": (), "ray": ("--engine", "ray", "--address", cluster.address)}
    rates: dict[str, list[float]] = {engine: [] for engine in engines}
    whole: dict[str, list[float]] = {engine: [] for engine in engines}
    for turn in range(options.rounds):
        for engine, more in engines.items():
            suffix = "" if more else ".parquet"
            start = time.perf_counter()
            summary = ended(begin(folder, options.model, f"{engine}{turn}{suffix}", *more))
            whole[engine].append(options.pictures / (time.perf_counter() - start))
            rates[engine].append(summary["per_second"])
            print(f"  {engine:5} {rates[engine][-1]:6.1f} a second", flush=True)
    for what, found in (("the summary's rate", rates), ("the whole command", whole)):
        ratios = [ray / one for one, ray in zip(found["batch"], found["ray"], strict=True)]
        middle = {engine: statistics.median(values) for engine, values in found.items()}
        print(
            f"{what}: batch {middle['batch']:.1f}, Ray {middle['ray']:.1f} a second; Ray / batch"
            f" {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        )
    cluster.shutdown()


def main() -> None:
    """Runs what is asked for, in a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("kills", "overhead"))
    parser.add_argument("model", type=Path)
    parser.add_argument("--pictures", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    options.pictures = options.pictures or {"kills": 20_000, "overhead": 2_000}[options.what]
    with tempfile.TemporaryDirectory() as temporary:
        {"kills": kills, "overhead": overhead}[options.what](options, Path(temporary))


if __name__ == "__main__":
    main()
