"""One event as one readable line: the time, the op, the document, and what changed from what to what.

Values from documents are shown as text and never interpreted: no markup, no terminal control, no reordering of the
line. The ``stdout`` sink, ``esfeed events`` and ``esfeed demo`` all show events through :func:`describe`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

import msgspec
from rich.text import Text

from esfeed.model.event import Event

WIDE = 120
"""From this width on, lines have dates and whole ids; below, only the time of day and the beginning of a long id."""

_STYLES = {"created": "green", "updated": "yellow", "deleted": "red", "read": "dim"}
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)")
_TELLING = ("name", "title", "status", "state")
_MAX_FIELDS = 6
_MAX_VALUE = 40
_MAX_ID = 80
_SHORT_ID = 20
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}

_Fields = Mapping[str, msgspec.Raw] | None
"""The top-level fields of a document, each still raw; ``None`` if the document is unreadable."""


def clean(text: str, limit: int) -> str:
    """``text`` on one line, up to ``limit`` characters, without anything that a terminal would interpret.

    Control characters become their symbols (U+2400…); other invisible ones, such as those that change the direction of
    writing, become U+FFFD. An ellipsis marks a cut.
    """
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(_shown(char) for char in cut)


def _shown(char: str) -> str:
    if char < " ":
        return chr(0x2400 + ord(char))
    if char == "\x7f":
        return "\u2421"
    return "\ufffd" if unicodedata.category(char) in _UNSEEN else char


def _fields(document: msgspec.Raw | None) -> _Fields:
    if document is None:
        return {}
    try:
        return msgspec.json.decode(document, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _value(fields: _Fields, name: str) -> str:
    """A short form of the value of a field: strings without quotes, numbers exactly as the engine wrote them."""
    if fields is None:
        return "(unreadable)"
    raw = fields.get(name)
    if raw is None:
        return "(none)"
    text = bytes(raw).strip()
    if text.startswith(b'"'):
        try:
            string = msgspec.json.decode(text, type=str)
        except (msgspec.MsgspecError, ValueError):
            string = text[1:-1].decode("utf-8", "replace")
        return clean(string, _MAX_VALUE) or '""'
    # Four bytes per character at most: do not decode a megabyte to show forty characters.
    return clean(text[: _MAX_VALUE * 4 + 4].decode("utf-8", "replace"), _MAX_VALUE)


def _time(event: Event, wide: bool) -> str:
    match = _TIME.match(event.time)
    if not match:
        return clean(event.time, 20)
    return f"{match[1]} {match[2]}Z" if wide else f"{match[2]}Z"


def _id(event: Event, wide: bool) -> str:
    if wide or len(event.doc_id) <= _SHORT_ID:
        return clean(event.doc_id, _MAX_ID)
    return clean(event.doc_id, 9)  # eight characters and the ellipsis: the first group of a UUID


def _telling(fields: _Fields) -> list[str]:
    """The few fields by which a person recognizes a document."""
    plain = [name for name, raw in (fields or {}).items() if bytes(raw)[:1] not in (b"{", b"[")]
    return [name for name in _TELLING if name in plain] or plain[:2]


def describe(event: Event, width: int | None = None) -> Text:
    """``event`` as one line of styled text for ``width`` columns (``None``: no limit).

    ``10:00:00Z updated OS::Nova::Server/6c41f0aa  status BUILD → ACTIVE``. Raises nothing, whatever the documents
    contain. The text never wraps: on a narrower console, it ends in an ellipsis.
    """
    wide = width is None or width >= WIDE
    style = _STYLES.get(event.op, "")
    line = Text(no_wrap=True, overflow="ellipsis", end="")
    line.append(_time(event, wide), style="dim")
    line.append(f" {clean(event.op, 7):<7} ", style=style)
    line.append(clean(event.type, _MAX_VALUE) + "/", style="dim")
    line.append(_id(event, wide), style="bold")
    if event.view is not None:
        line.append(f" ({event.view})", style="dim")
    _append_fields(line, event)
    return line


def _append_fields(line: Text, event: Event) -> None:
    before, after = _fields(event.before), _fields(event.after)
    whole = before if event.after is None else after
    names = list(event.changed or ()) if event.op == "updated" else _telling(whole)
    for name in names[:_MAX_FIELDS]:
        line.append(f"  {clean(name, _MAX_VALUE)} ", style="cyan")
        if event.op != "updated":
            line.append(_value(whole, name))
        else:
            if event.before is not None:
                line.append(_value(before, name), style="red")
                line.append(" ")
            line.append("→ ")
            line.append(_value(after, name), style="green")
    if len(names) > _MAX_FIELDS:
        line.append(f"  +{len(names) - _MAX_FIELDS} more", style="dim")
