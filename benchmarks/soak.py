"""Does memory stay flat? Many pictures, good and broken, through one process.

    python benchmarks/soak.py [--pictures 100000]

Needs the development tools (Pillow makes the files).
"""

from __future__ import annotations

import argparse
import itertools
import random
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "runtime"))

import awkward

from fungi_onnx import ImageError
from fungi_onnx.image import to_tensor
from fungi_onnx.quiet import decoders_silenced
from fungi_onnx.views import CROPS, VIEWS


def peak() -> float:
    """The largest resident memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Prints the peak after 1,000 pictures and at every tenth of the way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=100_000)
    count = parser.parse_args().pictures
    chance = random.Random(1)
    files = [file.data for file in awkward.files()]
    files += [data[: chance.randrange(len(data))] for data in files if data]
    looks = itertools.cycle(itertools.product(VIEWS, CROPS, (False, True)))
    good, start = 0, time.perf_counter()
    marks = {1_000, *(count * tenth // 10 for tenth in range(1, 11))}
    print(f"{len(files)} files; before: {peak():.1f} MB")
    with decoders_silenced():
        for number in range(1, count + 1):
            view, crop, allow_truncated = next(looks)
            try:
                to_tensor(
                    files[number] if number < len(files) else chance.choice(files),
                    299,
                    299,
                    view=view,
                    crop=crop,
                    allow_truncated=allow_truncated,
                )
                good += 1
            except ImageError:
                pass
            if number in marks:
                print(f"{number:>8,} pictures, {good:,} good: peak {peak():.1f} MB", flush=True)
    print(f"{count / (time.perf_counter() - start):.0f} pictures/s")


if __name__ == "__main__":
    main()
