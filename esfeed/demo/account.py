"""The summary at the end: events, delays, cost, whether the events match the index; and what to try next."""

from __future__ import annotations

import statistics
from pathlib import Path

from rich.text import Text

from esfeed.demo.demo_index import DemoIndex, EngineClient
from esfeed.demo.ledger import Ledger
from esfeed.demo.replay import Compared, compare
from esfeed.demo.screen import Screen


def sum_up(screen: Screen, ledger: Ledger, where: DemoIndex, client: EngineClient, folder: Path, idle: int) -> bool:
    """Prints the summary; returns whether the events of each route, replayed, match the index. ``idle``: requests."""
    compared = [
        compare("admin", folder / "admin.jsonl", where, client),
        compare("user", folder / "user.jsonl", where, client),
    ]
    screen.say()
    events = ", ".join(f"{screen.ops[op]} {op}" for op in ("read", "created", "updated", "deleted"))
    screen.row("events", events)
    if ledger.delays:
        middle, longest = statistics.median(ledger.delays), max(ledger.delays)
        screen.row("delay", f"p50 {middle:.2f} s, longest {longest:.2f} s, from the acknowledged write to this screen")
        screen.row("", _refresh(where))
    screen.row("idle poll", f"{idle} request{'s' * (idle != 1)}")
    for one in compared:
        screen.row("replayed" if one.role == "admin" else "", _verdict(one), "green" if one.equal else "bold red")
    return all(one.equal for one in compared)


def suggest(screen: Screen, where: DemoIndex, settings: Path | None) -> None:
    """Prints three commands to try; ``settings`` is the file of the feed if it keeps running."""
    screen.say()
    if settings is None:
        screen.say(Text("Try next:", "bold"))
        commands = [
            ("esfeed demo --keep", "keeps it running, for writes of your own"),
            ("esfeed demo --engine http://127.0.0.1:9200", "uses your engine, with an index of its own"),
            ("esfeed --config esfeed.toml check", "checks your settings; shows how to start"),
        ]
    else:
        screen.say(Text("The feed runs until Ctrl-C. Try in another terminal:", "bold"))
        commands = [
            (f"esfeed -c {settings} status", "shows the status of the feed"),
            (f"esfeed -c {settings} events --follow", "shows its log as it grows"),
            (_put(where), "writes a document, which appears here"),
        ]
    screen.suggest(commands)


def _refresh(where: DemoIndex) -> str:
    if where.in_memory:
        return "(this engine shows a write at once; a real one shows it when it refreshes, by default every 1 s)"
    return "(up to 1 s of it until the engine shows a write: its refresh_interval)"


def _verdict(one: Compared) -> str:
    if one.equal:
        return f"the {one.role}'s events give exactly the {one.documents} documents that the index has for {one.role}s"
    wrong = {"missing": one.missing, "left over": one.left_over, "different": one.different}
    named = "; ".join(f"{what}: {', '.join(keys)}" for what, keys in wrong.items() if keys)
    return f"the {one.role}'s events do NOT give what the index has: {named}"


def _put(where: DemoIndex) -> str:
    kind = where.type_of("mine") or "_doc"
    body = """{"name": "mine", "status": "new"}"""
    return f"curl -X PUT {where.url}/{where.index}/{kind}/1 -H content-type:application/json -d '{body}'"
