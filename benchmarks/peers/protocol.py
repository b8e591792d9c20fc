"""What a peer is asked and how it answers, and nothing that its users would not wait for.

A peer is a script of what its library's users would write: it loads the model and defines

- ``network(images)``: float32 [1, height, width, 3] in [0, 1] → the probabilities, [1, classes];
- ``photo(path)``: the five best [class, probability] pairs, best first;
- ``bulk(paths)``: the same for each of many photos, in their order.

Then it calls `run`. Its last argument says what for: a photo, which it answers and ends; or ``-``:
it answers one request a line from standard input, so that warm runs can be timed.
"""

import sys
import time


def run(**tasks):
    """Answers the photo in the last argument, or serves."""
    if sys.argv[-1] == "-":
        _serve(tasks)
    else:
        print(tasks["photo"](sys.argv[-1]), flush=True)


def best(probabilities, count=5):
    """[class, probability] pairs of an array of probabilities, best first."""
    return [[int(k), float(probabilities[k])] for k in probabilities.argsort()[: -count - 1 : -1]]


def _serve(tasks):
    """Times a task on each of its inputs, after some that do not count.

    A request is ``{"task": …, "inputs": […], "warm": 2}``, the reply
    ``{"seconds": [one an input], "answers": [one an input]}``. The inputs of ``network`` are places
    in the array of images that lies in the file ``tensors``.
    """
    import json
    import os

    import numpy as np

    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no reply
    print("{}", file=replies, flush=True)  # ready
    for line in sys.stdin:
        request = json.loads(line)
        task, inputs = tasks[request["task"]], request["inputs"]
        if request["task"] == "network":
            tensors = np.load(request["tensors"], mmap_mode="r")
            inputs = [np.array(tensors[number : number + 1]) for number in inputs]
        for item in inputs[: request["warm"]]:
            task(item)
        seconds, answers = [], []
        for item in inputs:
            start = time.perf_counter()
            answer = task(item)
            seconds.append(time.perf_counter() - start)
            answers.append(answer.tolist() if hasattr(answer, "tolist") else answer)
        print(json.dumps({"seconds": seconds, "answers": answers}), file=replies, flush=True)
