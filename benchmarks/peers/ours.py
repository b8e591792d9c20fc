"""fungi-onnx. Arguments: MODEL.onnx VIEW THREADS (0: its default), and what `protocol` takes."""

import sys

from protocol import run

from fungi_onnx import FungiClassifier

model, view, threads = sys.argv[1:-1]
classifier = FungiClassifier(model, view=view, threads=int(threads) or None)


def pairs(prediction):
    return [[match.id, match.probability] for match in prediction.top]


def photo(path):
    return pairs(classifier.classify(path))


def bulk(paths):
    return [pairs(prediction) for prediction in classifier.classify_many(paths)]


def decode(path):
    """Only the way from the file to the tensor: a part of what bulk takes, measured alone."""
    from fungi_onnx.image import to_tensor

    to_tensor(path, *classifier.image_size, view=view)


run(network=classifier, photo=photo, bulk=bulk, decode=decode)
