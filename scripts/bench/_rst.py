"""Pieces of reStructuredText that all reports are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Result = dict[str, Any]
JAVA = {"": "compiled all the way"}


def verdict(met: bool) -> str:
    """In a word."""
    return "met" if met else "missed"


def heading(text: str) -> str:
    """Of a section."""
    return f"{text}\n{'-' * len(text)}"


def where(result: Result) -> str:
    """The circumstances and the command, as fields."""
    machine = result["machine"]
    fields = {
        "Command": f"``{result['command']}``",
        "Measured": f"{result['date']} UTC, commit {result['commit']}, Python {result['python']}; load at the "
        f"beginning {result['load_at_begin']}",
        "Machine": f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, Linux {machine['kernel']}",
    }
    if result["engine"]:
        fields["Engine"] = f"{result['engine']}, {JAVA.get(result['engine_java'], result['engine_java'])}"
    return "\n".join(f":{name}: {text}" for name, text in fields.items())


def figure(name: str, what: str) -> str:
    """Both plots; the theme shows one."""
    return "\n\n".join(
        f".. image:: {name}-{theme}.svg\n   :class: only-{theme}\n   :alt: {what}\n   :width: 100%"
        for theme in ("light", "dark")
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], widths: Sequence[int]) -> str:
    """A list-table of plain text."""
    out = [f".. list-table::\n   :header-rows: 1\n   :widths: {' '.join(map(str, widths))}\n"]
    for row in [head, *rows]:
        out += [f"   {'* -' if number == 0 else '  -'} {plain(text)}" for number, text in enumerate(row)]
    return "\n".join(out)


def bullets(items: Iterable[tuple[str, str]]) -> str:
    """Names, and what there is to say of each; nothing where there are none."""
    return "\n".join(f"* {plain(name)}: {plain(text)}" for name, text in items)


def plain(text: str) -> str:
    """Text in which nothing is markup, on one line."""
    text = " ".join(text.split())
    for sign in "\\*|`_":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("--", "\\-\\-") or "\\"


def targets(rows: Iterable[tuple[str, str, str, bool]]) -> str:
    """What was wanted, what was measured, and whether it is enough."""
    return table(
        ["Target", "Wanted", "Measured", "So"], [(*row[:3], verdict(row[3])) for row in rows], [50, 18, 18, 10]
    )


ABSENT = "Not measured in this run:"


def section(*parts: str) -> str:
    """The parts that there are, one after the other."""
    return "\n\n".join(part for part in parts if part) + "\n"
