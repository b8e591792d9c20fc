"""TensorFlow with the hub module.

Arguments: MODULE SIGNATURE OUTPUT, ``float`` or ``resize``: what comes first; and what `protocol`
takes.
"""

import sys

import tensorflow as tf
import tensorflow_hub as hub
from protocol import run

path, name, output, first = sys.argv[1:-1]
module = hub.load(path)
classify = module.signatures[name]
size = classify.structured_input_signature[1]["images"].shape[1:3]


def look(path):
    picture = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
    if first == "float":  # as the Hub's own retraining example has it
        return tf.image.resize(tf.image.convert_image_dtype(picture, tf.float32), size)
    return tf.image.resize(picture, size) / 255  # the same numbers, with less to compute


def network(images):
    return classify(images=tf.constant(images))[output].numpy()


def photo(path):
    return top_5(classify(images=look(path)[tf.newaxis])[output])[0]


def bulk(paths):
    photos = tf.data.Dataset.from_tensor_slices(paths)
    photos = photos.map(look, num_parallel_calls=tf.data.AUTOTUNE)
    photos = photos.batch(16).prefetch(tf.data.AUTOTUNE)
    return [answer for images in photos for answer in top_5(classify(images=images)[output])]


def top_5(probabilities):
    top = tf.math.top_k(probabilities, 5)
    rows = zip(top.indices.numpy().tolist(), top.values.numpy().tolist(), strict=True)
    return [[list(pair) for pair in zip(*row, strict=True)] for row in rows]


run(network=network, photo=photo, bulk=bulk)
