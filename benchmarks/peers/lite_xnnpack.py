"""LiteRT with XNNPACK, its default. Arguments: MODEL.tflite THREADS, and what `protocol` takes."""

import sys

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from protocol import best, run


class Model:
    """The interpreter as its guide has it; for bulk every thread has its own."""

    def __init__(self, path, threads):
        self.interpreter = Interpreter(model_path=path, num_threads=threads)
        self.interpreter.allocate_tensors()
        (self.image,) = self.interpreter.get_input_details()
        (self.probabilities,) = self.interpreter.get_output_details()

    def __call__(self, images):
        self.interpreter.set_tensor(self.image["index"], images)
        self.interpreter.invoke()
        return self.interpreter.get_tensor(self.probabilities["index"])


path, threads = sys.argv[1], int(sys.argv[2])
model = Model(path, threads)
_, height, width, _ = model.image["shape"]


def look(path):
    picture = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
    return cv2.resize(picture, (width, height)).astype(np.float32)[np.newaxis] / 255


def photo(path):
    return best(model(look(path))[0])


def bulk(paths):
    import threading
    from concurrent.futures import ThreadPoolExecutor

    mine = threading.local()

    def start():
        mine.model = Model(path, 1)

    with ThreadPoolExecutor(threads, initializer=start) as pool:
        return list(pool.map(lambda path: best(mine.model(look(path))[0]), paths))


run(network=model, photo=photo, bulk=bulk)
