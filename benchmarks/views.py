"""How often do the views `fast` and `exact` give the same answer?

    python benchmarks/views.py MODEL.onnx PHOTOS... [--pictures 1200]

From each photo random crops (35 to 100 % of each side) are taken, scaled to a long side of 400 to
4000 pixels and compressed as JPEG of quality 60 to 98; the same pictures in every run. A photo
that is smaller than the long side drawn is enlarged: its detail is then coarser than a camera's.
As a measure of how much a top-1 answer is worth, `exact` is also compared with itself after one
more compression at quality 90.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fungi_onnx import FungiClassifier, read_rgb
from fungi_onnx.image import to_tensor

LONG_SIDES = (400, 640, 1024, 2048, 4000)
QUALITIES = (60, 75, 85, 92, 98)


def to_jpeg(rgb: NDArray[np.uint8], quality: int) -> bytes:
    """Compresses RGB uint8 [height, width, 3]."""
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def variations(photos: list[NDArray[np.uint8]], count: int) -> Iterator[tuple[int, bytes]]:
    """(long side in pixels, JPEG) pairs; each photo in turn."""
    rng = np.random.default_rng(5)
    for number in range(count):
        photo = photos[number % len(photos)]
        height, width = photo.shape[:2]
        part = rng.uniform(0.35, 1) if number >= len(photos) else 1.0
        tall, wide = int(height * part), int(width * part)
        top, left = rng.integers(height - tall + 1), rng.integers(width - wide + 1)
        crop = photo[top : top + tall, left : left + wide]
        long_side = int(rng.choice(LONG_SIDES))
        scale = long_side / max(tall, wide)
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        scaled = cv2.resize(crop, None, fx=scale, fy=scale, interpolation=how)
        yield long_side, to_jpeg(np.asarray(scaled, np.uint8), int(rng.choice(QUALITIES)))


def interval(agreed: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % confidence interval of a proportion."""
    z, share = 1.96, agreed / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    half /= 1 + z * z / count
    return middle - half, middle + half


def main() -> None:
    """Prints one table for each model and a JSON line with the same figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--pictures", type=int, default=1200)
    options = parser.parse_args()
    classifier = FungiClassifier(options.model, device="cpu")
    photos = [read_rgb(path) for path in options.photos]

    sides, agreed, differences, stable, margins = [], [], [], [], []
    for long_side, data in variations(photos, options.pictures):
        again = to_jpeg(read_rgb(data), 90)
        exact, fast, recompressed = (
            classifier(to_tensor(picture, *classifier.image_size, view=view)[np.newaxis])[0]
            for picture, view in ((data, "exact"), (data, "fast"), (again, "exact"))
        )
        second, first = np.sort(exact)[-2:]
        sides.append(long_side)
        agreed.append(exact.argmax() == fast.argmax())
        stable.append(exact.argmax() == recompressed.argmax())
        differences.append(np.abs(exact - fast).max())
        margins.append(first - second)

    side, same, still = np.array(sides), np.array(agreed), np.array(stable)
    difference, margin = np.array(differences), np.array(margins)
    rows = []
    for name, chosen in [("all", side > 0), *((f"{s} px", side == s) for s in LONG_SIDES)]:
        low, high = interval(int(same[chosen].sum()), int(chosen.sum()))
        rows.append(
            {
                "long side": name,
                "pictures": int(chosen.sum()),
                "top-1 agreement": round(float(same[chosen].mean()), 4),
                "95 % interval": [round(low, 4), round(high, 4)],
                "mean |Δp|": round(float(difference[chosen].mean()), 4),
                "max |Δp|": round(float(difference[chosen].max()), 4),
                "exact, recompressed": round(float(still[chosen].mean()), 4),
            }
        )
    print(f"{classifier.model.name}: fast against exact, {len(photos)} photos\n")
    print(
        f"{'long side':>10} {'pictures':>9} {'top-1':>7} {'95 % interval':>16} {'mean |Δp|':>10}",
        end="",
    )
    print(f" {'max |Δp|':>9} {'exact, recompressed':>20}")
    for row in rows:
        low, high = row["95 % interval"]
        print(
            f"{row['long side']:>10} {row['pictures']:>9} {row['top-1 agreement']:>7.1%}"
            f" {f'{low:.1%} to {high:.1%}':>16} {row['mean |Δp|']:>10.3f} {row['max |Δp|']:>9.2f}"
            f" {row['exact, recompressed']:>20.1%}"
        )
    print(
        "\nexact's lead of its first over its second answer, median:"
        f" {np.median(margin[same]):.3f} where both agree, {np.median(margin[~same]):.3f} where not"
    )
    print(json.dumps({"model": classifier.model.name, "rows": rows}, ensure_ascii=False))


if __name__ == "__main__":
    main()
