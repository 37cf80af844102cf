"""The ``esfeed`` command: its options, and the one place where an error becomes an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 done in part (what failed is named).
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import click

from esfeed import __version__
from esfeed.cli import backfill, dead, demo, feed, look, token
from esfeed.cli.logs import configure
from esfeed.cli.output import fail
from esfeed.errors import ConfigError, EsfeedError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
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
    help="The least level of what is logged.",
)
@click.option(
    "--log-format",
    type=click.Choice(["auto", "console", "json"]),
    default="auto",
    show_default=True,
    envvar="ESFEED_LOG_FORMAT",
    help="Logs go to standard error: as text on a terminal, as JSON lines elsewhere.",
)
@click.pass_context
def cli(context: click.Context, config: Path, log_level: str, log_format: str) -> None:
    """A change feed for Elasticsearch and OpenSearch.

    It polls indices, which it never touches, and brings created, updated and deleted events to sinks.
    """
    configure(log_level, log_format)
    context.obj = config


for command in (
    feed.run,
    feed.poll,
    backfill.backfill,
    feed.reconcile,
    look.status,
    look.events,
    dead.dead,
    dead.redrive,
    look.check,
    token.token,
    demo.demo,
):
    cli.add_command(command)


def main() -> None:
    """Runs the command, and says in one line what went wrong and how to mend it."""
    # What was imported stays, and documents come by the ten thousand and hold no circles: looking for those at every
    # 700 of them took a tenth of a backfill's time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    try:
        code = cli.main(prog_name="esfeed", standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except ConfigError as error:
        fail(error)
        sys.exit(2)
    except EsfeedError as error:
        fail(error)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
