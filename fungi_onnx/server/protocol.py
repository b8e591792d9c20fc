"""uvicorn's HTTP protocol, with patience that ends: for slow, idle and oversized clients.

uvicorn itself waits for ever for a head to arrive and for a client to read its answer, and takes
heads of any size.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus

from fastapi import Request
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from fungi_onnx.server import problems
from fungi_onnx.server.problems import ProblemError

MAX_HEAD = 32_768  # bytes; browsers and proxies stay below 16 KB
MAX_PIPELINE = 16  # requests that may wait for the answer before them; browsers send none
PATIENCE = 10.0  # seconds for a head, for what follows an early answer, and for reading an answer


def gone(request: Request) -> Callable[[], bool]:
    """Says whether the client of a request has closed its connection; from any thread.

    That is known of a `Protocol`'s connections. Where another server holds them, it cancels the
    request of a client that has gone, and with it what waits for its turn.
    """
    transport: asyncio.Transport | None = request.scope.get("state", {}).get("transport")
    return transport.is_closing if transport is not None else lambda: False


class Protocol(HttpToolsProtocol):
    """A connection; what it waits for its client to send or to read has a timer each."""

    _sending: asyncio.TimerHandle | None = None  # the client: a head, or an unwanted body
    _reading: asyncio.TimerHandle | None = None
    _head = 0  # bytes of the head so far
    _in_head = True
    _in_body = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes the connection, or refuses it if there are too many."""
        self._cycles: list[RequestResponseCycle] = []
        super().connection_made(transport)
        maximum: int = self.app_state["max_connections"]
        if len(self.connections) > maximum:
            self.app_state["rejected"].labels("connections").inc()
            self._refuse(problems.busy(f"{maximum} connections are open, which is the limit."))
            return
        self._wait(self._head_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection."""
        self._wait(None)
        self._reading = self._within_patience(self._reading, None)
        for cycle in self._cycles:  # uvicorn tells only the last of several requests
            cycle.disconnected = not cycle.response_complete
            cycle.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes bytes; a head may have so many."""
        if self.transport.is_closing():
            return
        self._head += len(data)
        super().data_received(data)
        if self._in_head and self._head > MAX_HEAD:
            self._too_much_head()

    def on_message_begin(self) -> None:
        """A head begins, on a new connection or after an answer."""
        super().on_message_begin()
        self.scope["state"]["transport"] = self.transport
        self._in_head = True
        self._wait(self._head_late)

    def on_headers_complete(self) -> None:
        """A head has come; from here on the application watches the time."""
        self._in_head, self._in_body, self._head = False, True, 0
        self._wait(None)
        if self.transport.is_closing():
            return
        if len(self.pipeline) >= MAX_PIPELINE:
            self.app_state["rejected"].labels("pipeline").inc()
            self.transport.abort()
            return
        if sum(len(name) + len(value) for name, value in self.headers) + len(self.url) > MAX_HEAD:
            self._too_much_head()
            return
        super().on_headers_complete()
        self._cycles = [cycle for cycle in self._cycles if not cycle.response_complete]
        self._cycles.append(self.cycle)

    def on_message_complete(self) -> None:
        """A request has come whole."""
        self._in_body = False
        if self.cycle is not None:  # else its head was refused
            self._wait(None)
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer was given; a body that nobody reads any more may still be arriving."""
        super().on_response_complete()
        if self._in_body and not self.transport.is_closing():
            self._wait(self.transport.abort)

    def pause_writing(self) -> None:
        """The client does not read its answer as fast as it is written."""
        super().pause_writing()
        self._reading = self._within_patience(self._reading, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self._reading = self._within_patience(self._reading, None)

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP."""
        self._refuse(problems.bad_request(msg))

    def _wait(self, then: Callable[[], None] | None) -> None:
        self._sending = self._within_patience(self._sending, then)

    def _within_patience(
        self, timer: asyncio.TimerHandle | None, then: Callable[[], None] | None
    ) -> asyncio.TimerHandle | None:
        if timer is not None:
            timer.cancel()
        return None if then is None else self.loop.call_later(PATIENCE, then)

    def _head_late(self) -> None:
        self.app_state["rejected"].labels("slow").inc()
        self._refuse(
            ProblemError(
                HTTPStatus.REQUEST_TIMEOUT,
                "TooSlow",
                f"No request arrived within {PATIENCE:g} seconds.",
            )
        )

    def _too_much_head(self) -> None:
        self.app_state["rejected"].labels("size").inc()
        self._refuse(
            ProblemError(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                "HeadTooLarge",
                f"The request's head has more than {MAX_HEAD} bytes.",
            )
        )

    def _refuse(self, problem: ProblemError) -> None:
        """Answers without the application, and closes."""
        if self.transport.is_closing():
            return
        body = problems.content(problem)
        headers = {
            "content-type": problems.MEDIA_TYPE,
            "content-length": str(len(body)),
            "connection": "close",
            **(problem.headers or {}),
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.transport.write(STATUS_LINE[problem.status] + f"{lines}\r\n".encode() + body)
        self.transport.close()
        self._wait(self.transport.abort)
