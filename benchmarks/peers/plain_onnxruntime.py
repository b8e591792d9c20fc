"""onnxruntime, its default session. Arguments: MODEL.onnx THREADS, and what `protocol` takes."""

import sys

import cv2
import numpy as np
import onnxruntime as ort
from protocol import best, run

model, threads = sys.argv[1], int(sys.argv[2])
session = ort.InferenceSession(model)
_, height, width, _ = session.get_inputs()[0].shape


def look(path):
    picture = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
    return cv2.resize(picture, (width, height)).astype(np.float32)[np.newaxis] / 255


def network(images):
    return session.run(None, {"images": images})[0]


def photo(path):
    return best(network(look(path))[0])


def bulk(paths):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(photo, paths))


run(network=network, photo=photo, bulk=bulk)
