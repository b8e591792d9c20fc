"""Requests in: bodies of bounded size and time, and the pictures in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from fungi_onnx.server.engine import GoneError, Picture
from fungi_onnx.server.metrics import Metrics
from fungi_onnx.server.problems import ProblemError, bad_request, busy, too_large
from fungi_onnx.server.settings import Settings


class Bodies:
    """Reads the requests' bodies into memory, of which they may have so much together."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._rejected = metrics.rejected
        self._held = 0
        metrics.watch("fungi_onnx_pending_bytes", "Of all bodies in memory.", lambda: self._held)

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """A request's body, which counts as held until the context is left.

        Raises:
            ProblemError: 413, larger than a body may be; 408, it does not arrive in time; 415, it
                is compressed; 503, all bodies together are larger than they may be.
            GoneError: the client went before its end.
        """
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise ProblemError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "UnsupportedEncoding",
                "Compressed bodies are not taken; pictures are compressed already.",
            )
        limit = self._settings.max_bytes
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            raise self._too_large(int(length))
        parts: list[bytes] = []
        size = 0
        try:
            try:
                async with asyncio.timeout(self._settings.timeout):
                    async for part in request.stream():
                        size += len(part)
                        self._held += len(part)
                        parts.append(part)
                        self._check(size)
            except TimeoutError:
                self._rejected.labels("slow").inc()
                raise ProblemError(
                    HTTPStatus.REQUEST_TIMEOUT,
                    "TooSlow",
                    f"The body did not arrive within {self._settings.timeout:g} seconds.",
                ) from None
            except ClientDisconnect:
                raise GoneError from None
            yield b"".join(parts) if len(parts) != 1 else parts[0]
        finally:
            self._held -= size

    def _check(self, size: int) -> None:
        if size > self._settings.max_bytes:
            raise self._too_large(size)
        if self._held > self._settings.max_pending_bytes:
            self._rejected.labels("memory").inc()
            raise busy("Too many large requests are arriving; try again.")

    def _too_large(self, size: int) -> ProblemError:
        self._rejected.labels("size").inc()
        return too_large(
            f"The body has {size:,} bytes or more; the limit is {self._settings.max_bytes:,}."
        )


def is_form(request: Request) -> bool:
    """True if the body is ``multipart/form-data``; else the body is itself a picture."""
    kind = request.headers.get("content-type", "").partition(";")[0]
    return kind.strip().lower() == "multipart/form-data"


async def pictures_of(request: Request, body: bytes, max_files: int) -> list[Picture]:
    """The files of a form, in their order.

    Raises:
        ProblemError: 400, not such a form, or one without files; 413, more than ``max_files``.
    """

    async def whole() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(request.headers, whole(), max_files=max_files, max_fields=16)
    parser.spool_max_size = len(body) + 1  # in memory: the file system may be read-only
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise too_large(f"A request may have {max_files} files, this one has more.") from None
        raise bad_request(f"The form cannot be read: {error.message.rstrip('.')}.") from None
    except ValueError as error:  # a boundary that there cannot be
        raise bad_request(f"The form cannot be read: {error}.") from None
    try:
        files = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
        if not files:
            raise bad_request(
                "There is no file in the form; send each as a part with a filename, as"
                " curl -F file=@photo.jpg does."
            )
        return [Picture(await file.read(), file.filename) for file in files]
    finally:
        await form.close()
