"""What would an archive cost on a cluster? From measured figures and assumptions to time and money.

    python benchmarks/scaling.py [--efficiency 0.88] [--machines 1 10 100 1000]

A model of bottlenecks for `fungi-onnx batch --engine ray`, made of minima and sums that can be
checked by hand; nothing is run. A machine is as quick as the slowest of its cores, its GPU, its
network and the reads that it has under way; a cluster as the slowest of its machines together, the
storage's bytes and requests, and the process that collects the rows:

    machine = min(efficiency × min(cores, GPU), network, reads)
    rate    = min(machines × machine, storage, requests, collecting)
    time    = start + names + photos / rate + the last block on one worker

The last term is R. L. Graham's bound (Bounds on multiprocessing timing anomalies, 1969): whoever
takes the next block when free is done at most one block after the mean. Every parameter is an
option and is printed, with where its default comes from; docs/scaling.md says more.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
from typing import Any

MEASURED, CODE, ASSUMED = "measured", "the code", "assumed"
BLOCK, BLOCKS = 512, 8  # photos of a block, at most, and blocks a worker, if there are few photos


def given(default: float, origin: str, what: str) -> Any:
    """A parameter: an option of the command and a row of the table that is printed."""
    return dataclasses.field(default=default, metadata={"origin": origin, "what": what})


@dataclasses.dataclass(frozen=True)
class Given:
    """What is known or assumed. MB and GB are 10**6 and 10**9 bytes, $ is any currency."""

    megapixels: float = given(12, MEASURED, "megapixels of a photo: a name, no factor")
    photo_bytes: float = given(1_800_000, MEASURED, "bytes of a photo")
    prepare_ms: float = given(57.0, MEASURED, "a photo's bytes to the tensor, ms on one core")
    infer_ms: float = given(18.8, MEASURED, "network, float32, ms on one core")
    gpu_rate: float = given(5000, ASSUMED, "network on a GPU, photos/s, from and to main memory")
    cores: int = given(16, ASSUMED, "cores of a CPU machine")
    gpu_cores: int = given(16, ASSUMED, "cores of a machine with one GPU")
    gpu_workers: int = given(1, CODE, "workers that share the GPU of a machine")
    efficiency: float = given(
        0.88, MEASURED, "share of the cores: 0.97 alone, of that 0.905 by Ray"
    )
    network: float = given(1.25, ASSUMED, "network of a machine, GB/s")
    stream: float = given(0.1, ASSUMED, "one read from storage, GB/s")
    request_ms: float = given(15, ASSUMED, "one request to storage, ms to its first byte")
    in_flight: int = given(8, CODE, "photos that a core reads from a bucket at once")
    photo_requests: int = given(2, MEASURED, "requests for one photo (HEAD and GET)")
    block_requests: int = given(5, MEASURED, "requests for a block of 512 in a Parquet table")
    storage: float = given(50, ASSUMED, "the storage as a whole, GB/s")
    requests: float = given(100_000, ASSUMED, "the storage as a whole, requests/s")
    collecting: float = given(35_000, MEASURED, "rows/s that the process which was started takes")
    drivers: int = given(1, CODE, "runs at once, each with a part of the archive")
    names: float = given(250_000, MEASURED, "names/s from a Parquet table, before the work begins")
    listing: float = given(5000, ASSUMED, "names/s if the bucket is listed instead")
    start: float = given(60, ASSUMED, "s until all workers have the model")
    row_bytes: float = given(46, MEASURED, "bytes of a row of five classes, in the parts")
    cpu_price: float = given(0.64, ASSUMED, "$ for a CPU machine's hour (0.04 for a core)")
    gpu_price: float = given(1.64, ASSUMED, "$ for a GPU machine's hour (1 for the GPU)")
    get_price: float = given(0.0004, ASSUMED, "$ for 1,000 reading requests")
    put_price: float = given(0.005, ASSUMED, "$ for 1,000 writing requests")
    keep_price: float = given(0.02, ASSUMED, "$ for a GB kept for a month")
    egress_price: float = given(0, ASSUMED, "$ for a GB that leaves the storage's region")
    small_bytes: float = given(52_000, MEASURED, "bytes of a photo shrunk to 448 pixels")
    small_ms: float = given(3.6, MEASURED, "its bytes to the tensor, ms on one core")
    shrink_ms: float = given(26.2, MEASURED, "shrinking a photo, ms on one core")
    pack: int = given(5120, ASSUMED, "shrunk photos in one Parquet table")


@dataclasses.dataclass(frozen=True)
class Form:
    """How an archive lies in storage: bytes and ms of a photo, and how a worker reads it."""

    name: str
    size: float
    prepare_ms: float
    photos: int  # of one read
    asks: int  # requests of one read

    def on(self, gpu: bool) -> str:
        """Its name, on a kind of machine."""
        return f"{self.name}, {'GPU' if gpu else 'CPU'}"

    def read_seconds(self, g: Given) -> float:
        """Of one read: its requests, one after the other, and its bytes."""
        return self.asks * g.request_ms / 1e3 + self.photos * self.size / (g.stream * 1e9)

    def dollars(self, g: Given) -> float:
        """What the storage asks for reading a million photos."""
        requests = self.asks / self.photos * 1e6 / 1e3 * g.get_price
        return requests + self.size * 1e6 / 1e9 * g.egress_price


def machine(g: Given, form: Form, gpu: bool) -> dict[str, float]:
    """Photos/s of each part of one machine; it does the least of them."""
    cores, workers = (g.gpu_cores, g.gpu_workers) if gpu else (g.cores, g.cores)
    busy_ms = form.prepare_ms if gpu else form.prepare_ms + g.infer_ms
    reads = cores * g.in_flight if form.photos == 1 else workers  # of tables a worker reads one
    return {
        "cores": g.efficiency * cores / busy_ms * 1e3,
        "GPU": g.efficiency * g.gpu_rate if gpu else math.inf,
        "network": g.network * 1e9 / form.size,
        "reads": reads * form.photos / form.read_seconds(g),
    }


def least(parts: dict[str, float]) -> str:
    """The bottleneck."""
    return min(parts, key=lambda part: parts[part])


def shared(g: Given, form: Form) -> dict[str, float]:
    """Photos/s of what all machines share."""
    return {
        "storage": g.storage * 1e9 / form.size,
        "requests": g.requests * form.photos / form.asks,
        "collecting": g.drivers * g.collecting,
    }


def run(g: Given, form: Form, gpu: bool, machines: int, photos: float) -> list[str]:
    """Rate in photos/s, what limits it, GB/s that the machines alone would take, time and cost."""
    each = machine(g, form, gpu)
    alone = min(each.values())
    limits = {least(each): machines * alone} | shared(g, form)
    workers = g.gpu_workers if gpu else g.cores
    block = max(1, min(BLOCK, photos // (BLOCKS * workers * machines)))
    last = block / (alone / workers)
    rate = min(limits.values())
    seconds = g.start + photos / (g.drivers * g.names) + photos / rate + last
    price = g.gpu_price if gpu else g.cpu_price
    dollars = machines * seconds / 3600 * price + photos / 1e6 * form.dollars(g)
    wanted = machines * alone * form.size / 1e9
    time = f"{duration(seconds)}, ${number(dollars)}"
    return [number(rate), least(limits), number(wanted), time]


def million(g: Given, form: Form, gpu: bool) -> tuple[float, float]:
    """What a million photos cost on machines and in storage, beginning and end not counted."""
    price = g.gpu_price if gpu else g.cpu_price
    return price / 3600 * 1e6 / min(machine(g, form, gpu).values()), form.dollars(g)


def duration(seconds: float) -> str:
    """In the unit that suits."""
    for unit, length, start in (("d", 86400, 2 * 86400), ("h", 3600, 7200), ("min", 60, 120)):
        if seconds >= start:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.0f} s"


def number(value: float) -> str:
    """Of three digits, or all before the point."""
    return "–" if math.isinf(value) else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(title: str, head: list[str], rows: list[list[str]]) -> None:
    """Prints Markdown: the first column to the left, the others to the right."""
    print(f"\n## {title}\n\n| {' | '.join(head)} |\n|---{'|---:' * (len(head) - 1)}|")
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))


def moves(g: Given, forms: list[Form], photos: list[float]) -> None:
    """Prints what a GPU needs, and from how many CPU machines on what they share is the limit."""
    rows = []
    for form in forms:
        cpu, gpu = (machine(g, form, kind) for kind in (False, True))
        reads = min(gpu["cores"], gpu["GPU"]) * form.read_seconds(g) / form.photos  # Little's law
        feed = f"{math.ceil(g.gpu_rate * form.prepare_ms / 1e3):,}"
        counts = [math.ceil(limit / min(cpu.values())) for limit in shared(g, form).values()]
        busy = f"{min(gpu.values()) / g.gpu_rate:.1%}"
        rows.append([form.name, feed, busy, number(reads), *(f"{count:,}" for count in counts)])
    head = ["", "cores that feed a GPU", "GPU busy", "reads at once that it needs"]
    parts = (f"CPU machines to {part}" for part in shared(g, forms[0]))
    table("Where the bottleneck moves", [*head, *parts], rows)
    for n in photos:
        names, listed = duration(n / g.names), duration(n / g.listing)
        print(f"\n{n / 1e6:,g} M: names in {names}, or listed in {listed};", end=" ")
        print(f"results {number(n * g.row_bytes / 1e9)} GB.")


def shrinking(g: Given, forms: list[Form]) -> None:
    """Prints what it costs to shrink a million photos once, and how soon that is paid back."""
    rate = min(g.efficiency * g.cores * 1e3 / g.shrink_ms, g.network * 1e9 / g.photo_bytes)
    before = sum(million(g, forms[0], False))
    rows = []
    for form, puts in zip(forms[1:], (1, 1 / g.pack), strict=True):
        once = g.cpu_price / 3600 * 1e6 / rate + forms[0].dollars(g) + puts * 1e3 * g.put_price
        saved = before - sum(million(g, form, False))
        keep = form.size * 1e6 / 1e9 * g.keep_price
        passes = number(once / saved) if saved > 0 else "never"
        rows.append([form.name, *map(number, (once, before, before - saved)), passes, number(keep)])
    head = ["$ per million photos", "shrinking", "a pass before", "after", "passes to pay"]
    head += ["a month"]
    table(f"Shrinking once: {number(rate)} photos/s on a CPU machine", head, rows)


def main() -> None:
    """Prints all tables in Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    fields = dataclasses.fields(Given)
    for field in fields:
        option = f"--{field.name.replace('_', '-')}"
        what = f"{field.metadata['what']} ({field.metadata['origin']}: {field.default:,})"
        kind = int if field.type == "int" else float
        parser.add_argument(option, type=kind, default=field.default, help=what)
    parser.add_argument("--photos", type=float, nargs="+", default=[1e6, 1e8, 1e9])
    parser.add_argument("--machines", type=int, nargs="+", default=[1, 10, 100, 1000])
    options = parser.parse_args()
    g = Given(**{field.name: getattr(options, field.name) for field in fields})
    as_is = f"{g.megapixels:g}-MP photos"
    forms = [
        Form(as_is, g.photo_bytes, g.prepare_ms, 1, g.photo_requests),
        Form("shrunk, as files", g.small_bytes, g.small_ms, 1, g.photo_requests),
        Form("shrunk, in tables", g.small_bytes, g.small_ms, BLOCK, g.block_requests),
    ]
    lines = []
    for field in fields:
        value, origin = getattr(g, field.name), field.metadata["origin"]
        origin = origin if value == field.default else "given"
        option = f"`--{field.name.replace('_', '-')}`"
        lines.append([option, field.metadata["what"], f"{value:,}", origin])
    table("Parameters", ["", "", "value", "from"], lines)
    lines = []
    for form, gpu in itertools.product(forms, (False, True)):
        parts = machine(g, form, gpu)
        dollars = map(number, million(g, form, gpu))
        lines.append([form.on(gpu), *map(number, parts.values()), least(parts), *dollars])
    head = [*parts, "limit", "$/M machine", "$/M storage"]
    table("One machine, photos/s", ["", *head], lines)
    head = ["machines", "photos/s", "limit", "GB/s wanted"]
    head += [f"{photos / 1e6:,g} M" for photos in options.photos]
    for form, gpu in itertools.product((forms[0], forms[2]), (False, True)):
        lines = []
        for count in options.machines:
            runs = [run(g, form, gpu, count, photos) for photos in options.photos]
            lines.append([f"{count:,}", *runs[0][:3], *(row[3] for row in runs)])
        table(form.on(gpu), head, lines)
    moves(g, forms, options.photos)
    shrinking(g, forms)


if __name__ == "__main__":
    main()
