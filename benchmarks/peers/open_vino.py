"""OpenVINO with its hints. Arguments: MODEL.onnx THREADS PRECISION, and what `protocol` takes.

PRECISION is ``default``, which is bfloat16 where the processor has it, or ``f32``.
"""

import sys
from functools import cache

import cv2
import numpy as np
import openvino as ov
from protocol import best, run

path, threads, precision = sys.argv[1], int(sys.argv[2]), sys.argv[3]
core = ov.Core()
model = core.read_model(path)
height, width = (model.input(0).partial_shape[axis].get_length() for axis in (1, 2))
model.reshape([1, height, width, 3])


@cache
def compiled(hint):
    options = {"PERFORMANCE_HINT": hint}
    if precision != "default":
        options["INFERENCE_PRECISION_HINT"] = precision
    return core.compile_model(model, "CPU", options)


one = compiled("LATENCY")


def look(path):
    picture = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
    return cv2.resize(picture, (width, height)).astype(np.float32)[np.newaxis] / 255


def network(images):
    return one(images)[0]


def photo(path):
    return best(network(look(path))[0])


def bulk(paths):
    from concurrent.futures import ThreadPoolExecutor

    answers = [None] * len(paths)

    def keep(request, number):
        answers[number] = best(request.get_output_tensor().data[0])

    queue = ov.AsyncInferQueue(compiled("THROUGHPUT"))
    queue.set_callback(keep)
    with ThreadPoolExecutor(threads) as pool:
        for number, images in enumerate(pool.map(look, paths)):
            queue.start_async({0: images}, number)
        queue.wait_all()
    return answers


run(network=network, photo=photo, bulk=bulk)
