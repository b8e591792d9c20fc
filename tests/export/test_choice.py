"""choice.py (and what module.py tells it): the classifier is found by what its values do."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from fungi_onnx_export import attachments, module, source
from fungi_onnx_export.choice import Behaviour, Choice, behaviour, choose
from fungi_onnx_export.errors import ModuleError
from fungi_onnx_export.module import Module

NAME = "images"
IMAGES = tf.TensorSpec([None, 32, 32, 3], tf.float32, NAME)
OPEN = tf.TensorSpec([None, None, None, 3], tf.float32, NAME)

Head = Callable[..., dict[str, Any]]


def load(folder: Path) -> Module:
    with source.opened(str(folder)) as opened:
        original = module.open_original(opened)
    assert isinstance(original, Module)
    return original


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Module]:
    """Writes a TF2 SavedModel with these signatures and opens it."""

    def save(**signatures: tuple[Head, list[tf.TensorSpec]]) -> Module:
        thing = tf.Module()
        thing.functions = {
            name: tf.function(head, input_signature=inputs, autograph=False)
            for name, (head, inputs) in signatures.items()
        }
        tf.saved_model.save(thing, str(tmp_path / "model"), thing.functions)
        return load(tmp_path / "model")

    return save


def fails(original: Module, text: str, **how: Any) -> None:
    with pytest.raises(ModuleError) as caught:
        choose(original, **how)
    assert type(caught.value) is ModuleError
    assert str(caught.value) == text


def scores(images: Any, classes: int = 5, seed: int = 0) -> Any:
    """Logits of both signs, [N, classes], that depend on the picture."""
    weights = np.random.default_rng(seed).normal(0, 9, (3, classes)).astype(np.float32)
    return tf.linalg.matmul(tf.reduce_mean(images, [1, 2]) - 0.5, weights)


def chosen(choice: Choice) -> tuple[str, str, Behaviour, bool]:
    taken = choice.candidate
    return taken.signature, taken.output.key, taken.behaviour, choice.add_softmax


def unclear(problem: str, *options: str) -> str:
    lines = "".join(f"\n  {option}" for option in options)
    return f"which output is the classifier is not clear: {problem}; name one:{lines}"


class TestBehaviour:
    @pytest.mark.parametrize(
        ("rows", "step", "expected"),
        [
            ([[0.2, 0.8], [1, 0]], 0, Behaviour.PROBABILITIES),
            ([[0.2, 0.8005], [0.9995, 0]], 0, Behaviour.PROBABILITIES),
            ([[0.2, 0.8], [0.2, 0.7]], 0, Behaviour.SCORES),
            ([[0.9, 0.9], [0.1, 0.1]], 0, Behaviour.SCORES),
            ([[0, 0], [0, 0]], 0, Behaviour.SCORES),
            ([[-0.1, 1.1], [0.5, 0.5]], 0, Behaviour.LOGITS),
            ([[-5, -7], [-1, -2]], 0, Behaviour.LOGITS),
            ([[3, 9], [2, 8]], 0, Behaviour.FEATURES),
            ([[0, 1.01], [0.5, 0.5]], 0, Behaviour.FEATURES),
            # Of 8 bits: each of 100 values may be off by half a step.
            ([[1 / 256] * 100], 1 / 256, Behaviour.SCORES),
            ([[2 / 256] * 100], 1 / 256, Behaviour.SCORES),
            ([[2 / 256] * 110], 1 / 256, Behaviour.PROBABILITIES),
            ([[2 / 256] * 110], 0, Behaviour.SCORES),
        ],
    )
    def test_on_values(self, rows: list[list[float]], step: float, expected: Behaviour) -> None:
        assert behaviour(np.array(rows, np.float32), step) is expected


class TestStandin:
    def test_takes_the_classifier(self, standin_dir: Path) -> None:
        choice = choose(load(standin_dir))
        kind = Behaviour.PROBABILITIES
        assert chosen(choice) == ("image_classifier", "image_classifier", kind, False)
        assert (choice.height, choice.width, choice.candidate.classes) == (64, 64, 16)
        assert choice.why == (
            "its rows are never negative and sum to 1 (3 vector outputs were tried, 2 of them the"
            " same tensor)"
        )
        assert str(choice.candidate) == (
            "--signature image_classifier --output-key image_classifier  (16 values, probabilities)"
        )

    def test_what_it_declares(self, standin_dir: Path) -> None:
        facts = load(standin_dir).facts
        assert facts.image_size == (64, 64)
        assert facts.standin is not None
        assert facts.standin.startswith("A stand-in with random, untrained weights")
        assert facts.reference == f"TensorFlow {tf.__version__}"
        assert (facts.quantised, facts.noisy) == (False, False)
        names = [signature.name for signature in facts.signatures]
        assert names == ["default", "image_classifier", "image_feature_vector"]

    def test_version_1_gave_logits_and_the_size_may_be_open(self, old_standin_dir: Path) -> None:
        original = load(old_standin_dir)
        taken = next(entry for entry in original.facts.signatures if entry.name == "default")
        assert str(taken.inputs[0]) == "images: float32 [?, ?, ?, 3]"
        choice = choose(original)
        kind = Behaviour.LOGITS
        assert chosen(choice) == ("image_classifier", "image_classifier", kind, True)
        assert (choice.height, choice.width) == (64, 64)  # as its attachment says
        assert "this one is logits: a softmax is added" in choice.why

    def test_overruled(self, standin_dir: Path) -> None:
        choice = choose(load(standin_dir), signature="default")
        assert chosen(choice)[:2] == ("default", "default")
        assert choice.why.startswith("named by you; its rows are never negative")

    def test_overruled_with_what_is_not_there(self, standin_dir: Path) -> None:
        original = load(standin_dir)
        options = [
            "--signature default --output-key default  (16 values, probabilities)",
            "--signature image_classifier --output-key image_classifier"
            "  (16 values, probabilities)",
            "--signature image_feature_vector --output-key default  (128 values, features)",
        ]
        fails(original, unclear("there is no output top / *", *options), signature="top")
        fails(original, unclear("there is no output * / top", *options), output_key="top")

    def test_a_number_of_classes_is_a_preference(self, standin_dir: Path) -> None:
        assert choose(load(standin_dir), classes=17).candidate.classes == 16

    def test_feature_vector_named_by_the_user_gets_a_softmax(self, standin_dir: Path) -> None:
        choice = choose(load(standin_dir), signature="image_feature_vector")
        assert chosen(choice) == ("image_feature_vector", "default", Behaviour.FEATURES, True)
        assert choice.why.startswith("named by you; it behaves as features: a softmax is added")

    def test_the_key_logits_may_hold_probabilities(self, frozen_dir: Path) -> None:
        choice = choose(load(frozen_dir))
        kind = Behaviour.PROBABILITIES
        assert chosen(choice) == ("image_classifier", "logits", kind, False)


class TestSavedModels:
    def test_serving_default(self, saved: Callable[..., Module]) -> None:
        choice = choose(
            saved(serving_default=(lambda images: {"p": tf.nn.softmax(scores(images))}, [IMAGES]))
        )
        assert chosen(choice) == ("serving_default", "p", Behaviour.PROBABILITIES, False)
        assert (choice.height, choice.width, choice.candidate.classes) == (32, 32, 5)
        assert choice.why == (
            "its rows are never negative and sum to 1 (1 vector outputs were tried)"
        )

    def test_probabilities_before_logits(self, saved: Callable[..., Module]) -> None:
        def head(images: Any) -> dict[str, Any]:
            values = scores(images)
            return {"a_logits": values, "logits": tf.nn.softmax(values)}

        choice = choose(saved(serving_default=(head, [IMAGES])))
        assert chosen(choice)[1:] == ("logits", Behaviour.PROBABILITIES, False)

    def test_logits_named_although_there_are_probabilities(
        self, saved: Callable[..., Module]
    ) -> None:
        def head(images: Any) -> dict[str, Any]:
            return {"raw": scores(images), "p": tf.nn.softmax(scores(images))}

        choice = choose(saved(serving_default=(head, [IMAGES])), output_key="raw")
        assert chosen(choice)[1:] == ("raw", Behaviour.LOGITS, True)
        assert choice.why.startswith("named by you; it behaves as logits: a softmax is added")

    def test_several_heads(self, saved: Callable[..., Module]) -> None:
        def heads(images: Any) -> dict[str, Any]:
            return {
                "genus": tf.nn.softmax(scores(images, 5)),
                "species": tf.nn.softmax(scores(images, 9)),
            }

        original = saved(serving_default=(heads, [IMAGES]), other=(heads, [IMAGES]))
        options = [
            f"--signature {signature} --output-key {key}  ({classes} values, probabilities)"
            for signature in ("other", "serving_default")
            for key, classes in (("genus", 5), ("species", 9))
        ]
        fails(original, unclear("4 different outputs behave as probabilities", *options))
        assert choose(original, output_key="genus").candidate.classes == 5
        assert choose(original, classes=9).candidate.output.key == "species"
        named = choose(original, signature="other", output_key="species").candidate
        assert (named.signature, named.output.key) == ("other", "species")
        fails(
            original,
            unclear("2 different outputs behave as probabilities", *options),
            signature="other",
        )

    def test_heads_of_equal_length_are_still_different(self, saved: Callable[..., Module]) -> None:
        def heads(images: Any) -> dict[str, Any]:
            return {
                "a": tf.nn.softmax(scores(images)),
                "b": tf.nn.softmax(scores(images, seed=1)),
            }

        with pytest.raises(ModuleError, match="2 different outputs behave as probabilities"):
            choose(saved(serving_default=(heads, [IMAGES])))

    def test_features_alone(self, saved: Callable[..., Module]) -> None:
        original = saved(
            serving_default=(lambda images: {"f": tf.abs(scores(images)) + 1}, [IMAGES])
        )
        option = "--signature serving_default --output-key f  (5 values, features)"
        fails(original, unclear("no output behaves as probabilities or as logits", option))

    def test_sigmoid_scores_are_refused_even_when_named(self, saved: Callable[..., Module]) -> None:
        original = saved(
            serving_default=(lambda images: {"s": tf.sigmoid(scores(images))}, [IMAGES])
        )
        option = "--signature serving_default --output-key s  (5 values, scores)"
        text = unclear("no output behaves as probabilities or as logits", option)
        fails(original, text)
        fails(original, text, output_key="s")

    def test_half_precision_is_told_as_float32(self, saved: Callable[..., Module]) -> None:
        def head(images: Any) -> dict[str, Any]:
            return {"p": tf.cast(tf.nn.softmax(scores(images)), tf.float16)}

        taken = choose(saved(serving_default=(head, [IMAGES]))).candidate
        assert taken.values.dtype == np.float32
        assert taken.output.dtype == "float16"

    def test_other_outputs_are_passed_over(self, saved: Callable[..., Module]) -> None:
        def head(images: Any) -> dict[str, Any]:
            best = tf.math.top_k(tf.nn.softmax(scores(images)), 2)
            return {
                "classes": tf.gather(tf.constant(list("abcde")), best.indices),
                "indices": best.indices,
                "constant": tf.constant([[0.5, 0.5]]),
                "p": tf.nn.softmax(scores(images)),
            }

        choice = choose(saved(serving_default=(head, [IMAGES])))
        assert choice.candidate.output.key == "p"
        assert "(1 vector outputs were tried)" in choice.why

    def test_a_fixed_batch(self, saved: Callable[..., Module]) -> None:
        three = tf.TensorSpec([3, 32, 32, 3], tf.float32, NAME)
        original = saved(
            serving_default=(lambda images: {"p": tf.nn.softmax(scores(images))}, [three])
        )
        values = choose(original).candidate.values
        assert values.shape == (8, 5)
        assert len(np.unique(values, axis=0)) == 8  # no picture's answer stands in for another's

    def test_an_output_that_is_not_finite(self, saved: Callable[..., Module]) -> None:
        original = saved(
            serving_default=(lambda images: {"p": tf.math.log(scores(images))}, [IMAGES])
        )
        fails(
            original,
            "the output p of the signature serving_default is not finite: the weights are damaged",
        )


class TestImageSize:
    @pytest.fixture
    def original(self, saved: Callable[..., Module]) -> Module:
        def head(images: Any) -> dict[str, Any]:
            flat = tf.reshape(images, [-1, 8 * 16 * 3])
            return {"p": tf.nn.softmax(tf.linalg.matmul(flat, tf.ones([8 * 16 * 3, 4])))}

        return saved(serving_default=(head, [OPEN]))

    def test_must_be_given_where_it_is_open(self, original: Module) -> None:
        fails(
            original,
            "the image size of 'images' is open and the module has no ImageModuleInfo attachment;"
            " give it with --image-size HEIGHTxWIDTH",
        )

    def test_given(self, original: Module) -> None:
        choice = choose(original, size=(8, 16))
        assert (choice.height, choice.width, choice.candidate.classes) == (8, 16, 4)

    def test_given_wrongly(self, original: Module) -> None:
        with pytest.raises(
            ModuleError,
            match=r"model: the signature serving_default does not run on pictures of 9x17: Input "
            r"to reshape is a tensor with \d+ values, but the requested shape requires a multiple",
        ) as caught:
            choose(original, size=(9, 17))
        assert "\n" not in str(caught.value)

    def test_given_so_that_pictures_run_into_each_other(self, original: Module) -> None:
        """8 pictures of 9x16 make 9 of 8x16: nine answers to eight pictures."""
        with pytest.raises(ModuleError, match="it has no output with one vector a picture"):
            choose(original, size=(9, 16))

    def test_half_open(self, saved: Callable[..., Module]) -> None:
        half = tf.TensorSpec([None, 24, None, 3], tf.float32, NAME)
        original = saved(
            serving_default=(lambda images: {"p": tf.nn.softmax(scores(images))}, [half])
        )
        choice = choose(original, size=(99, 40))
        assert (choice.height, choice.width) == (24, 40)

    def test_what_the_module_says_counts_more(self, old_standin_dir: Path) -> None:
        choice = choose(load(old_standin_dir), size=(32, 32))
        assert (choice.height, choice.width) == (64, 64)


class TestNoImageClassifier:
    def lacks(self, original: Module, what: str, listing: str) -> None:
        fails(original, f"this is no image classifier: it has {what}; it has:\n  {listing}")

    NO_IMAGES = "no signature that takes images (one float input of shape [N, height, width, 3])"

    def test_a_text_module(self, saved: Callable[..., Module]) -> None:
        def head(text: Any) -> dict[str, Any]:
            return {"p": tf.one_hot(tf.strings.to_hash_bucket_fast(text, 4), 4)}

        original = saved(serving_default=(head, [tf.TensorSpec([None], tf.string, "text")]))
        self.lacks(
            original, self.NO_IMAGES, "serving_default(text: string [?]) -> p: float32 [?, 4]"
        )

    @pytest.mark.parametrize(
        ("spec", "shown"),
        [
            (tf.TensorSpec([None, 32, 32, 3], tf.uint8, NAME), "uint8 [?, 32, 32, 3]"),
            (tf.TensorSpec([None, 32, 32, 3], tf.float64, NAME), "float64 [?, 32, 32, 3]"),
            (tf.TensorSpec([None, 32, 32, 1], tf.float32, NAME), "float32 [?, 32, 32, 1]"),
            (tf.TensorSpec([32, 32, 3], tf.float32, NAME), "float32 [32, 32, 3]"),
            (tf.TensorSpec(None, tf.float32, NAME), "float32 of unknown shape"),
        ],
    )
    def test_another_input(
        self, spec: tf.TensorSpec, shown: str, saved: Callable[..., Module]
    ) -> None:
        def head(images: Any) -> dict[str, Any]:
            mean = tf.reduce_mean(tf.cast(images, tf.float32))
            return {"p": tf.fill([1, 4], mean)}

        original = saved(serving_default=(head, [spec]))
        self.lacks(
            original, self.NO_IMAGES, f"serving_default(images: {shown}) -> p: float32 [1, 4]"
        )

    def test_an_input_too_many(self, saved: Callable[..., Module]) -> None:
        def head(images: Any, training: Any) -> dict[str, Any]:
            return {"p": tf.nn.softmax(scores(images) * tf.cast(training, tf.float32))}

        flag = tf.TensorSpec([], tf.bool, "training")
        original = saved(serving_default=(head, [IMAGES, flag]))
        self.lacks(
            original,
            self.NO_IMAGES,
            "serving_default(images: float32 [?, 32, 32, 3], training: bool [])"
            " -> p: float32 [?, 5]",
        )

    def test_it_is_passed_over_where_another_signature_fits(
        self, saved: Callable[..., Module]
    ) -> None:
        def bytes_head(images: Any) -> dict[str, Any]:
            return {"p": tf.nn.softmax(scores(tf.cast(images, tf.float32) / 255))}

        levels = tf.TensorSpec([None, 32, 32, 3], tf.uint8, NAME)
        original = saved(
            a_bytes=(bytes_head, [levels]),
            floats=(lambda images: {"p": tf.nn.softmax(scores(images))}, [IMAGES]),
        )
        assert choose(original).candidate.signature == "floats"

    def test_images_to_images(self, saved: Callable[..., Module]) -> None:
        original = saved(serving_default=(lambda images: {"out": images * 2}, [IMAGES]))
        self.lacks(
            original,
            "no output with one vector a picture, of shape [N, classes]",
            "serving_default(images: float32 [?, 32, 32, 3]) -> out: float32 [?, 32, 32, 3]",
        )

    def test_no_signature_at_all(self, tmp_path: Path) -> None:
        tf.saved_model.save(tf.Module(), str(tmp_path / "model"))
        self.lacks(load(tmp_path / "model"), self.NO_IMAGES, "no signature")


class TestAttachments:
    def altered(self, module_dir: Path, folder: Path, *entries: bytes) -> Path:
        """A copy of the module whose collection of attachments is this."""
        shutil.copytree(module_dir, folder)
        saved = saved_model_pb2.SavedModel()
        saved.ParseFromString((module_dir / "saved_model.pb").read_bytes())
        collection = saved.meta_graphs[0].collection_def[attachments.COLLECTION].bytes_list
        assert len(collection.value) == 2
        collection.value[:] = entries
        (folder / "saved_model.pb").write_bytes(saved.SerializeToString())
        return folder

    @pytest.mark.parametrize(
        "entry",
        [
            b"\xff\xff\xff",
            attachments.encode(attachments.IMAGE_MODULE_INFO, b"\xff\xff\xff"),
            attachments.encode(attachments.STANDIN, b"\xff not UTF-8"),
        ],
    )
    def test_damaged(self, entry: bytes, standin_dir: Path, tmp_path: Path) -> None:
        folder = self.altered(standin_dir, tmp_path / "module", entry)
        text = re.escape(f"{folder}: an attachment in saved_model.pb is damaged: ")
        with pytest.raises(ModuleError, match=f"^{text}\\S"):
            load(folder)

    @pytest.mark.parametrize(
        "entries",
        [
            [],
            [attachments.encode("someone's own", b"\xff\xff")],
            [attachments.encode(attachments.IMAGE_MODULE_INFO, b"")],
            [
                attachments.encode(
                    attachments.IMAGE_MODULE_INFO, attachments.image_module_info(64, 0)
                )
            ],
        ],
    )
    def test_without_a_size(
        self, entries: list[bytes], old_standin_dir: Path, tmp_path: Path
    ) -> None:
        original = load(self.altered(old_standin_dir, tmp_path / "module", *entries))
        assert (original.facts.image_size, original.facts.standin) == (None, None)
        with pytest.raises(ModuleError, match="give it with --image-size HEIGHTxWIDTH"):
            choose(original)

    def test_sides_that_differ(self, old_standin_dir: Path, tmp_path: Path) -> None:
        info = attachments.encode(
            attachments.IMAGE_MODULE_INFO, attachments.image_module_info(32, 96)
        )
        choice = choose(load(self.altered(old_standin_dir, tmp_path / "module", info)))
        assert (choice.height, choice.width) == (32, 96)
