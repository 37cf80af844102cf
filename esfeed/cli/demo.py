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
    help="A real engine instead of one in memory: a url, or (in a source tree) es2, es5, … es9, os2 or os3.",
)
@click.option("--keep", is_flag=True, help="Go on after the end, until Ctrl-C, to try things.")
@click.option(
    "--speed",
    type=click.FloatRange(0.1, 100),
    default=1.0,
    show_default=True,
    help="How many times faster the cloud goes on.",
)
@click.option(
    "--http",
    metavar="ADDRESS",
    help=f"Serve the dashboard and a page of servers, too, such as at {DEFAULT_LISTEN}; best with --keep.",
)
@click.pass_context
def demo(context: click.Context, engine: str | None, keep: bool, speed: float, http: str | None) -> None:
    """Show a feed at work: no settings, no network, half a minute at most.

    A small cloud is played on an engine in memory, and the real feed follows it. Nothing of it stays behind.
    """
    from esfeed.demo.show import show  # with all of the feed, which no other command waits for

    above = context.parent
    if above is not None and above.get_parameter_source("log_level") is ParameterSource.DEFAULT:
        # The screen tells what a log would; only what goes wrong is worth a line between the events.
        configure("warning", above.params["log_format"])
    companion = None if http is None else partial(_serve, http)
    sys.exit(show(out, engine, keep, speed, companion))


@contextmanager
def _serve(address: str, app: App) -> Iterator[None]:
    settings = listening(app.config, address)
    assert settings is not None
    # It shows what it made up, and is gone soon.
    with serve(app, settings.model_copy(update={"anonymous": "loopback"})) as server:
        url = getattr(server, "url", "")
        out.print(Text(f"  pages      {url}/ and {url}/demo/instances"))
        yield
