"""Does the memory of `fungi-onnx batch` stay flat, whatever the folder's size?

    python benchmarks/bulk_memory.py MODEL.onnx [--pictures 200000]

Makes a folder of so many names (hard links to 500 small JPEGs), runs the command on it as a process
of its own, and reads that process's resident memory ten times a second.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

COMMAND = Path(sys.executable).with_name("fungi-onnx")
FILES = 500
WARM = 1_000  # pictures after which memory has to be flat


def fill(folder: Path, names: int) -> None:
    """JPEGs of 64 to 400 pixels, grey and coloured, and ``names`` links to them."""
    chance = np.random.default_rng(1)
    for number in range(min(FILES, names)):
        shape = (*chance.integers(64, 400, 2), 3)
        pixels = cv2.GaussianBlur(chance.integers(0, 256, shape, np.uint8), (0, 0), 3)
        if number % 10 == 0:
            pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
        (folder / f"{number:06}.jpg").write_bytes(cv2.imencode(".jpg", pixels)[1].tobytes())
    for number in range(FILES, names):
        os.link(folder / f"{number % FILES:06}.jpg", folder / f"{number:06}.jpg")


def resident(process: int) -> float:
    """Resident memory in MB."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Prints the rate, the memory after 1,000 pictures and how far it strayed from that."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--pictures", type=int, default=200_000)
    parser.add_argument("--workers", default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, out = Path(temporary, "photos"), Path(temporary, "results.jsonl")
        folder.mkdir()
        fill(folder, options.pictures)
        command = [COMMAND, "batch", folder, "-m", options.model, "-o", out, "--json"]
        command += ["--workers", options.workers] if options.workers else []
        read, done, samples = 0, 0, []
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            while process.poll() is None:
                time.sleep(0.1)
                try:
                    memory = resident(process.pid)
                    with out.open("rb") as file:
                        file.seek(read)
                        new = file.read()
                except (OSError, IndexError):  # not begun yet
                    continue
                if not memory:  # it has just ended
                    break
                read, done = read + len(new), done + new.count(b"\n")
                samples.append((done, memory))
                if len(samples) % 100 == 0:
                    print(f"{done:>8,} pictures: {memory:.1f} MB", flush=True)
            assert process.stdout is not None
            print(process.stdout.read().strip())
        seconds = time.perf_counter() - start
    warm = [memory for count, memory in samples if count >= WARM]
    base = warm[0]
    print(f"{options.pictures / seconds:,.0f} pictures/s")
    print(f"after {WARM:,} pictures {base:.1f} MB; from then on {min(warm) - base:+.1f} to")
    print(f"{max(warm) - base:+.1f} MB in {len(warm):,} samples; at the end {warm[-1]:.1f} MB")


if __name__ == "__main__":
    main()
