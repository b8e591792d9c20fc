"""What every peer is given: photos, the LiteRT file, and the answers that are right.

    python materials.py MODULE SIGNATURE OUTPUT FOLDER PHOTOS OWN

A process of its own, for TensorFlow would stay in the benchmark's memory. Writes into FOLDER:

- ``candidates/*.jpg``: photos of 12 megapixels, of drawings or of the files in the folder OWN;
- ``photos.json``: the PHOTOS of them whose right answer is the clearest, and one of 0.5 megapixels;
- ``tensors.npy`` [PHOTOS, height, width, 3] and ``answers.npy`` [PHOTOS, classes]: what TensorFlow
  sees in them and says to it;
- ``model.tflite``: the module as a float32 LiteRT file for one picture.
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is loaded
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import tensorflow as tf
import tensorflow_hub as hub
from photos import photo

LARGE, ORDINARY = (4000, 3000), (816, 612)  # width and height in pixels
CANDIDATES_PER_PHOTO = 1.5
_SPECIES_APART = 61  # drawings of neighbouring species are not alike, but why not from all over


@dataclass(frozen=True)
class Scene:
    """What a photo shows: a drawn species, or a photo of somebody's own."""

    name: str
    species: int = 0
    path: Path | None = None

    def jpeg(self, width: int, height: int) -> bytes:
        return photo(self.path, width, height, self.species)


def scenes(own: str, count: int) -> list[Scene]:
    """The first ``count`` files of a folder of one's own, or as many drawings if there is none."""
    if own:
        files = sorted(path for path in Path(own).iterdir() if path.is_file())
        return [Scene(path.name, path=path) for path in files[:count]]
    species = range(0, count * _SPECIES_APART, _SPECIES_APART)
    return [Scene(f"species_{number:04d}", number) for number in species]


def take(folder: Path, wanted: list[Scene]) -> list[Path]:
    """A large photo of each scene; drawings that lie there already are kept."""
    folder.mkdir(parents=True, exist_ok=True)

    def make(scene: Scene) -> Path:
        path = folder / f"{scene.name}.jpg"
        if scene.path or not path.exists():
            scratch = path.with_suffix(".part")
            scratch.write_bytes(scene.jpeg(*LARGE))
            os.replace(scratch, path)
        return path

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(make, wanted))


class Reference:
    """The hub module in TensorFlow: what is right."""

    def __init__(self, path: str, signature: str, output: str) -> None:
        self._module = hub.load(path)  # its variables live as long as it does
        self._classify = self._module.signatures[signature]
        self._output = output
        self.size = tuple(self._classify.structured_input_signature[1]["images"].shape[1:3])

    def __call__(self, images: Any) -> Any:
        """float32 [N, height, width, 3] in [0, 1] → [N, classes]."""
        return self._classify(images=images)[self._output]

    def look(self, path: Path) -> Any:
        """The recipe: full decode, bilinear in float, [0, 1]; one picture [1, height, width, 3]."""
        picture = tf.io.decode_jpeg(tf.io.read_file(str(path)), channels=3)
        return tf.image.resize(picture, self.size)[tf.newaxis] / 255

    def to_lite(self) -> bytes:
        """A float32 .tflite file, for one picture: the shape that LiteRT runs best."""
        one = tf.TensorSpec([1, *self.size, 3], tf.float32, name="images")
        function = tf.function(self).get_concrete_function(one)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], self._module)
        return bytes(converter.convert())


def main() -> None:
    """Makes everything, and prints what it is."""
    module, signature, output, where, count, own = sys.argv[1:]
    folder, photos = Path(where), int(count)
    reference = Reference(module, signature, output)

    candidates = scenes(own, round(photos * CANDIDATES_PER_PHOTO))
    files = take(folder / "candidates", candidates)
    tensors = [reference.look(path).numpy()[0] for path in files]
    answers = np.stack([reference(tensor[np.newaxis]).numpy()[0] for tensor in tensors])
    second, first = np.sort(answers)[:, -2:].T
    clearest = np.argsort(second - first, kind="stable")[:photos]
    np.save(folder / "tensors.npy", np.stack([tensors[number] for number in clearest]))
    np.save(folder / "answers.npy", answers[clearest])

    # One photo that is not large: the same scene as the first of the large ones.
    ordinary = folder / "ordinary.jpg"
    ordinary.write_bytes(candidates[clearest[0]].jpeg(*ORDINARY))
    seen = reference(reference.look(ordinary)).numpy()[0]
    facts = {
        "width": LARGE[0],
        "height": LARGE[1],
        "drawn": not own,
        "candidates": len(candidates),
        "large": [str(files[number]) for number in clearest],
        "least_lead": float((first - second)[clearest].min()),
        "ordinary": str(ordinary),
        "ordinary_answer": [int(seen.argmax()), float(seen.max())],
        "mean_bytes": int(np.mean([files[number].stat().st_size for number in clearest])),
    }
    (folder / "photos.json").write_text(json.dumps(facts, indent=1))
    (folder / "model.tflite").write_bytes(reference.to_lite())


if __name__ == "__main__":
    main()
