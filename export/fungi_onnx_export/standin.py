"""A stand-in for the fungi module, for machines that have none of the real weights.

The same format (TF1 Hub), architecture (MobileNetV2) and signatures, but nothing in it was trained
and it knows the drawings of ``pictures.render`` instead of fungi. It tells them apart all the same,
so that a mistake in what is built around it shows as a wrong answer and not as other noise:

1. The trunk's convolutions are random; its batch norms' statistics are measured on some drawings.
2. A class is the feature vector of its drawing; how features move from one photograph of a thing
   to another is a covariance, measured on variations of drawings.
3. The head is the linear discriminant of the two (Fisher's), scaled so that the probability of the
   first answer is typically well between a guess and certainty, as a real classifier's is.
"""

import csv
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow as tf
import tensorflow_hub as hub
from numpy.typing import NDArray

from fungi_onnx_export import attachments, mobilenet, pictures
from fungi_onnx_export.errors import ExportError

Shot = tuple[int, int | None]  # a species and the seed of its variation; None: the drawing itself

NOTE = "A stand-in with random, untrained weights: it knows drawings of mushrooms, not fungi."
LEAST_RECALL = 0.8

_BATCH, _VARIATIONS, _SCALING, _HELD_OUT, _SAMPLES = 32, 800, 200, 256, 6  # pictures each
_TRUTH, _TRUTH_CLASSES = 64, 16
# Seeds of variations: what the module is judged by is never what it was fitted to.
_SCALING_SEED, _HELD_OUT_SEED, _SAMPLE_SEED, _TRUTH_SEED = 100_000, 200_000, 300_000, 400_000
_RIDGE = 0.03  # added to the covariance, in parts of its mean eigenvalue
_TYPICAL_TOP = 0.65  # median probability of the first answer that the head is scaled to
_HEAD = ("MobilenetV2/Logits/weights", "MobilenetV2/Logits/biases")


def build(
    directory: Path,
    *,
    classes: int = 4128,
    size: int = 299,
    width: float = 1.0,
    seed: int = 0,
    resource_variables: bool = True,
    logits: bool = False,
    open_size: bool = False,
    say: Callable[[str], None] = print,
) -> float:
    """Writes a stand-in module into ``directory``, with its ``labels.csv`` and pictures.

    These are ``samples/*.jpg``, which it recognises, and ``truth/*.jpg``, of which it recognises
    some, with what they show in ``truth.csv``.

    Args:
        directory: is made; must not exist, or be empty.
        classes: class k is the drawing ``pictures.render(k)``.
        size: height and width of the input in pixels.
        width: MobileNetV2's width multiplier.
        seed: of the random trunk.
        resource_variables: False writes reference variables, as modules of 2018 had.
        logits: returns the values before the softmax, the fault of the module's version 1.
        open_size: leaves height and width out of the signature: only an attachment tells them.
        say: is told the progress.

    Returns:
        Recall@1 of the written module, loaded again, on variations it was not fitted to.

    Raises:
        FileExistsError: ``directory`` holds something already.
        ExportError: the recall is below 0.8; nothing is left behind then.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise FileExistsError(f"{directory} exists and is not an empty directory; name another one")
    layers = mobilenet.mobilenet_v2(width)
    weights = mobilenet.random_trunk(layers, seed)
    say(f"Measuring the batch norms of a MobileNetV2 {width:g} at {size}x{size}")
    _calibrate(layers, weights, size)
    weights |= _fit_head(layers, weights, classes, size, say)
    count = sum(value.size for value in weights.values())
    say(f"Writing the module: {classes} classes, {count:,} weights")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".standin-", dir=directory.parent) as scratch:
        made = Path(scratch) / directory.name
        _write_module(made, layers, weights, size, (resource_variables, logits, open_size))
        signature = hub.load(str(made)).signatures["image_classifier"]

        def classify(levels: NDArray[Any]) -> NDArray[np.int64]:
            """The first answers [n] to pictures [n, size, size, 3] with levels 0-255."""
            images = tf.constant(levels.astype(np.float32) / np.float32(255))
            scores = signature(images=images)["image_classifier"].numpy()
            return np.asarray(scores.argmax(axis=1), np.int64)

        shots = _spread(classes, _HELD_OUT, _HELD_OUT_SEED)
        answers = np.concatenate([classify(batch) for batch in _batches(shots, size)])
        recall = float(np.mean(answers == [species for species, _ in shots]))
        say(f"Recall@1 on {_HELD_OUT} held-out pictures: {recall:.3f}")
        if recall < LEAST_RECALL:
            raise ExportError(f"the stand-in's recall is {recall:.3f}, below {LEAST_RECALL}")
        _write_labels(made / "labels.csv", classes)
        _write_samples(made / "samples", classify, classes, size)
        _write_truth(made, classes)
        if directory.exists():
            directory.rmdir()
        os.replace(made, directory)
    return recall


def _calibrate(layers: Sequence[mobilenet.Layer], weights: mobilenet.Weights, size: int) -> None:
    """Sets the batch norms' means and variances to those over some drawings."""

    def observe(layer: mobilenet.Layer, output: Any) -> None:
        for name, value in zip(layer.variables[3:], tf.nn.moments(output, [0, 1, 2]), strict=True):
            weights[name] = value.numpy()

    drawings = next(_batches([(species, None) for species in range(_BATCH)], size))
    mobilenet.features(tf.constant(drawings, tf.float32) / 255, layers, weights, observe)


