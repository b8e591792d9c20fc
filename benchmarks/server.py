"""What a server does under load: throughput beside the bulk path's, half load, overload, a soak.

    python benchmarks/server.py --model build/standin.onnx --photo build/standin/samples/... \
        [--rounds 5] [--soak-minutes 30] [--output benchmarks/results/server.json]

Server, clients and, for the bulk path, the library run on this machine one after the other, and
clients take their part of its processors. Needs `wrk` and `h2load` (Debian: wrk, nghttp2-client)
and the development tools.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "runtime"), str(ROOT / "tests" / "runtime" / "server")]

import awkward  # noqa: E402
import httpx  # noqa: E402
from servers import Server, serving  # noqa: E402

LUA = """
local file = io.open("{photo}", "rb")
wrk.method, wrk.body = "POST", file:read("*all")
file:close()
"""
BULK = """
import sys, time
from fungi_onnx import FungiClassifier, cpus
classifier = FungiClassifier(sys.argv[1], threads=1)
photos, workers = [sys.argv[2]] * int(sys.argv[3]), cpus.available()
list(classifier.classify_many(photos[:20], workers=workers))
start = time.perf_counter()
list(classifier.classify_many(photos, workers=workers))
print(len(photos) / (time.perf_counter() - start))
"""


def spread(values: list[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def bulk(model: Path, photo: Path, count: int) -> float:
    """Pictures a second of the bulk path, in a process of its own."""
    command = [sys.executable, "-c", BULK, str(model), str(photo), str(count)]
    return float(subprocess.check_output(command, text=True))


def wrk(server: Server, photo: Path, connections: int, seconds: int) -> float:
    """Answers a second when so many clients ask again as soon as they are answered."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(LUA.format(photo=photo))
        script.flush()
        options = ["-t1", f"-c{connections}", f"-d{seconds}", "--timeout", "30", "-s", script.name]
        command = ["wrk", *options, f"{server.url}/v1/classify"]
        said = subprocess.check_output(command, text=True)
    assert "Non-2xx" not in said, said
    return float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])


def h2load(server: Server, photo: Path, rate: float, seconds: int) -> dict[str, dict[str, float]]:
    """Latencies in ms, by status, when ``rate`` requests a second come whatever the answers.

    Each client asks once a second, and they begin one after the other within the first second.
    """
    clients = max(2, round(rate))
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        options = ["--h1", f"-n{clients * seconds}", f"-c{clients}", "--rps=1", f"-d{photo}"]
        options += [f"--rate={max(1, clients // 10)}", "--rate-period=100ms", f"--log-file={log}"]
        command = ["h2load", *options, f"{server.url}/v1/classify"]
        subprocess.run(command, check=True, capture_output=True)
        rows = [line.split() for line in log.read_text().splitlines()]
    assert len(rows) == clients * seconds, "a request was not answered"
    found: dict[str, dict[str, float]] = {}
    for status in sorted({row[1] for row in rows}):
        taken = sorted(int(row[2]) / 1000 for row in rows if row[1] == status)
        found[status] = {
            "count": len(taken),
            "median": statistics.median(taken),
            "p99": taken[int(0.99 * (len(taken) - 1))],
            "max": taken[-1],
        }
    return found


def checked(server: Server, photos: dict[bytes, Any], stop: list[bool]) -> Counter[str]:
    """Asks and asks again while others flood the server, and compares every answer."""
    counts: Counter[str] = Counter()
    chance = random.Random(1)
    with httpx.Client(base_url=server.url, timeout=60) as client:
        while not stop:
            photo, expected = chance.choice(list(photos.items()))
            response = client.post("/v1/classify", content=photo)
            counts[str(response.status_code)] += 1
            if response.status_code == 200:
                counts["right" if response.json() == expected else "WRONG"] += 1
            else:
                time.sleep(0.05)
    return counts


def overload(server: Server, photo: Path, rate: float, seconds: int) -> dict[str, Any]:
    """Ten times what it can do, with four clients among the others who check their answers."""
    pictures = [path.read_bytes() for path in sorted(photo.parent.glob("*.jpg"))[:8]]
    photos = {data: server.client.post("/v1/classify", content=data).json() for data in pictures}
    before, stop = server.memory(), list[bool]()
    with ThreadPoolExecutor(4) as pool:
        checks = [pool.submit(checked, server, photos, stop) for _ in range(4)]
        found: dict[str, Any] = {"latency_ms": h2load(server, photo, 10 * rate, seconds)}
        stop.append(True)
        found["checked"] = dict(sum((check.result() for check in checks), Counter()))
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found["peak_mb"] = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024
    found["before_mb"] = before / 2**20
    found["offered_per_s"] = 10 * rate
    return found


