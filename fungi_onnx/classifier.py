"""Pictures in, predictions out: the centre of the house."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fungi_onnx import image as images_
from fungi_onnx import model_path
from fungi_onnx.errors import DeviceUnavailableError, ImageError, ModelFormatError
from fungi_onnx.image import DEFAULT_LIMITS, ImageInput
from fungi_onnx.limits import Limits
from fungi_onnx.model_file import ModelFile
from fungi_onnx.prediction import Prediction, rank
from fungi_onnx.temperature import Temperature, resolve, tempered
from fungi_onnx.views import DEFAULT_VIEW, Crop, View, check_options

if TYPE_CHECKING:
    from fungi_onnx.bound import Images
    from fungi_onnx.many import Finish, Result
    from fungi_onnx.pool import Pool
    from fungi_onnx.session import Session


class FungiClassifier:
    """An image classifier from a self-describing ONNX file.

    Examples:
        >>> classifier = FungiClassifier("fungi.onnx")
        >>> print(classifier.classify("photo.jpg"))

    Attributes:
        path: the model file.
        model: what the file says about itself: name, labels, terms, parity, probes.
        image_size: (height, width) in pixels, what ``hub.get_expected_image_size`` gave.
        labels: one name a class, in id order.
        device: where it really runs: ``"cpu"``, ``"cuda:N"``, or several of these with commas.
        threads: CPU threads used by the session.
        view, crop: how pictures are looked at, see `fungi_onnx.image.to_tensor`.
        temperature: what the answers' probabilities are tempered with; None: they are the model's
            own.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        device: str = "auto",
        threads: int | None = None,
        view: View = DEFAULT_VIEW,
        crop: Crop = "whole",
        limits: Limits = DEFAULT_LIMITS,
        allow_truncated: bool = False,
        temperature: Temperature | None = None,
    ) -> None:
        """Finds and loads the model.

        Args:
            model: a model file, or the name of an installed model wheel; by default the file in
                ``FUNGI_ONNX_MODEL`` or the one installed model wheel.
            device: ``"cpu"``, ``"cuda"``, ``"cuda:N"``, or several GPUs, ``"cuda:0,cuda:1"``.
                Explicit means explicit: there is no silent fallback. ``"auto"`` is CUDA if the
                model answers a golden probe there as it should, else the CPU, which the log then
                says.
            threads: CPU threads; by default one for each CPU that the process may use.
            view: ``"exact"``, the hub module's own recipe, or ``"fast"``, which decodes large
                JPEGs at reduced size.
            crop: ``"whole"`` squeezes the whole picture to the model's size, as the hub module
                does; ``"centre"`` cuts out its middle; ``"letterbox"`` adds black bars.
            limits: what a picture file may be at most: width, height, pixels, bytes.
            allow_truncated: take JPEGs that are cut short or damaged as far as they go.
            temperature: makes the answers of `classify` and `classify_many` less sure (above 1) or
                surer (below 1), see `fungi_onnx.temperature`; ``"calibrated"`` is the one that
                ``fungi-onnx calibrate`` left beside the model. `__call__` stays the hub module's.

        Raises:
            ModelNotFoundError: there is no such model.
            ModelFormatError: the file is not a self-describing model, or it was altered.
            DeviceUnavailableError: the device cannot run the model here.
            CalibrationError: there is no calibration beside the model, or not of this model.
            ValueError: ``device``, ``threads``, ``view``, ``crop`` or ``temperature`` is not one of
                the above.
        """
        check_options(view, crop)
        self.view: View = view
        self.crop: Crop = crop
        self._limits = limits
        self._allow_truncated = allow_truncated
        self.path: Path = model_path.find(model)
        self.temperature: float | None = resolve(temperature, self.path)
        # onnxruntime takes 30 ms to import; a program that only reads pictures does without.
        from fungi_onnx import pool, session

        self._session = pool.load(self.path, device, threads, cache=True)
        self._single: Session | None = None
        self.model: ModelFile = ModelFile.from_metadata(self._session.metadata, str(self.path))
        images, probabilities = self._session.shapes()
        self.model.check_graph(images, probabilities, self._session.uint8, str(self.path))
        self.image_size: tuple[int, int] = (self.model.height, self.model.width)
        self.labels: tuple[str, ...] = self.model.labels
        self.threads: int = self._session.threads
        self.device: str = self._session.device
        if device == "auto" and self.device != "cpu" and (problem := self._problem_on_gpu()):
            session.say_why_not_cuda(problem)
            self._session = session.Session(self.path, "cpu", threads, cache=True)
            self.device = "cpu"

    def classify(
        self, image: ImageInput, top_k: int = 5, *, min_probability: float | None = None
    ) -> Prediction:
        """Classifies one picture.

        Args:
            image: a path, the bytes of a file, a binary file object, or an array: RGB
                [height, width, 3], RGBA [height, width, 4] or grey [height, width]; uint8,
                uint16 or float in [0, 1].
            top_k: how many classes to give, best first; all if there are fewer.
            min_probability: in [0, 1]: if the best match has less, the prediction is ``unsure``.

        Raises:
            ImageError: the picture cannot be read or decoded, or is beyond a limit.
            TypeError, ValueError: ``image``, ``top_k`` or ``min_probability`` is none of the above.
        """
        _check_wishes(top_k, min_probability)
        row = self._session.run(self.prepare(image)[np.newaxis])[0]
        return self.prediction(images_.name_of(image), row, top_k, min_probability)

    def classify_many(
        self,
        images: Iterable[ImageInput],
        top_k: int = 5,
        *,
        workers: int | None = None,
        min_probability: float | None = None,
    ) -> Iterator[Prediction]:
        """Classifies pictures on all cores, lazily and in their order.

        A picture that cannot be used does not stop the others: its prediction carries the error,
        ``ok`` is False and ``top`` raises it. Of ``images`` a few for each worker are read ahead.

        Args:
            images: what `classify` takes, any number of them.
            top_k: how many classes to give for each.
            workers: threads that decode, and on the CPU classify as well; by default as many as
                `threads`. A GPU takes the pictures in batches: a batch waits until it is full.
            min_probability: as of `classify`.

        Raises:
            TypeError, ValueError: ``top_k``, ``workers`` or ``min_probability`` is not one of the
                above.
        """
        _check_wishes(top_k, min_probability)

        def answer(name: str | None, found: NDArray[np.float32] | ImageError) -> Prediction:
            if isinstance(found, ImageError):
                return Prediction(name, (), found)
            return self.prediction(name, found, top_k, min_probability)

        return self._each(images, workers, answer)

    def probabilities_many(
        self, images: Iterable[ImageInput], *, workers: int | None = None
    ) -> Iterator[NDArray[np.float32] | ImageError]:
        """As `classify_many`, but each picture's whole row, float32 [classes], or its error.

        The rows are the model's own: no temperature is used.
        """
        return self._each(images, workers, lambda _, found: found)

    def prediction(
        self,
        image: str | None,
        probabilities: NDArray[np.float32],
        top_k: int = 5,
        min_probability: float | None = None,
    ) -> Prediction:
        """The prediction that `classify` makes of a row of the model's answers.

        Args:
            image: the picture's name.
            probabilities: a row of `__call__`, float32 [classes].
            top_k, min_probability: as of `classify`.
        """
        values: NDArray[np.floating] = probabilities
        if self.temperature is not None:
            values = tempered(probabilities, self.temperature)
        matches = rank(values, self.labels, top_k)
        unsure = None if min_probability is None else bool(matches[0].probability < min_probability)
        return Prediction(image, matches, unsure=unsure)

    def prepare(
        self, image: ImageInput, *, view: View | None = None, crop: Crop | None = None
    ) -> NDArray[np.float32] | NDArray[np.uint8]:
        """Makes the model's input of one picture; `__call__` takes a batch of such.

        Args:
            image: what `classify` takes.
            view, crop: another way to look at this picture than the classifier's own.

        Returns:
            float32 [height, width, 3], RGB in [0, 1]; if the model takes 8 bits (a variant for
            GPUs), the nearest whole levels, uint8.

        Raises:
            ImageError: the picture cannot be read or decoded, or is beyond a limit.
            TypeError, ValueError: ``image``, ``view`` or ``crop`` is none of the above.
        """
        tensor = images_.to_tensor(
            image,
            *self.image_size,
            view=self.view if view is None else view,
            crop=self.crop if crop is None else crop,
            limits=self._limits,
            allow_truncated=self._allow_truncated,
        )
        return images_.to_levels(tensor) if self.model.uint8_input else tensor

    def warm_up(self, most: int) -> None:
        """Runs each batch size up to ``most`` on each device, so that no later run is a first one.

        On a GPU a first run of a size searches for its best convolutions. On the CPU there is
        nothing to be done.
        """
        self._session.warm_up(most)

    @property
    def parallel(self) -> int:
        """How many calls at once keep its devices busy."""
        return self._session.parallel

    def on_each_device(self) -> dict[str, Callable[[Images], NDArray[np.float32]]]:
        """The classifier's own call, for each device alone."""
        sessions = self._session.sessions
        return {one.device: one.run for one in sessions} if sessions[1:] else {self.device: self}

    def _each(
        self, images: Iterable[ImageInput], workers: int | None, finish: Finish[Result]
    ) -> Iterator[Result]:
        """What ``finish`` makes of each picture's name and row, in order; threads call it."""
        from fungi_onnx import many

        if workers is not None and workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        workers = workers or self.threads
        if self.device != "cpu":
            return many.in_batches(images, self.prepare, self._session, finish, workers)
        session = self._session_for(workers)
        return many.one_by_one(images, self.prepare, session, finish, workers)

    def _problem_on_gpu(self) -> str:
        """Why the GPU that was found had better not be used; empty if a golden probe passes."""
        from fungi_onnx import selftest

        try:
            report = selftest.run(self, most=1)
        except DeviceUnavailableError as error:
            return str(error)
        problems = [result.problem for result in report.results if result.problem is not None]
        return f"{self.device} answers wrongly: {problems[0]}" if problems else ""

    def _session_for(self, workers: int) -> Session | Pool:
        """What several threads run at once: one session, with a single thread for each run.

        Measured on 12-megapixel photos and two cores: 35 a second, with a session of its own for
        each worker 36; with one session of two threads, which the workers fight for, 25.
        """
        if workers == 1 or self.threads == 1:
            return self._session
        if self._single is None:
            from fungi_onnx.session import Session

            single = Session(self.path, "cpu", 1, cache=True)
            if single.metadata != self._session.metadata:
                raise ModelFormatError(
                    f"{self.path} is no longer the file that was loaded; load it again"
                )
            self._single = single
        return self._single

    def __call__(self, images: NDArray[np.floating] | NDArray[np.uint8]) -> NDArray[np.float32]:
        """The hub module's own call.

        Args:
            images: float [N, height, width, 3], RGB in [0, 1], of the model's `image_size`; or
                levels, uint8, if the model takes 8 bits.

        Returns:
            float32 [N, classes]: one probability a class.

        Raises:
            DeviceUnavailableError: the GPU failed.
            TypeError: not a float array.
            ValueError: another shape, or values outside [0, 1].
        """
        images = np.asarray(images)
        levels = images.dtype == np.uint8 and self.model.uint8_input
        if not (levels or np.issubdtype(images.dtype, np.floating)):
            raise TypeError(f"images must be float in [0, 1], not {images.dtype}; divide by 255")
        if images.ndim != 4 or images.shape[1:] != (*self.image_size, 3):
            expected = f"[N, {self.image_size[0]}, {self.image_size[1]}, 3]"
            raise ValueError(f"images must have the shape {expected}, not {list(images.shape)}")
        if len(images) == 0:
            return np.empty((0, len(self.labels)), np.float32)
        if levels:
            return self._session.run(np.ascontiguousarray(images, np.uint8))
        low, high = float(images.min()), float(images.max())
        # A hair beyond the range is rounding; 0..255 is the common mistake. NaN fails as well.
        if not (low >= -0.001 and high <= 1.001):
            raise ValueError(f"images must lie in [0, 1], these lie in [{low:g}, {high:g}]")
        return self._session.run(np.ascontiguousarray(images, np.float32))


def _check_wishes(top_k: int, min_probability: float | None) -> None:
    if isinstance(top_k, bool) or not isinstance(top_k, int):
        raise TypeError(f"top_k must be a whole number, not {type(top_k).__name__}")
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1, not {top_k}")
    if min_probability is not None and not 0 <= min_probability <= 1:
        raise ValueError(f"min_probability must be from 0 to 1, not {min_probability}")
