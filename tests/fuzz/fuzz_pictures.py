"""Fuzzes what reads pictures: whatever the bytes are, a picture or an ImageError comes out.

    python tests/fuzz/fuzz_pictures.py [--seconds 60] [libFuzzer's options] [folders]

needs atheris, and pillow-heif for HEIF. Folders of pictures are more seeds. What it finds is a
crash-..., timeout-... or oom-... file in build/fuzz, the picture as it was read: name it alone to
see it again. Its last byte also chooses view, crop and allow_truncated.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import atheris
import cv2
import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "runtime")]
with atheris.instrument_imports(include=["fungi_onnx", "imagesize"]):
    from fungi_onnx import ImageError, ImageTooLargeError, Limits, read_rgb
    from fungi_onnx.image import to_tensor
    from fungi_onnx.views import CROPS, VIEWS

OUT = ROOT / "build" / "fuzz"
LIMITS = Limits(max_pixels=4_000_000, max_bytes=1_000_000)
LONGEST = 65_536
MOST_MB = 1024  # Python and the libraries are 150, a picture at the limit with its copies 250
PNG = b"\x89PNG\r\n\x1a\n"


def try_input(data: bytes) -> None:
    """Fails on anything but a picture within the limits or an ImageError."""
    with suppress(ImageError):
        try_picture(data)
    # libFuzzer itself looks once a second and misses what comes and goes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    assert peak <= MOST_MB, f"{peak} MB"


def try_picture(data: bytes) -> None:
    choice = data[-1] if data else 0
    view, crop, cut = VIEWS[choice & 1], CROPS[(choice >> 1) % 3], bool(choice & 8)
    tensor = to_tensor(data, 299, 299, view=view, crop=crop, limits=LIMITS, allow_truncated=cut)
    assert (tensor.shape, tensor.dtype) == ((299, 299, 3), np.float32), tensor.shape
    assert 0 <= tensor.min() <= tensor.max() <= 1, (tensor.min(), tensor.max())
    rgb = read_rgb(data, limits=LIMITS, allow_truncated=cut)
    height, width, samples = rgb.shape
    assert (samples, rgb.dtype) == (3, np.uint8), rgb.shape
    # A head that says less than comes out would get past a limit.
    lower = replace(LIMITS, max_pixels=height * width - 1)
    try:
        read_rgb(data, limits=lower, allow_truncated=cut)
    except ImageTooLargeError:
        return
    raise AssertionError(f"{height} x {width} pixels got past a limit of one less")


def mutate(data: bytes, max_size: int, _seed: int) -> bytes:
    """libFuzzer's own mutation; a PNG's checksums are put right, or reading would end there."""
    mutated = bytearray(atheris.Mutate(data, max_size))
    at = len(PNG)
    while mutated.startswith(PNG) and at + 12 <= len(mutated):
        end = at + 8 + int.from_bytes(mutated[at : at + 4])
        mutated[end : end + 4] = zlib.crc32(mutated[at + 4 : end]).to_bytes(4)
        at = end + 4
    return bytes(mutated[:max_size])


def write_seeds(folder: Path) -> None:
    """Every small file that the tests know, for both views."""
    from awkward import files

    folder.mkdir(parents=True, exist_ok=True)
    for number, file in enumerate(files()):
        for choice in range(2):
            if len(file.data) < LONGEST:
                (folder / f"{number}-{choice}").write_bytes(file.data + bytes([choice]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--seconds", type=int, default=60, help="how long; 60 unless told")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    known, others = parser.parse_known_args()
    if known.inside:  # libFuzzer ends the process, hence a process of its own
        cv2.setNumThreads(1)
        atheris.Setup([sys.argv[0], *others], try_input, custom_mutator=mutate)
        atheris.Fuzz()
    options = [
        f"-max_total_time={known.seconds}",
        "-timeout=5",
        f"-rss_limit_mb={MOST_MB}",
        f"-max_len={LONGEST}",
        f"-artifact_prefix={OUT}/",
        "-close_fd_mask=2",  # what libpng and libtiff write there; libFuzzer writes elsewhere
        # The decoders are not instrumented: a picture is worth keeping for what cannot be seen.
        "-keep_seed=1",
        "-reduce_inputs=0",
    ]
    if not any(Path(one).is_file() for one in others):
        write_seeds(OUT / "seeds")
        (OUT / "corpus").mkdir(exist_ok=True)
        options += [str(OUT / "corpus"), str(OUT / "seeds")]
    before = set(OUT.glob("*"))
    status = subprocess.call([sys.executable, __file__, "--inside", *options, *others])
    if status:
        found = ", ".join(map(str, set(OUT.glob("*")) - before)) or "no new file"
        print(f"\nThe fuzzer ended with status {status} and left {found}", file=sys.stderr)
    return int(status != 0)


if __name__ == "__main__":
    sys.exit(main())