async def client(port: int, files: list[bytes], chance: random.Random, end: float) -> Counter[str]:
    """One of many: good and bad pictures, and some clients are slow and some go away."""
    counts: Counter[str] = Counter()
    while time.monotonic() < end:
        data = chance.choice(files)
        way = chance.choices(("ask", "slow", "half", "leave", "garbage"), (80, 5, 5, 5, 5))[0]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n"
        with contextlib.suppress(ConnectionError):
            writer.write(f"{head}Connection: close\r\n\r\n".encode())
            if way == "slow":
                for at in range(4):
                    writer.write(data[len(data) * at // 4 : len(data) * (at + 1) // 4])
                    await asyncio.sleep(0.5)
            elif way == "half":
                writer.write(data[: len(data) // 2])
            elif way == "garbage":
                writer.write(bytes(chance.randrange(256) for _ in range(len(data))))
            else:
                writer.write(data)
            await writer.drain()
            if way in ("half", "leave"):
                await asyncio.sleep(0.01)
                counts["left"] += 1
            else:
                answer = await reader.read()
                counts[answer[9:12].decode() or "none"] += 1
                if answer[9:12] == b"503":
                    await asyncio.sleep(0.2)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return counts


async def clients(port: int, photo: Path, number: int, end: float) -> Counter[str]:
    """So many at once, in one process."""
    files = [photo.read_bytes()] * 200
    files += [file.data for file in awkward.files() if len(file.data) < 2_000_000]
    files += [data[: len(data) // 3] for data in files[200:]]
    tasks = (client(port, files, random.Random(seed), end) for seed in range(number))
    return sum(await asyncio.gather(*tasks), Counter())


def soak(server: Server, photo: Path, minutes: float) -> dict[str, Any]:
    """Mixed requests for long; memory from the end of the second minute on."""
    with ThreadPoolExecutor(1) as pool:
        end = time.monotonic() + 60 * minutes
        work = pool.submit(asyncio.run, clients(server.port, photo, 12, end))
        memory = []
        start = time.monotonic()
        while not work.done():
            time.sleep(min(20, minutes * 6))
            memory.append((time.monotonic() - start, server.memory() / 2**20))
            print(f"  {memory[-1][0]:6.0f} s  {memory[-1][1]:.1f} MB", file=sys.stderr, flush=True)
        counts = work.result()
    settled = [mb for at, mb in memory if at >= min(120, 60 * minutes / 3)]
    return {
        "minutes": minutes,
        "requests": sum(counts.values()),
        "statuses": dict(sorted(counts.items())),
        "settled_mb": settled[0],
        "end_mb": memory[-1][1],
        "largest_mb": max(settled),
        "growth_mb": memory[-1][1] - settled[0],
        "memory_mb": [round(mb, 1) for _, mb in memory],
    }


def main() -> None:
    """Measures, prints and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--photo", type=Path, required=True, help="a small JPEG among others")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--soak-minutes", type=float, default=30)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    photo: Path = options.photo.resolve()
    found: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "photo": f"{photo.name}, {photo.stat().st_size:,} bytes",
    }
    if options.rounds:
        rates: dict[str, list[float]] = {"bulk": [], "http": [], "ratio": []}
        with serving(options.model) as server:
            for _ in range(options.rounds):
                before = bulk(options.model, photo, 300)
                rates["http"].append(wrk(server, photo, 16, 6))
                rates["bulk"].append((before + bulk(options.model, photo, 300)) / 2)
                rates["ratio"].append(rates["http"][-1] / rates["bulk"][-1])
            found["throughput_per_s"] = {name: spread(values) for name, values in rates.items()}
            rate = found["throughput_per_s"]["http"]["median"]
            half = [h2load(server, photo, rate / 2, 10)["200"] for _ in range(options.rounds)]
            ratios = [one["p99"] / one["median"] for one in half]
            found["half_load_ms"] = {
                "median": spread([one["median"] for one in half]),
                "p99": spread([one["p99"] for one in half]),
                "ratio": spread(ratios),
            }
            found["overload"] = overload(server, photo, rate, 10)
    if options.soak_minutes:
        with serving(options.model) as server:
            found["soak"] = soak(server, photo, options.soak_minutes)
            errors = server.metrics()["fungi_onnx_requests_total"]
            found["soak"]["server_500s"] = sum(
                count for labels, count in errors.items() if labels[2] == "500"
            )
    text = json.dumps(found, indent=2)
    print(text)
    if options.output:
        options.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