def _fit_head(
    layers: Sequence[mobilenet.Layer],
    weights: mobilenet.Weights,
    classes: int,
    size: int,
    say: Callable[[str], None],
) -> mobilenet.Weights:
    """The head's weights [channels, classes] and biases [classes]."""

    @tf.function(input_signature=[tf.TensorSpec([None, size, size, 3], tf.uint8)])  # type: ignore[untyped-decorator]
    def extract(levels: Any) -> Any:
        return mobilenet.features(tf.cast(levels, tf.float32) / 255, layers, weights)

    def features(shots: Sequence[Shot], what: str) -> NDArray[np.float64]:
        say(f"Looking at {len(shots)} {what}")
        batches = _batches(shots, size)
        return np.concatenate([extract(batch).numpy() for batch in batches], dtype=np.float64)

    drawn = features([(species, None) for species in range(classes)], "drawings")
    varied: list[Shot] = [(n % classes, n) for n in range(min(_VARIATIONS, 24 * classes))]
    species = [shot[0] for shot in varied]
    moves = features(varied, "variations of them") - drawn[species]
    # Photographs differ from drawings on the average, too; a class with photographs of its own
    # leans towards theirs, as if the average were that of four more.
    totals, seen = np.zeros_like(drawn), np.bincount(species, minlength=classes)[:, None]
    np.add.at(totals, species, moves)
    shifts = (totals + 4 * moves.mean(axis=0)) / (seen + 4)
    means = drawn + shifts
    covariance = np.cov((moves - shifts[species]).T)
    ridge = _RIDGE * np.trace(covariance) / len(covariance)
    centred = (means - means.mean(axis=0)).T
    head = np.linalg.solve(covariance + ridge * np.eye(len(covariance)), centred)
    biases = -0.5 * np.sum(centred * head, axis=0) - means.mean(axis=0) @ head

    unseen = _spread(classes, _SCALING, _SCALING_SEED)
    scores = features(unseen, "more, to scale the head") @ head + biases
    below = scores - scores.max(axis=1, keepdims=True)
    low, high = 1e-6, 1e3
    for _ in range(60):  # bisection: the first answer's probability only grows with the scale
        scale = np.sqrt(low * high)
        top = np.median(1 / np.exp(below * scale).sum(axis=1))
        low, high = (scale, high) if top < _TYPICAL_TOP else (low, scale)
    pair = zip(_HEAD, (head * scale, biases * scale), strict=True)
    return {name: value.astype(np.float32) for name, value in pair}


