"""The ``esfeed`` command: its options, and the one place that maps errors to exit codes.

Exit codes: 0 success, 1 failure, 2 wrong usage or settings, 3 partial failure (the output names what failed).
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import click

from esfeed import __version__
from esfeed.cli.lazy_group import CommandRef, LazyGroup
from esfeed.errors import ConfigError, EsfeedError

WAYS = {
    "run": CommandRef("esfeed.cli.feed", "run", "Follow all watches and deliver until stopped."),
    "poll": CommandRef("esfeed.cli.feed", "poll", "Poll each watch once, deliver, and exit: for cron."),
    "backfill": CommandRef("esfeed.cli.backfill", "backfill", "Send every document since a time, as read events."),
    "reconcile": CommandRef(
        "esfeed.cli.feed",
        "reconcile",
        "Compare all ids and versions, and deliver what differs.",
    ),
    "status": CommandRef("esfeed.cli.look", "status", "Show the state of every watch and sink."),
    "events": CommandRef("esfeed.cli.look", "events", "Show the log: as text on a terminal, as CloudEvents elsewhere."),
    "dead": CommandRef("esfeed.cli.dead", "dead", "List dead events; with SINK and POSITION, show one whole."),
    "redrive": CommandRef("esfeed.cli.dead", "redrive", "Send dead events again: one, those of a sink, or all."),
    "check": CommandRef("esfeed.cli.look", "check", "Check settings, clusters, watches and sinks; change nothing."),
    "sinks": CommandRef("esfeed.cli.sinks", "sinks", "List, rename or forget sinks."),
    "token": CommandRef("esfeed.cli.token", "token", "Manage the tokens of readers over HTTP."),
    "demo": CommandRef("esfeed.cli.demo", "demo", "Show a feed at work in half a minute, without settings."),
}


@click.group(
    cls=LazyGroup, ways=WAYS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, "-V", "--version", message="esfeed %(version)s")
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    default=Path("esfeed.toml"),
    show_default=True,
    envvar="ESFEED_CONFIG",
    show_envvar=True,
    help="The settings file.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    envvar="ESFEED_LOG_LEVEL",
    help="The lowest level to log.",
)
@click.option(
    "--log-format",
    type=click.Choice(["auto", "console", "json"]),
    default="auto",
    show_default=True,
    envvar="ESFEED_LOG_FORMAT",
    help="Format of logs on standard error; auto: text on a terminal, JSON lines elsewhere.",
)
@click.pass_context
def cli(context: click.Context, config: Path, log_level: str, log_format: str) -> None:
    """A change feed for Elasticsearch and OpenSearch.

    It polls indices, never writes to them, and sends created, updated and deleted events to sinks.
    """
    from esfeed.cli.logs import configure  # imports structlog, which help and completion do not need

    configure(log_level, log_format)
    context.obj = config


def main() -> None:
    """Runs the command, and prints an error in one line with how to correct it."""
    # Documents come by the ten thousand and contain no cycles: a collection after every 700 of them took a tenth of the
    # time of a backfill.
    gc.set_threshold(50_000, 20, 50)
    try:
        sys.exit(_run())
    finally:
        # Otherwise the interpreter searches all imported modules for cycles when it exits: a fifth of the time of a
        # poll.
        gc.freeze()


def _run() -> int:
    """Runs the command; returns its exit code."""
    try:
        code = cli.main(prog_name="esfeed", standalone_mode=False)
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except EsfeedError as error:
        from esfeed.cli.output import fail  # imports rich, which a successful command may not need

        fail(error)
        return 2 if isinstance(error, ConfigError) else 1
    except BrokenPipeError:
        return 1
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    main()
