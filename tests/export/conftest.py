"""Modules that several test files need, each one built once and only if asked for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

# Before TensorFlow is imported: its C++ part reads this when it is loaded.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import tensorflow as tf

from fungi_onnx.model_file import ModelFile
from fungi_onnx_export import pipeline, source, standin
from fungi_onnx_export.pipeline import Wishes

CLASSES, SIZE = 16, 64


def _say_nothing(text: str) -> None:
    """The progress of a build is of no interest here."""


@pytest.fixture(scope="session")
def export() -> Callable[..., ModelFile]:
    """``export(location, target, wishes, say)``: the pipeline, source and all."""

    def run(location, target, wishes=Wishes(), say=_say_nothing):
        with source.opened(str(location)) as opened:
            return pipeline.export(opened, target, wishes, say)

    return run


@pytest.fixture(scope="session")
def standin_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow stand-in: 16 classes, 64x64, TF1 Hub format with variables. Not to be changed."""
    folder = tmp_path_factory.mktemp("modules") / "standin"
    standin.build(folder, classes=CLASSES, size=SIZE, width=0.1, say=_say_nothing)
    return folder


@pytest.fixture(scope="session")
def old_standin_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a module of 2018: reference variables, logits (version 1's fault), open size."""
    folder = tmp_path_factory.mktemp("modules") / "old"
    standin.build(
        folder,
        classes=CLASSES,
        size=SIZE,
        width=0.1,
        resource_variables=False,
        logits=True,
        open_size=True,
        say=_say_nothing,
    )
    return folder


@pytest.fixture(scope="session")
def frozen_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest frozen TF1 Hub module: no ``variables/``, 5 probabilities under ``logits``."""
    folder = tmp_path_factory.mktemp("modules") / "frozen"
    v1 = tf.compat.v1
    weights = np.random.default_rng(1).normal(0, 9, (3, 5)).astype(np.float32)
    with tf.Graph().as_default(), v1.Session() as session:
        images = v1.placeholder(tf.float32, [None, 32, 32, 3], name="images")
        answer = tf.nn.softmax(tf.linalg.matmul(tf.reduce_mean(images, [1, 2]), weights))
        sign = v1.saved_model.predict_signature_def
        signatures = {
            "default": sign({"images": images}, {"default": answer}),
            "image_classifier": sign({"images": images}, {"logits": answer}),
        }
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, [], signatures, strip_default_attrs=True)
        builder.save()
    shutil.rmtree(folder / "variables", ignore_errors=True)
    (folder / "tfhub_module.pb").write_bytes(b"\x08\x03")
    return folder
