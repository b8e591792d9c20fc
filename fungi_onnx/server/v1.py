"""/v1: pictures in, species out."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from fungi_onnx import __version__
from fungi_onnx.errors import ImageError
from fungi_onnx.limits import Limits
from fungi_onnx.prediction import Prediction
from fungi_onnx.server import problems, schemas
from fungi_onnx.server.body import Bodies, is_form, pictures_of
from fungi_onnx.server.engine import Engine, Look, Picture
from fungi_onnx.server.protocol import gone
from fungi_onnx.server.settings import Settings

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY = {
    "requestBody": {
        "required": True,
        "description": "The picture itself, whatever its content type; or a form with files.",
        "content": {
            "image/*": _BINARY,
            "application/octet-stream": _BINARY,
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                        }
                    },
                    "required": ["file"],
                }
            },
        },
    }
}


def routes(engine: Engine, bodies: Bodies, settings: Settings, limits: Limits) -> APIRouter:
    """The routes of /v1."""
    router = APIRouter(prefix="/v1", tags=["fungi-onnx"])
    card = _card(engine, settings, limits)

    @router.post(
        "/classify",
        summary="Names what is on pictures",
        response_class=JSONResponse,
        responses={
            200: {
                "model": schemas.Answer | schemas.Results,
                "description": "A picture's answer; of a form the answer to each of its files.",
            },
            **problems.documented(400, 408, 413, 415, 503),
            **problems.documented(422, schema="FormProblem"),
        },
        openapi_extra=_BODY,
    )
    async def classify(request: Request, query: Annotated[schemas.LookQuery, Query()]) -> Response:
        """Send a picture as the body, or one or many as files of a form.

        JPEG, PNG, WebP, AVIF, GIF, TIFF, BMP, JPEG 2000. A form is answered with one result for
        each file; a file that cannot be used has its error there. If none can be used, that is the
        request's error.
        """
        look = Look(query.top_k, query.view, query.crop, query.min_probability)
        async with bodies.read(request) as body:
            form = is_form(request)
            pictures = [Picture(body)]
            if form:
                pictures = await pictures_of(request, body, settings.max_files)
            predictions = await engine.classify(pictures, look, gone(request))
        if all(isinstance(prediction.error, ImageError) for prediction in predictions):
            raise _none_usable(predictions, form=form)
        answers = [prediction.to_dict() for prediction in predictions]
        return JSONResponse({"results": answers} if form else answers[0])

    @router.get(
        "/model",
        summary="What the model says about itself",
        response_class=JSONResponse,
        responses={200: {"model": schemas.ModelCard}},
    )
    async def model() -> Response:
        """Its contract, labels, terms and measured parity, and the limits of this server."""
        return JSONResponse(card)

    return router


def _none_usable(predictions: list[Prediction], *, form: bool) -> problems.ProblemError:
    errors = [one.error for one in predictions if isinstance(one.error, ImageError)]
    problem = problems.of_picture(errors[0])
    if form:
        problem.more["results"] = [prediction.to_dict() for prediction in predictions]
        if len(errors) > 1:
            problem.detail = f"None of the {len(errors)} pictures can be used; see results."
            problem.status = HTTPStatus.UNPROCESSABLE_ENTITY
            problem.code = "ImageError"
    return problem


def _card(engine: Engine, settings: Settings, limits: Limits) -> dict[str, Any]:
    classifier = engine.classifier
    return {
        **classifier.model.to_dict(),
        "name": classifier.model.slug,
        "title": classifier.model.name,
        "image_size": classifier.image_size,
        "serving": {
            "fungi_onnx": __version__,
            "device": classifier.device,
            "temperature": classifier.temperature,
            "max_bytes": settings.max_bytes,
            "max_pixels": limits.max_pixels,
            "max_files": settings.max_files,
        },
    }