def _spread(classes: int, count: int, seed: int) -> list[Shot]:
    """Variations of species from all over the range."""
    return [(n * classes // count, seed + n) for n in range(count)]


def _batches(shots: Sequence[Shot], size: int) -> Iterator[NDArray[np.uint8]]:
    """Yields uint8 [up to 32, size, size, 3], the next batch being drawn while one is used."""

    def take(shot: Shot) -> NDArray[np.uint8]:
        picture = pictures.render(shot[0], size)
        return picture if shot[1] is None else pictures.vary(picture, shot[1])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        ahead = pool.map(take, shots[:_BATCH])
        for start in range(_BATCH, len(shots) + _BATCH, _BATCH):
            batch = np.stack(list(ahead))
            ahead = pool.map(take, shots[start : start + _BATCH])
            yield batch


def _write_module(
    directory: Path,
    layers: Sequence[mobilenet.Layer],
    weights: mobilenet.Weights,
    size: int,
    form: tuple[bool, bool, bool],
) -> None:
    """Writes the module as tensorflow-hub 0.15 does; ``form``: the three flags of ``build``."""
    resource_variables, logits, open_size = form
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        zeros, variables = v1.zeros_initializer(), {}
        for name, value in weights.items():
            kind = {"use_resource": resource_variables, "trainable": "moving" not in name}
            variables[name] = v1.get_variable(name, value.shape, initializer=zeros, **kind)
        # Fed, for a constant would store every weight in the graph a second time.
        initial = {variables[name].initial_value: value for name, value in weights.items()}
        session.run([variable.initializer for variable in variables.values()], initial)
        side = None if open_size else size
        images = v1.placeholder(tf.float32, [None, side, side, 3], name="images")
        pooled = mobilenet.features(images, layers, variables)
        with tf.name_scope("MobilenetV2/Logits/"):
            scores = tf.nn.bias_add(
                tf.linalg.matmul(pooled, variables[_HEAD[0]]), variables[_HEAD[1]]
            )
        answer = scores if logits else tf.nn.softmax(scores, name="MobilenetV2/Predictions")
        info = attachments.image_module_info(size, size)
        for key, data in (
            (attachments.IMAGE_MODULE_INFO, info),
            (attachments.STANDIN, NOTE.encode()),
        ):
            v1.add_to_collection(attachments.COLLECTION, attachments.encode(key, data))
        outputs = {
            "default": {"default": answer},
            "image_classifier": {"image_classifier": answer},
            "image_feature_vector": {"default": pooled},
        }
        sign = v1.saved_model.predict_signature_def
        signatures = {name: sign({"images": images}, output) for name, output in outputs.items()}
        for signature in signatures.values():
            signature.ClearField("method_name")  # the Hub's exporter sets none
        builder = v1.saved_model.Builder(str(directory))
        builder.add_meta_graph_and_variables(session, [], signatures, strip_default_attrs=True)
        builder.save()
    # A serialised ModuleDef {format: FORMAT_V3}, by which every reader knows a TF1 Hub module.
    (directory / "tfhub_module.pb").write_bytes(b"\x08\x03")


def _write_labels(path: Path, classes: int) -> None:
    """Writes the label map, ``id,name``: not in the order of the ids, like the published ones."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["id", "name"])
        for species in np.random.default_rng(0).permutation(classes).tolist():
            looks = pictures.describe(species)
            rows.writerow([species, f"Stand-in species {species:04d} ({looks})"])


def _write_samples(
    folder: Path, classify: Callable[[NDArray[Any]], NDArray[np.int64]], classes: int, size: int
) -> None:
    """Writes photographs, larger than the module's input, that the module recognises.

    Raises:
        ExportError: too few are recognised.
    """
    folder.mkdir()
    wanted = min(_SAMPLES, classes)
    for species in range(0, classes, max(1, classes // (4 * _SAMPLES))):
        photo = pictures.vary(pictures.render(species, 640), _SAMPLE_SEED + species)
        jpeg = pictures.to_jpeg(photo, 90)
        levels = pictures.from_jpeg(jpeg).astype(np.float32)
        seen = cv2.resize(levels, (size, size), interpolation=cv2.INTER_LINEAR)
        if classify(seen[None])[0] == species:
            (folder / f"species_{species:04d}.jpg").write_bytes(jpeg)
            wanted -= 1
        if not wanted:
            return
    raise ExportError("the stand-in recognises too few of its own samples")


def _write_truth(folder: Path, classes: int) -> None:
    """Writes photographs that are further from the drawings than those that it was fitted to."""
    (folder / "truth").mkdir()
    with (folder / "truth.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["image", "label"])
        kinds = min(_TRUTH_CLASSES, classes)
        for n in range(_TRUTH):
            species = (n % kinds) * classes // kinds
            photo = pictures.render(species, 320)
            for seed in (_TRUTH_SEED + n, _TRUTH_SEED + _TRUTH + n):
                photo = pictures.vary(photo, seed)
            image = f"truth/{n:02d}.jpg"
            (folder / image).write_bytes(pictures.to_jpeg(photo, 90))
            rows.writerow([image, f"Stand-in species {species:04d} ({pictures.describe(species)})"])
