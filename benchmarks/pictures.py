"""From the bytes of a JPEG to the model's input: ours and the peers', side by side on one core.

    python benchmarks/pictures.py [--photo PHOTO] [--rounds 15] [--chart FILE.svg]

Every way ends in float32 [299, 299, 3]. The ways take turns within a round, so that what else the
machine does falls on all of them; medians and quartiles are over the rounds. Needs the exporter's
environment (TensorFlow) and, for the chart, matplotlib: pip install './export[benchmarks]'.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
if hasattr(os, "sched_setaffinity"):  # before any library starts its threads
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import cv2
import numpy as np
import PIL
import simplejpeg
import tensorflow as tf
from photos import photo
from PIL import Image

from fungi_onnx.image import to_tensor

SIZE = 299
SIZES = {"0.5 MP": (816, 612), "3 MP": (2048, 1536), "12 MP": (4000, 3000), "48 MP": (8000, 6000)}
Way = Callable[[bytes], Any]


def ways(short_side: int) -> dict[str, Way]:
    """Name → bytes of a JPEG to tensor."""
    ratio = next(r for r in (8, 4, 2, 1) if short_side >= r * SIZE or r == 1)
    reduced = {
        8: cv2.IMREAD_REDUCED_COLOR_8,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        2: cv2.IMREAD_REDUCED_COLOR_2,
        1: cv2.IMREAD_COLOR,
    }[ratio]

    def tensorflow(data: bytes, ratio: int = 1) -> Any:
        decoded = tf.io.decode_jpeg(data, channels=3, ratio=ratio)
        return (tf.image.resize(decoded, (SIZE, SIZE)) / 255).numpy()

    def tensorflow_float_first(data: bytes) -> Any:
        """The order of the Hub's tutorials: the whole picture to float, then the resize."""
        decoded = tf.image.convert_image_dtype(tf.io.decode_jpeg(data, channels=3), tf.float32)
        return tf.image.resize(decoded, (SIZE, SIZE)).numpy()

    def pillow(data: bytes, draft: bool) -> Any:
        with Image.open(io.BytesIO(data)) as picture:
            if draft:
                picture.draft("RGB", (SIZE, SIZE))
            small = picture.resize((SIZE, SIZE), Image.Resampling.BOX)
        return np.asarray(small, np.float32) / 255

    def opencv(data: bytes, flag: int, how: int) -> Any:
        decoded = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), flag), cv2.COLOR_BGR2RGB)
        return cv2.resize(decoded, (SIZE, SIZE), interpolation=how).astype(np.float32) / 255

    return {
        "fungi-onnx exact": lambda data: to_tensor(data, SIZE, SIZE, view="exact"),
        "fungi-onnx fast": lambda data: to_tensor(data, SIZE, SIZE, view="fast"),
        "TensorFlow": tensorflow,
        "TensorFlow, float first": tensorflow_float_first,
        f"TensorFlow, ratio={ratio}": lambda data: tensorflow(data, ratio),
        "Pillow": lambda data: pillow(data, draft=False),
        "Pillow, draft": lambda data: pillow(data, draft=True),
        "OpenCV": lambda data: opencv(data, cv2.IMREAD_COLOR, cv2.INTER_LINEAR),
        f"OpenCV, reduced {ratio}": lambda data: opencv(data, reduced, cv2.INTER_AREA),
        "bare decode (simplejpeg)": lambda data: simplejpeg.decode_jpeg(data, "RGB"),
        "bare decode (OpenCV)": lambda data: cv2.imdecode(
            np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR
        ),
    }


def measure(data: bytes, candidates: dict[str, Way], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each round, after one that does not count."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds + 1):
        for name, way in candidates.items():
            start = time.perf_counter()
            way(data)
            if number:
                times[name].append((time.perf_counter() - start) * 1e3)
    return times


def chart(results: dict[str, dict[str, list[float]]], path: Path) -> None:
    """Bars of the medians, one panel a size."""
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "fungi-onnx"
    figure, axes = plt.subplots(1, len(results), figsize=(12, 3.2), layout="constrained")
    for axis, (size, times) in zip(axes, results.items(), strict=True):
        shown = {name: t for name, t in times.items() if not name.startswith("bare")}
        medians = [statistics.median(t) for t in shown.values()]
        names = [re.sub(r"fungi-onnx |=\d| \d$", "", name) for name in shown]
        colours = ["#b5452c" if "fungi" in name else "#c9c4ba" for name in shown]
        axis.barh(range(len(shown)), medians, color=colours)
        for place, median in enumerate(medians):
            axis.text(median, place, f" {median:.3g}", va="center", fontsize=8)
        axis.set_yticks(range(len(shown)), names if axis is axes[0] else [""] * len(shown))
        axis.invert_yaxis()
        axis.set_title(size, fontsize=10)
        axis.set_xlabel("ms", fontsize=8)
        axis.set_xlim(0, max(medians) * 1.22)
        axis.tick_params(labelsize=8, length=0)
        axis.spines[["top", "right", "left"]].set_visible(False)
    for place, label in enumerate(axes[0].get_yticklabels()):
        label.set_fontweight("bold" if place < 2 else "normal")
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Prints a table for each size and a JSON line with all figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photo", type=Path, help="a photo to scale in place of the drawn one")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--chart", type=Path, help="write bars to this .svg or .png")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    print(
        f"tensorflow {tf.__version__}, pillow {PIL.__version__}, opencv {cv2.__version__},"
        f" simplejpeg {simplejpeg.__version__}; one core; {options.rounds} rounds"
    )
    results = {}
    for size, (width, height) in SIZES.items():
        data = photo(options.photo, width, height)
        results[size] = times = measure(data, ways(height), options.rounds)
        exact = statistics.median(times["fungi-onnx exact"])
        print(f"\n{size}: {width}×{height}, {len(data) / 1e6:.1f} MB")
        for name, milliseconds in times.items():
            low, median, high = statistics.quantiles(milliseconds, n=4)
            print(
                f"  {name:<26} {median:8.2f} ms  ({low:.2f} to {high:.2f})"
                f"  {median / exact:6.2f} × exact"
            )
    if options.chart:
        chart(results, options.chart)
    print(json.dumps(results, ensure_ascii=False))


if __name__ == "__main__":
    main()
