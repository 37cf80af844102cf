"""What runs alongside a feed if the settings or the command ask for it: the web server, and traces.

Both are extras, so nothing of them is imported before it is needed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click
from pydantic import ValidationError

from esfeed.config.load import Config, HttpSettings
from esfeed.errors import ConfigError
from esfeed.observe.ports import Observer
from esfeed.runtime.factory import App

if TYPE_CHECKING:
    from esfeed.web.process import WebProcess

_WEB = ("prometheus_client", "sse_starlette", "starlette", "uvicorn")
_TRACES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def listening(config: Config, address: str | None) -> HttpSettings | None:
    """How to serve over HTTP: as the settings say, or at ``address`` if given; ``None``: not at all.

    Raises ``ConfigError`` for an invalid address.
    """
    if address is None:
        return config.http
    section = config.http or HttpSettings.model_validate({})
    try:
        return HttpSettings.model_validate({**section.__dict__, "listen": address})
    except ValidationError:
        raise ConfigError(
            "--http", address, "write an address and a port, such as 127.0.0.1:8460, or unix:/path"
        ) from None


def serve(app: App, settings: HttpSettings) -> AbstractContextManager[object]:
    """The web server of a feed, as a context. Raises ``ConfigError`` if its packages are not installed."""
    # Found, not imported: the process of the server imports most of them.
    missing = next((name for name in _WEB if find_spec(name) is None), None)
    if missing is not None:
        raise _not_installed("http", missing, "web")
    from esfeed.web.process import WebProcess

    return _invited(WebProcess(app, settings))


@contextmanager
def _invited(server: WebProcess) -> Iterator[WebProcess]:
    """Serves, and prints a link to the dashboard if a terminal is attached. The link is never logged."""
    with server:
        if sys.stderr.isatty() and (link := server.link()):
            click.echo(f"\n  The dashboard: {link}\n  (valid once, for 15 minutes)\n", err=True)
        yield server


def observers() -> list[Observer]:
    """Traces, if the variables of OpenTelemetry configure a destination. Raises ``ConfigError`` like ``serve``."""
    if not any(os.environ.get(name) for name in _TRACES) or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return []
    try:
        from esfeed.observe.traces import Traces
    except ImportError as error:
        raise _not_installed(_TRACES[0], error.name, "otel") from None
    return [Traces()]


def _not_installed(key: str, module: str | None, extra: str) -> ConfigError:
    hint = f"it needs the Python module {module}, which is not installed; run: pip install 'esfeed[{extra}]'"
    return ConfigError(key, None, hint)
