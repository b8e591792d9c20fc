"""What every request passes: the token, room for its work, security headers, metrics, the log."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.responses import RedirectResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from fungi_onnx.server import problems
from fungi_onnx.server.engine import Engine, GoneError
from fungi_onnx.server.metrics import Metrics
from fungi_onnx.server.problems import ProblemError
from fungi_onnx.server.settings import Settings

logger = logging.getLogger("fungi_onnx.server")

# https://owasp.org/www-project-secure-headers/
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:;"
        b" connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
)
_NO_STORE = (b"cache-control", b"no-store")
# What needs no token, beside the page's files.
OPEN = ("", "/", "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")


class Gate:
    """The outermost application."""

    def __init__(
        self, app: Starlette, engine: Engine, metrics: Metrics, settings: Settings
    ) -> None:
        """Wraps an application.

        Args:
            app: what requests reach.
            engine: for which every POST is work; where it has no room, they get no further. That
                costs a fifth of finding the route first, and under a flood it is most of the work.
            metrics: counts requests.
            settings: the token, the root path, whether to log.
        """
        self._app = app
        self._paths = {route.path for route in app.routes if isinstance(route, Route)}
        self._engine = engine
        self._metrics = metrics
        self._token = settings.token and settings.token.encode()
        self._root = settings.root_path
        self._log_requests = settings.log_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0
        root = scope["root_path"] = self._root or scope.get("root_path", "")
        # A proxy may pass on the path under which it shows the server, or take it away.
        if not f"{scope['path']}/".startswith(f"{root}/"):
            scope["path"] = root + scope["path"]

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"] = [*message["headers"], *HEADERS]
                if not any(name == b"cache-control" for name, _ in headers):
                    headers.append(_NO_STORE)
            await send(message)

        try:
            self._check_token(scope)
            if scope["method"] == "POST":
                self._engine.check_room()
            if root and scope["path"] == root:  # the page's addresses are relative
                await RedirectResponse(f"{root}/")(scope, receive, answer)
                return
            await self._app(scope, receive, answer)
        except ProblemError as problem:
            await problems.response(scope, problem)(scope, receive, answer)
        except GoneError:
            status = 499  # as nginx counts those who did not wait
            self._metrics.rejected.labels("gone").inc()
        except asyncio.CancelledError:  # SIGTERM came, and the time to finish is over
            if status == 0:
                stopping = problems.busy("The server has stopped.", "Stopping")
                await problems.response(scope, stopping)(scope, receive, answer)
        except Exception:
            failure = problems.failure(scope)
            instance = failure.more["instance"]
            logger.exception("%s %s failed: %s", scope["method"], scope["path"], instance)
            if status == 0:  # else the application has told it already
                await problems.response(scope, failure)(scope, receive, answer)
            status = 500
        finally:
            self._count(scope, status, time.perf_counter() - start)

    def _check_token(self, scope: Scope) -> None:
        path = scope["path"].removeprefix(scope["root_path"])
        if self._token is None or path in OPEN or path.startswith("/page/"):
            return
        given = dict(scope["headers"]).get(b"authorization", b"")
        scheme, _, token = given.partition(b" ")
        # In a time that does not depend on how much of it is right.
        if not (hmac.compare_digest(token.strip(), self._token) and scheme.lower() == b"bearer"):
            raise ProblemError(
                HTTPStatus.UNAUTHORIZED,
                "Unauthorized",
                "This server asks for a token: Authorization: Bearer TOKEN.",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        # The route and not the path, of which clients may think up any number.
        path = scope["path"].removeprefix(scope["root_path"])
        known = path if path in self._paths else "other"
        route = getattr(scope.get("route"), "path", known)
        self._metrics.requests.labels(scope["method"], route, status).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if self._log_requests:
            client = (scope.get("client") or ("-",))[0]
            logger.info(
                "%s %s %s %s %.1f ms",
                client,
                scope["method"],
                scope["path"],
                status,
                seconds * 1e3,
            )
