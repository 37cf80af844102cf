"""What the commands of `scripts/engines` and `scripts/services` have in common: arguments, tables, work in parallel."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from _host import EngineError, say
from _instance import Record, interrupted

_Instance = TypeVar("_Instance")


def parser_of(
    program: str, doc: str | None, names: Collection[str]
) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """The parser of ``program`` (the plural of what it runs), and that of its command ``up``."""
    parser = argparse.ArgumentParser(prog=program, description=(doc or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    verbs = {"up": "start", "down": "end", "status": "show"}
    each = {name: commands.add_parser(name, help=f"{verb} {program}") for name, verb in verbs.items()}
    for name, command in each.items():
        command.add_argument("names", nargs="*", metavar="NAME", help=f"all, or some of {' '.join(names)}")
        command.add_argument("--instance", type=label, metavar="LABEL", help="default: main; status: every one")
        if name != "down":
            command.add_argument("--json", action="store_true", help="the whole records")
        if name != "status":
            command.add_argument("--keep", action="store_true", help="keep data and port over a down and an up")
    each["up"].add_argument("--set", type=setting, action="append", default=[], metavar="KEY=VALUE")
    return parser, each["up"]


def chosen(parser: argparse.ArgumentParser, options: argparse.Namespace, names: Sequence[str]) -> list[str]:
    """The names that a command is for. Ends the program with an error for an unknown one."""
    asked: list[str] = options.names
    if options.command == "up" and not asked:
        parser.error(f"up needs a name: all, or some of {' '.join(names)}")
    if not asked or "all" in asked:
        asked = list(names)
    if unknown := [name for name in asked if name not in names]:
        kind = parser.prog.removesuffix("s")
        parser.error(f"no {kind} {', '.join(unknown)}: choose from {' '.join(names)}")
    return list(dict.fromkeys(asked))


def instances(names: Sequence[str], only: str | None, run: Path) -> Iterator[tuple[str, str]]:
    """(name, label) of each instance; without ``only``: of "main", and of every other that has a folder in ``run``."""
    for name in names:
        yield name, only or "main"
        for folder in sorted(run.glob(f"{name}-*/")) if only is None else ():
            if (other := folder.name.removeprefix(f"{name}-")) != "main":
                yield name, other


def show(records: Sequence[Record], as_json: bool) -> None:
    """Prints what ``status`` found."""
    print(json.dumps(records, indent=1) if as_json else table(records))


def show_urls(records: Sequence[Record], as_json: bool) -> None:
    """Prints what ``up`` started."""
    lines = [json.dumps(records, indent=1)] if as_json else [f"{record['name']} {record['url']}" for record in records]
    for line in lines:
        print(line)


def end_with(program: str, main: Callable[[list[str]], int]) -> None:
    """Runs ``main`` and ends the process with its code, or with what went wrong."""
    try:
        sys.exit(main(sys.argv[1:]))
    except EngineError as error:
        sys.exit(f"{program}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def table(records: Sequence[Record]) -> str:
    """The records as rows, with the columns that a reader looks for."""
    columns = ("name", "instance", "version", "state", "pid", "url")
    rows = [columns, *(tuple(str(record.get(column, "-")) for column in columns) for record in records)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def in_parallel(
    program: str, work: Callable[[_Instance], Record], instances: Sequence[_Instance]
) -> tuple[list[Record], bool]:
    """Does the work for all at once; a failure is told, and keeps none of the others from finishing."""
    with ThreadPoolExecutor(len(instances)) as pool:
        futures: list[Future[Record]] = [pool.submit(work, instance) for instance in instances]
        records, failed = [], False
        try:
            for future in futures:
                try:
                    records.append(future.result())
                except (EngineError, OSError) as error:
                    say(f"{program}: {error}")
                    failed = True
        except KeyboardInterrupt:
            interrupted.set()
            raise
    return records, failed


def setting(text: str) -> tuple[str, str]:
    """KEY=VALUE, taken apart."""
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise argparse.ArgumentTypeError(f"'{text}' is not KEY=VALUE")
    return key, value


def label(text: str) -> str:
    """The name of an instance, which becomes that of a folder."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", text):
        raise argparse.ArgumentTypeError(f"'{text}' may hold only a-z, 0-9 and -")
    return text
