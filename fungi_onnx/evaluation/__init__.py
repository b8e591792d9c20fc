"""How often a model is right on photos whose classes are known, and what its confidence is worth.

>>> from fungi_onnx import FungiClassifier
>>> from fungi_onnx.evaluation import evaluate, read_truth
>>> evaluation = evaluate(read_truth("truth.csv"), [FungiClassifier("fungi.onnx")])
>>> evaluation.results[0].recall[1]
Share(hits=155, of=412)
"""

from fungi_onnx.evaluation.calibrate import calibrate
from fungi_onnx.evaluation.confidence import Bin, coverage, fit_temperature, reliability
from fungi_onnx.evaluation.result import Comparison, Evaluation, Result
from fungi_onnx.evaluation.run import evaluate
from fungi_onnx.evaluation.scores import Share, macro_recall, mcnemar, recall_at_k
from fungi_onnx.evaluation.truth import Photo, Truth, read_truth

__all__ = [
    "Bin",
    "Comparison",
    "Evaluation",
    "Photo",
    "Result",
    "Share",
    "Truth",
    "calibrate",
    "coverage",
    "evaluate",
    "fit_temperature",
    "macro_recall",
    "mcnemar",
    "read_truth",
    "recall_at_k",
    "reliability",
]
