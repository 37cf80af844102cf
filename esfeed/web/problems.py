"""Error answers in one format (RFC 9457, ``application/problem+json``).

https://www.rfc-editor.org/rfc/rfc9457
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse


class Problem(Exception):
    """Ends a request with ``status``. ``detail`` says what is wrong and how to correct it; ``more`` adds members."""

    def __init__(
        self, status: int, detail: str, more: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.more = more or {}
        self.headers = headers or {}

    def response(self) -> JSONResponse:
        """The answer."""
        body = {"title": HTTPStatus(self.status).phrase, "status": self.status, "detail": self.detail, **self.more}
        return JSONResponse(body, self.status, dict(self.headers), "application/problem+json")


def unauthorized(detail: str) -> Problem:
    """401, with ``detail`` on what to send."""
    return Problem(401, detail, headers={"www-authenticate": 'Bearer realm="esfeed"'})
