"""/v2: the Open Inference Protocol, so that clients of KServe and Triton work unchanged.

https://github.com/kserve/open-inference-protocol, with Triton's extension for binary tensors.
"""

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from pydantic import ValidationError

from fungi_onnx import __version__
from fungi_onnx.model_file import INPUT, OUTPUT
from fungi_onnx.server import problems, schemas
from fungi_onnx.server.body import Bodies
from fungi_onnx.server.engine import Engine
from fungi_onnx.server.problems import ProblemError, bad_request
from fungi_onnx.server.protocol import gone

VERSION = "1"
HEADER_LENGTH = "Inference-Header-Content-Length"


def routes(engine: Engine, bodies: Bodies) -> APIRouter:
    """The routes of /v2."""
    router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])
    model, classes = engine.classifier.model, len(engine.classifier.labels)

    # For the document alone: another name is unknown, and not a wrong parameter.
    Name = Annotated[str, Path(json_schema_extra={"enum": [model.slug]})]  # noqa: N806

    def known(name: str, version: str = VERSION) -> None:
        if (name, version) != (model.slug, VERSION):
            raise ProblemError(
                HTTPStatus.NOT_FOUND,
                "UnknownModel",
                f"There is no model '{name}' of version {version} here, only '{model.slug}' of"
                f" version {VERSION}.",
            )

    @router.get("", responses={200: {"model": schemas.ServerMetadata}})
    async def server_metadata() -> JSONResponse:
        """The server's name, version and extensions."""
        return JSONResponse(
            {"name": "fungi-onnx", "version": __version__, "extensions": ["binary_tensor_data"]}
        )

    @router.get("/health/live", responses={200: {"model": schemas.Live}})
    async def live() -> JSONResponse:
        """Whether the process is alive."""
        return JSONResponse({"live": True})

    @router.get(
        "/health/ready",
        responses={200: {"model": schemas.Ready}, **problems.documented(503)},
    )
    async def ready() -> JSONResponse:
        """Whether answers are given: the golden probes have passed on this machine."""
        engine.check_ready()
        return JSONResponse({"ready": True})

    def on_model(tail: str, method: str = "GET", **options: Any) -> Callable[..., Any]:
        """A route of the model, with and without its version in the path."""

        def add(endpoint: Callable[..., Any]) -> Callable[..., Any]:
            for path in ("/models/{name}", "/models/{name}/versions/{version}"):
                router.add_api_route(path + tail, endpoint, methods=[method], **options)
            return endpoint

        return add

    @on_model("", responses={200: {"model": schemas.ModelMetadata}, **problems.documented(404)})
    async def model_metadata(name: Name, version: str = VERSION) -> JSONResponse:
        """The model's tensors."""
        known(name, version)
        return JSONResponse(
            {
                "name": model.slug,
                "versions": [VERSION],
                "platform": "onnxruntime_onnx",
                "inputs": [
                    {
                        "name": INPUT,
                        "datatype": "FP32",
                        "shape": [-1, model.height, model.width, 3],
                    }
                ],
                "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, classes]}],
            }
        )

    @on_model("/ready", responses={200: {"model": schemas.Ready}, **problems.documented(404, 503)})
    async def model_ready(name: Name, version: str = VERSION) -> JSONResponse:
        """Whether the model's answers are given."""
        known(name, version)
        engine.check_ready()
        return JSONResponse({"name": model.slug, "ready": True})

    @on_model(
        "/infer",
        "POST",
        responses={
            200: {
                "model": schemas.InferResponse,
                "description": "With binary outputs their bytes follow the JSON.",
            },
            **problems.documented(400, 404, 408, 413, 415, 503),
        },
        openapi_extra=_REQUEST,
    )
    async def infer(
        request: Request,
        name: Name,
        version: str = VERSION,
        header_length: Annotated[
            str,
            Header(
                alias=HEADER_LENGTH,
                description="Bytes of the JSON, where binary tensors follow it.",
            ),
        ] = "",
    ) -> Response:
        """Tensors in, probabilities out: RGB, [N, height, width, 3] in [0, 1]."""
        known(name, version)
        async with bodies.read(request) as body:

            def job() -> Response:
                asked, images = _parse(body, header_length)
                try:
                    probabilities = engine.infer(images)
                except ValueError as error:
                    raise bad_request(f"{error}.") from None
                return _respond(model.slug, asked, probabilities)

            return await engine.work(job, gone(request))

    return router


def _parse(body: bytes, header_length: str) -> tuple[schemas.InferRequest, NDArray[Any]]:
    """The request and its tensor, float32 [N, height, width, 3].

    Raises:
        ProblemError: 400, it is not as the protocol says.
    """
    end = len(body)
    if header_length:
        if not header_length.isdecimal() or int(header_length) > len(body):
            raise bad_request(
                f"{HEADER_LENGTH} is {header_length!r}, but the body has {len(body)} bytes."
            )
        end = int(header_length)
    try:
        request = schemas.InferRequest.model_validate_json(body[:end])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise bad_request(f"{where}: {first['msg']}." if where else f"{first['msg']}.") from None
    tensor = request.inputs[0]
    size = tensor.parameters.binary_data_size
    if (size is None) == (tensor.data is None):
        raise bad_request(
            f"{INPUT} needs its values either as data or in binary with binary_data_size."
        )
    count = int(np.prod(tensor.shape, dtype=object))
    if size is not None:
        if size != len(body) - end or size != 4 * count:
            raise bad_request(
                f"{INPUT} of the shape {tensor.shape} has {4 * count} bytes; binary_data_size is"
                f" {size}, and {len(body) - end} bytes follow the JSON."
            )
        return request, np.frombuffer(body, "<f4", offset=end).reshape(tensor.shape)
    try:
        values = np.asarray(tensor.data, np.float32).reshape(-1)
    except (TypeError, ValueError, OverflowError):
        raise bad_request(f"The data of {INPUT} are not numbers in a rectangular form.") from None
    if len(values) != count:
        raise bad_request(
            f"{INPUT} of the shape {tensor.shape} has {count} values, not {len(values)}."
        )
    return request, values.reshape(tensor.shape)


def _respond(
    name: str, asked: schemas.InferRequest, probabilities: NDArray[np.float32]
) -> Response:
    binary = asked.parameters.binary_data_output
    if asked.outputs and asked.outputs[0].parameters.binary_data is not None:
        binary = asked.outputs[0].parameters.binary_data
    output: dict[str, Any] = {
        "name": OUTPUT,
        "datatype": "FP32",
        "shape": list(probabilities.shape),
    }
    data = b""
    if binary:
        data = probabilities.astype("<f4").tobytes()
        output["parameters"] = {"binary_data_size": len(data)}
    else:
        output["data"] = probabilities.ravel().tolist()
    answer = {"model_name": name, "model_version": VERSION, "outputs": [output]}
    if asked.id is not None:
        answer["id"] = asked.id
    head = json.dumps(answer, ensure_ascii=False).encode()
    if not binary:
        return Response(head, media_type="application/json")
    return Response(
        head + data, headers={HEADER_LENGTH: str(len(head))}, media_type="application/octet-stream"
    )


_REQUEST = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/InferRequest"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
