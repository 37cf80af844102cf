"""Compiles the ``where`` of a route, and explains its errors, on reading it or on an event.

What the semantics of CEL mean for events, and what to write:

- A field that is not there is ``null``; ``has(after.status)`` tells the difference.
- ``after`` is ``null`` in a delete, ``before`` in a create and in a first snapshot, ``changed`` whenever ``before`` is.
  ``doc`` is ``after``, and ``before`` in a delete. CEL has no answer to a question about ``null``: a field of it, which
  is larger, a function. Here this means no: ``after.status == 'ACTIVE'`` matches no delete, ``'status' in changed`` no
  create, ``after.size > 3`` no document without a size, and none is an error. ``&&`` and ``||`` ignore an error on one
  side if the other side decides alone.
- Numbers of different types compare (``1 == 1.0``). Integers beyond 64 bits, and decimals that no double can hold, are
  compared as the nearest doubles. Arithmetic does not mix types: ``double(after.size) * 1.5``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from esfeed.routing.budget import Cost, of_route
from esfeed.routing.content import DOCUMENTS, Fields, context_of, paths_in, reads_null, with_null

if TYPE_CHECKING:
    # Imported at run time only if there is an expression: it contains a command line, which takes long to import.
    import cel

VARIABLES = ("op", "type", "id", "watch", "before", "after", "doc", "changed")
LONGEST = 4000
"""The limit in characters. The parser of CEL recurses on the C stack, and much longer expressions overflow it."""

_TYPES = frozenset({"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint", "optional"})
# fmt: off
_FUNCTIONS = frozenset({
    "bytes", "contains", "double", "duration", "dyn", "endsWith", "getDate", "getDayOfMonth", "getDayOfWeek",
    "getDayOfYear", "getFullYear", "getHours", "getMilliseconds", "getMinutes", "getMonth", "getSeconds", "hasValue",
    "int", "matches", "none", "of", "ofNonZeroValue", "optional", "or", "orValue", "size", "startsWith", "string",
    "timestamp", "type", "uint", "value",
})
# fmt: on
_BOUND = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,")
_MISTAKE = re.compile(r"ERROR: <input>:(\d+):(\d+): (?:Syntax error: )?([^\n]*)")
_INSTEAD = {"and": "&&", "or": "||", "not": "!", "is": "==", "True": "true", "False": "false", "None": "null"}
_OF_DOCUMENT = (
    r"\s*(?:\.\s*([A-Za-z_]\w*)\b(?!\s*\()"  # after.status, but not after.exists(…)
    r"|\[\s*'([^'\\]*)'\s*\]|\[\s*\"([^\"\\]*)\"\s*\]"  # after['os-ext:host']
    r"|[!=]=\s*null\b)"  # after != null
)
_PATTERN = re.compile(r"""\.\s*matches\s*\(\s*(r?'[^'\n]*'|r?"[^"\n]*")\s*\)""")
_SAMPLE = {"op": "created", "type": "OS::Nova::Server", "id": "1", "watch": "servers"}


class Where:
    """A compiled expression. Immutable and thread-safe.

    ``text`` is the expression. ``needs`` has the variables that it names, each with the top-level fields that it reads
    (``None``: all, or a variable without fields). ``cost`` is the cost of running it on an event.
    """

    __slots__ = ("_paths", "_program", "cost", "needs", "text")

    def __init__(self, text: str, program: cel.Program, needs: Mapping[str, Fields], cost: Cost) -> None:
        self.text = text
        self.needs = needs
        self.cost = cost
        self._program = program
        self._paths = paths_in(text)

    def __repr__(self) -> str:
        return f"Where({self.text!r})"

    def holds(self, context: cel.Context, values: Mapping[str, Any]) -> bool:
        """Whether the expression is true for ``context``. ``values`` has the same variables.

        Raises ``ValueError`` with the reason, without values of the document, if there is no answer.
        """
        missing: set[str] = set()
        while True:
            try:
                answer = self._program.execute(context)
            except KeyError as error:
                name = str(error.args[0]).strip("'")
                if name in missing:
                    raise ValueError(f'nothing has a field "{name}"') from None
                missing.add(name)
                values = with_null(values, self._paths, name)
                context = context_of(values)
                continue
            except Exception as error:  # the extension raises eight types of error
                if _asks_null(error) and (missing or self._reads_null(values)):
                    return False
                raise ValueError(_why(error)) from None
            if not isinstance(answer, bool):
                if answer is None and missing:
                    return False
                raise ValueError(f"it returns {_kind(answer)}, not true or false")
            return answer

    def _reads_null(self, values: Mapping[str, Any]) -> bool:
        """Whether a whole document, ``changed``, or a field that it reads is ``null``."""
        null = any(name in values and values[name] is None for name in self.needs)
        return null or reads_null(values, self._paths)


def compile_where(text: str) -> Where:
    """Compiles an expression. Raises ``ValueError`` with the error and its position, marked by a caret."""
    if len(text) > LONGEST:
        raise ValueError(f"the expression has {len(text):,} characters; the limit is {LONGEST:,}")
    if not text.strip():
        raise ValueError("the expression is empty; remove the key to let every event through")
    cost = of_route(text)
    import cel

    try:
        program = cel.compile(text)
        found = program.references()
    except Exception as error:
        raise ValueError(_mistake(text, str(error))) from None
    names = set(found["variables"])
    for name in sorted(names - {*VARIABLES} - _TYPES - set(_BOUND.findall(text))):
        known = f"known: {', '.join(VARIABLES)}; write after.{name} for a field of the document"
        known = f'write "{_INSTEAD[name]}"' if name in _INSTEAD else known
        raise ValueError(_at(text, name, f'unknown name "{name}"; {known}'))
    for name in found["functions"]:
        if name.isidentifier() and name not in _FUNCTIONS:
            known = f'write "{_INSTEAD[name]}"' if name in _INSTEAD else f"known: {', '.join(sorted(_FUNCTIONS))}"
            raise ValueError(_at(text, name, f'unknown function "{name}"; {known}'))
    for pattern in _PATTERN.finditer(text):
        _refuse_no_pattern(text, pattern)
    where = Where(text, program, {name: _fields(text, name) for name in VARIABLES if name in names}, cost)
    if where.needs.keys() <= _SAMPLE.keys():
        _refuse_no_condition(program)
    return where


def _refuse_no_pattern(text: str, pattern: re.Match[str]) -> None:
    import cel

    try:
        cel.evaluate(f"''.matches({pattern[1]})")
    except RuntimeError:
        raise ValueError(_at(text, pattern[1], f"{pattern[1]} is not a regular expression (RE2 syntax)")) from None
    except ValueError:  # the quotes found here are not those that CEL pairs
        return


def _refuse_no_condition(program: cel.Program) -> None:
    try:
        answer = program.execute(_SAMPLE)
    except Exception:  # the sample can be the reason: int(id) > 5
        return
    if not isinstance(answer, bool):
        raise ValueError(f"it returns {_kind(answer)}, not true or false; write a condition, such as op != 'read'")


def _fields(text: str, name: str) -> Fields:
    """The fields of the document that the text reads. Anything other than plain access to a field means all of them."""
    looks = re.findall(rf"\b{name}\b{_OF_DOCUMENT}", text)
    if name not in DOCUMENTS or len(looks) < len(re.findall(rf"\b{name}\b", text)):
        return None
    return frozenset(field for look in looks for field in look if field)


def _mistake(text: str, message: str) -> str:
    """The message of CEL about the first error only: later ones usually follow from it."""
    found = _MISTAKE.search(message)
    if not found:
        return f"not a CEL expression: {message.partition(': ')[2][:200] or message[:200]}"
    line, column, what = int(found[1]), int(found[2]), found[3]
    what = "it ends too soon" if what.startswith("mismatched input '<EOF>'") else what.partition(" expecting {")[0]
    what = "it is nested too deep" if "Recursion limit" in what else what
    rest = text.splitlines()[line - 1][column - 1 :] if text.splitlines() else ""
    word = re.match(r"\w*", rest)
    if word and word[0] in _INSTEAD:
        what = f'write "{_INSTEAD[word[0]]}", not "{word[0]}"'
    elif rest.startswith("=") and not rest.startswith("=="):
        what = 'write "==" to compare'
    return _placed(text, line, column, what)


def _at(text: str, name: str, what: str) -> str:
    edge = r"\b" if name.isidentifier() else ""
    match = re.search(f"{edge}{re.escape(name)}{edge}", text)
    before = text[: match.start()] if match else ""
    return _placed(text, before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1, what)


def _placed(text: str, line: int, column: int, what: str) -> str:
    """The message, and below it the line of the expression (60 characters around the position) with a caret."""
    lines = text.split("\n")
    whole = lines[line - 1].replace("\t", " ").rstrip("\r") if line <= len(lines) else ""
    start = max(0, column - 31)
    where = f"line {line}, column {column}" if len(lines) > 1 else f"column {column}"
    return f"{where}: {what}\n    {whole[start : start + 60]}\n    {' ' * (column - 1 - start)}^"


def _asks_null(error: Exception) -> bool:
    """Whether it can come from a question about ``null``. A function that rejects another value says which it is."""
    return isinstance(error, TypeError) or (isinstance(error, RuntimeError) and not str(error).startswith("Function '"))


def _why(error: Exception) -> str:
    function = re.match(r"(?:Function|Undefined variable or function:) '(\w+)'", str(error))
    if isinstance(error, TypeError):
        return "it mixes types of values that do not match; convert with int(), double() or string()"
    if function:
        return f"{function[1]}() does not accept this value"
    # The texts of CEL can quote the document.
    plain = {
        ZeroDivisionError: "it divides by zero",
        OverflowError: "its arithmetic exceeds 64 bits",
        IndexError: "it reads an element beyond the end of a list; check size(…) first",
    }
    return plain.get(type(error), f"CEL fails to evaluate it ({type(error).__name__})")


def _kind(value: object) -> str:
    kinds = {str: "a string", int: "a number", float: "a number", list: "a list", dict: "a map", type(None): "null"}
    return kinds.get(type(value), f"a {type(value).__name__}")
