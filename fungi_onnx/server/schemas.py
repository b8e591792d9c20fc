"""The typed requests and answers, as openapi.json shows them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fungi_onnx.views import DEFAULT_VIEW, Crop, View


class LookQuery(BaseModel):
    """What is wanted of a picture, and how it is to be looked at."""

    model_config = ConfigDict(extra="forbid")

    top_k: Annotated[int, Field(ge=1, description="How many species, best first.")] = 5
    view: Annotated[
        View,
        Field(
            description="exact: the module's own recipe; fast: large JPEGs decoded at reduced size."
        ),
    ] = DEFAULT_VIEW
    crop: Annotated[
        Crop,
        Field(
            description="whole: squeezed to the model's size; centre: the middle only;"
            " letterbox: all of it, with bars."
        ),
    ] = "whole"
    min_probability: Annotated[
        float | None,
        Field(ge=0, le=1, description="If the best match has less, the answer is unsure."),
    ] = None


class Match(BaseModel):
    """A class and how probable the model finds it."""

    id: Annotated[int, Field(ge=0, description="Index of the class in the model's output.")]
    name: str
    probability: Annotated[float, Field(ge=0, le=1, description="The softmax value.")]


class Answer(BaseModel):
    """The most probable classes of one picture."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "image": None,
                    "top": [
                        {"id": 812, "name": "Amanita muscaria", "probability": 0.8731},
                        {"id": 1409, "name": "Amanita regalis", "probability": 0.0714},
                    ],
                }
            ]
        }
    )

    image: Annotated[str | None, Field(description="The file's name in the form, else null.")]
    top: Annotated[list[Match], Field(description="Best first.")]
    unsure: Annotated[
        bool | None,
        Field(description="Whether the best match has less than min_probability, if that is set."),
    ] = None


class PictureError(BaseModel):
    """Why a picture has no answer."""

    type: Annotated[str, Field(examples=["ImageDecodeError"])]
    message: Annotated[str, Field(examples=["cut.jpg: is a JPEG picture that is cut short"])]


class Failure(BaseModel):
    """A picture that cannot be used."""

    image: str | None
    error: PictureError


class Results(BaseModel):
    """One entry for each file of a form, in their order."""

    results: list[Answer | Failure]


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Unprocessable Entity",
                    "status": 422,
                    "detail": "The picture is a JPEG picture that is damaged or cut short.",
                    "code": "ImageDecodeError",
                }
            ]
        },
    )

    type: str
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: Annotated[str, Field(description="For a person.")]
    code: Annotated[str, Field(description="For a program.")]


class FormProblem(Problem):
    """No file of a form could be used; each one's error is in ``results``."""

    results: list[Failure] | None = None


class Labels(BaseModel):
    """How many classes, and whether they have names or only numbers."""

    count: int
    given: bool


class Terms(BaseModel):
    """What the model may be used for, as its publisher's card says."""

    licence: str
    suitable: list[str]
    unsuitable: list[str]
    limits: list[str]


class Serving(BaseModel):
    """How it is served here."""

    fungi_onnx: Annotated[str, Field(description="Version.")]
    device: Annotated[str, Field(examples=["cpu", "cuda:0"])]
    temperature: Annotated[
        float | None,
        Field(description="What probabilities are tempered with; null: they are the model's own."),
    ]
    max_bytes: Annotated[int, Field(description="Of a request's body.")]
    max_pixels: Annotated[int, Field(description="Of a picture.")]
    max_files: Annotated[int, Field(description="Of a form.")]


class ModelCard(BaseModel):
    """What the model file says about itself."""

    name: Annotated[str, Field(description="As in /v2/models/{name}.")]
    title: str
    # "schema" itself is a method of pydantic's models.
    schema_version: Annotated[str, Field(alias="schema", description="Of the file's contract.")]
    source: dict[str, Any]
    image_size: Annotated[list[int], Field(description="[height, width] in pixels.")]
    input: str
    output: str
    precision: str
    labels: Labels
    terms: Terms
    parity: Annotated[dict[str, Any], Field(description="How near it came to its original.")]
    probes: Annotated[int, Field(description="Golden probes that it carries.")]
    tools: dict[str, str]
    created: str
    serving: Serving


class Health(BaseModel):
    """The process is alive."""

    status: Literal["ok"]


class ProbeResult(BaseModel):
    """A golden probe: how far the answer is from the original's."""

    name: str
    difference: float
    log_difference: float | None
    problem: str | None


class Readiness(BaseModel):
    """All golden probes passed on this machine, when the server started."""

    ok: Literal[True]
    device: str
    tolerance: float
    log_tolerance: float | None
    probes: list[ProbeResult]


class ServerMetadata(BaseModel):
    """Open Inference Protocol: the server."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """Open Inference Protocol: a tensor; -1 is an open dimension."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """Open Inference Protocol: a model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class Live(BaseModel):
    """Open Inference Protocol: the server's health."""

    live: bool


class Ready(BaseModel):
    """Open Inference Protocol: the server's health, or a model's."""

    ready: bool


class InferParameters(BaseModel):
    """Of a tensor or a request; of the extensions only binary data is known."""

    model_config = ConfigDict(extra="allow")

    binary_data_size: Annotated[int | None, Field(ge=0)] = None
    binary_data: bool | None = None
    binary_data_output: bool | None = None


class InferInput(BaseModel):
    """A tensor, its values flat or nested, or behind the JSON in binary."""

    name: Literal["images"]
    datatype: Literal["FP32"]
    shape: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=4, max_length=4)]
    parameters: InferParameters = InferParameters()
    data: list[Any] | None = None


class InferRequestedOutput(BaseModel):
    """Which tensor is wanted, and in which form."""

    name: Literal["probabilities"]
    parameters: InferParameters = InferParameters()


class InferRequest(BaseModel):
    """Open Inference Protocol: an inference."""

    id: str | None = None
    parameters: InferParameters = InferParameters()
    inputs: Annotated[list[InferInput], Field(min_length=1, max_length=1)]
    outputs: Annotated[list[InferRequestedOutput], Field(max_length=1)] = []


class InferOutput(BaseModel):
    """A tensor of the answer."""

    name: str
    datatype: str
    shape: list[int]
    data: list[float] | None = None
    parameters: dict[str, Any] | None = None


class InferResponse(BaseModel):
    """Open Inference Protocol: an answer."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[InferOutput]
