"""The command ``demo``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import click
from click.core import ParameterSource
from rich.text import Text

from esfeed.cli.extras import listening, serve
from esfeed.cli.logs import configure
from esfeed.cli.output import out
from esfeed.config.http import DEFAULT_LISTEN
from esfeed.runtime.factory import App


@click.command()
@click.option(
    "--engine",
    metavar="NAME|URL",
    help="Use a real engine instead of one in memory: a URL, or (in a source tree) es2, es5, … es9, os2 or os3.",
)
@click.option("--keep", is_flag=True, help="Keep running until Ctrl-C, to experiment.")
@click.option(
    "--speed",
    type=click.FloatRange(0.1, 100),
    default=1.0,
    show_default=True,
    help="Speed of the simulated cloud.",
)
@click.option(
    "--http",
    metavar="ADDRESS",
    help=f"Also serve the dashboard and a page of servers, for example at {DEFAULT_LISTEN}; use it with --keep.",
)
@click.pass_context
def demo(context: click.Context, engine: str | None, keep: bool, speed: float, http: str | None) -> None:
    """Show a feed at work in half a minute, without settings.

    It simulates a small cloud on an engine in memory, follows it with a real feed, and leaves nothing behind.
    """
    from esfeed.demo.show import show  # imports the whole feed, so only when needed

    above = context.parent
    if above is not None and above.get_parameter_source("log_level") is ParameterSource.DEFAULT:
        # The screen replaces the log; only warnings deserve a line between the events.
        configure("warning", above.params["log_format"])
    companion = None if http is None else partial(_serve, http)
    sys.exit(show(out, engine, keep, speed, companion))


@contextmanager
def _serve(address: str, app: App) -> Iterator[None]:
    settings = listening(app.config, address)
    assert settings is not None
    # Its data is made up, and short-lived.
    with serve(app, settings.model_copy(update={"anonymous": "loopback"})) as server:
        url = getattr(server, "url", "")
        out.print(Text(f"  pages      {url}/ and {url}/demo/instances"))
        yield
