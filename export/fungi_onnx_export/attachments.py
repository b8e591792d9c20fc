"""The attachments of a TF1 Hub module: named bytes that travel in its MetaGraph.

tensorflow-hub up to 0.15 stored them in the collection ``hub_module_attachments``, each one a
serialised ``ModuleAttachment``; an image module's expected size is the attachment
``image_module_info``, a serialised ``ImageModuleInfo``. tensorflow-hub 0.16 no longer ships these
messages, so they are declared here, field by field as in its ``module_attachment.proto`` and
``image_module_info.proto`` (https://github.com/tensorflow/hub, Apache-2.0).
"""

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

COLLECTION = "hub_module_attachments"
IMAGE_MODULE_INFO = "image_module_info"
STANDIN = "fungi_onnx.standin"  # our own: what a stand-in says of itself

_PACKAGE = "fungi_onnx_export.hub"
_FIELD = descriptor_pb2.FieldDescriptorProto
# message → fields in number order; a type that is not a scalar is a message of this same file.
_MESSAGES: dict[str, dict[str, Any]] = {
    "ModuleAttachment": {"key": _FIELD.TYPE_STRING, "value": _FIELD.TYPE_BYTES},
    "ImageSize": {"image_height": _FIELD.TYPE_UINT32, "image_width": _FIELD.TYPE_UINT32},
    "ImageModuleInfo": {"default_image_size": "ImageSize"},
}


def encode(key: str, value: bytes) -> bytes:
    """One serialised ``ModuleAttachment``, ready for the collection ``hub_module_attachments``."""
    return _serialise(_message("ModuleAttachment")(key=key, value=value))


def decode(data: bytes) -> tuple[str, bytes]:
    """The key and the value of a serialised ``ModuleAttachment``.

    Raises:
        ValueError: ``data`` is not such a message.
    """
    attachment = _parse("ModuleAttachment", data)
    return attachment.key, attachment.value


def image_module_info(height: int, width: int) -> bytes:
    """A serialised ``ImageModuleInfo`` that says which picture size (in pixels) is expected."""
    size = _message("ImageSize")(image_height=height, image_width=width)
    return _serialise(_message("ImageModuleInfo")(default_image_size=size))


def parse_image_module_info(data: bytes) -> tuple[int, int]:
    """The expected (height, width) in pixels from a serialised ``ImageModuleInfo``.

    Both are 0 where the message leaves them out.

    Raises:
        ValueError: ``data`` is not such a message.
    """
    size = _parse("ImageModuleInfo", data).default_image_size
    return size.image_height, size.image_width


def _serialise(message: Any) -> bytes:
    data: bytes = message.SerializeToString(deterministic=True)
    return data


def _parse(name: str, data: bytes) -> Any:
    message = _message(name)()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise ValueError(f"these {len(data)} bytes are not a {name} message: {error}") from error
    return message


@cache
def _message(name: str) -> Any:
    """The message class ``name``."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{_PACKAGE}.{name}"))


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    """A pool of its own: in the default one, an older tensorflow-hub may have the same names."""
    file = descriptor_pb2.FileDescriptorProto(
        name="fungi_onnx_export/hub.proto", package=_PACKAGE, syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field_name, kind) in enumerate(fields.items(), start=1):
            field = message.field.add(name=field_name, number=number, label=_FIELD.LABEL_OPTIONAL)
            if isinstance(kind, str):
                field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                field.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool
