"""What a request must pass before any of it is read: the key, a free place among the active requests, and limits on its
bytes and time.
"""

import asyncio
import hmac
import json
import time
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.responses import Response

from speechlm.server.metrics import Metrics

RETRY_SEC = 2  # what a client is told to wait when all places are taken
BODY_SEC = 60.0  # without a further byte of the body
COUNTED = (
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    "/v1/audio/speech",
    "/v1/models",
    "/health",
    "/metrics",
)


@dataclass(frozen=True)
class Limits:
    """`max_active` requests are read, waiting or being worked on at a time, of at most `max_bytes` each; `max_batch`
    are decoded together.
    """

    max_active: int = 64
    max_batch: int = 16
    max_bytes: int = 25_000_000


def error_response(status: int, message: str, code: str | None = None, **headers: str) -> Response:
    """Return an error as OpenAI's clients read it. Characters beyond ASCII are escaped: some that clients send can't be
    written.
    """
    kind = "invalid_request_error" if status < 500 else "server_error"
    content = json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})
    return Response(content, status, headers, media_type="application/json")


class Gate:
    """ASGI middleware. Without a key everybody is let in; health and metrics need none."""

    def __init__(self, app, key: str | None, limits: Limits, metrics: Metrics):
        self._app, self._key, self._limits, self._metrics = app, key, limits, metrics

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began, path = time.monotonic(), scope["path"]
        status = 500

        async def counting_send(message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._admit(scope, receive, counting_send)
        finally:
            self._metrics.count_request(path if path in COUNTED else "other", status, time.monotonic() - began)

    async def _admit(self, scope, receive, send) -> None:
        refused = self._refusal(scope)
        if refused:
            return await refused(scope, receive, send)
        if not scope["path"].startswith("/v1/audio/"):
            return await self._app(scope, self._bounded(receive), send)
        self._metrics.active += 1  # on the event loop's thread only
        try:
            await self._app(scope, self._bounded(receive), send)
        finally:
            self._metrics.active -= 1

    def _refusal(self, scope) -> Response | None:
        """Return the answer to a request that is not let in."""
        headers = dict(scope["headers"])
        if self._key and scope["path"].startswith("/v1/"):
            if not hmac.compare_digest(headers.get(b"authorization", b""), b"Bearer " + self._key.encode()):
                return error_response(
                    401, "the key is missing or wrong; expected the header Authorization: Bearer KEY", "invalid_api_key"
                )
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and len(length) < 20 and int(length) > self._limits.max_bytes:
            return error_response(413, self._too_large())
        if scope["path"].startswith("/v1/audio/") and self._metrics.active >= self._limits.max_active:
            message = f"{self._metrics.active} requests are waiting already. Try again in {RETRY_SEC} s."
            return error_response(429, message, "queue_full", **{"Retry-After": str(RETRY_SEC)})
        return None

    def _too_large(self) -> str:
        return (
            f"the request is larger than {self._limits.max_bytes / 1e6:g} MB. Send a shorter recording, or flac, mp3 or"
            " opus."
        )

    def _bounded(self, receive):
        """Return `receive` that ends a body that is too large, or doesn't come."""
        read = 0

        async def bounded():
            nonlocal read
            if read < 0:  # the body is complete: what is awaited is the client's leaving
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), BODY_SEC)
            except TimeoutError:
                raise HTTPException(408, f"no byte of the request came for {BODY_SEC:g} s") from None
            read += len(message.get("body", b""))
            if read > self._limits.max_bytes:
                raise HTTPException(413, self._too_large())
            if not message.get("more_body"):
                read = -1
            return message

        return bounded
