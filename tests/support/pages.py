"""Runs what the documentation shows: the snippets of a page, in order, in one folder, as a reader would type them.

A ``code-block`` with a ``:caption:`` is a file of that name. In README.rst, which readers meet outside Sphinx too, and
wherever a page has to say more about a block, a comment stands above it:

``.. file: NAME``            the block is a file of that name
``.. not run: REASON``       the block is only shown; the test lists it with its reason
``.. in the background``     its commands go on until the page ends; what they print first is waited for
``.. printed meanwhile``     what the block shows is waited for in what those print

In a console block a line that begins with ``$`` is typed, with those after it that begin with ``>``. The others are
what it must print, line by line in that order; ``…`` stands for any text, alone on a line for any lines.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import termios
import textwrap
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^( *)\.\. code-block:: *([\w-]+)\s*$")
_COMMENT = re.compile(r"^ *\.\. (file|not run|in the background|printed meanwhile)(?:: *(.*))?$")
_WITHIN = 60.0
_STANDS_FOR_A_FREE_PORT = ("8080", "8081", "8460")
_THE_DEMO_S_PORT = "43210"


@dataclass(frozen=True, slots=True)
class Block:
    """One ``code-block``: where it stands, what is in it, and what its caption and the comment above say of it."""

    page: str
    line: int
    language: str
    text: str
    file: str | None = None
    not_run: str | None = None
    background: bool = False
    meanwhile: bool = False

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    """README.rst and every page of docs, as paths from the root."""
    return ["README.rst", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.rst"))]


def blocks(page: str, text: str | None = None) -> list[Block]:
    """The code blocks of a page, in its order."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines() if text is None else text.splitlines()
    found = []
    for number, line in enumerate(lines):
        if not (match := _BLOCK.match(line)):
            continue
        inner = _indented(lines[number + 1 :], len(match[1]))
        options = {}
        while inner and (option := re.fullmatch(r"\s+:(\w+): *(.*)", inner[0])):
            options[option[1]] = option[2]
            inner.pop(0)
        body = textwrap.dedent("\n".join(inner)).strip("\n") + "\n"
        said = _comment(lines[:number])
        file = said.get("file", options.get("caption"))
        found.append(
            Block(
                page,
                number + 1,
                match[2],
                body,
                file,
                said.get("not run"),
                "in the background" in said,
                "printed meanwhile" in said,
            )
        )
    return found


def _indented(lines: list[str], depth: int) -> list[str]:
    for number, line in enumerate(lines):
        if line.strip() and len(line) - len(line.lstrip()) <= depth:
            return lines[:number]
    return list(lines)


def _comment(before: list[str]) -> dict[str, str]:
    """What the comments right above say; one may go on over several lines, deeper indented."""
    said: dict[str, str] = {}
    rest: list[str] = []
    for line in reversed(before):
        if not line.strip():
            continue
        if match := _COMMENT.match(line):
            said[match[1]] = " ".join([match[2] or "", *rest]).strip()
            rest = []
        elif line.startswith("   ") and len(rest) < 5:
            rest.insert(0, line.strip())
        else:
            break
    return said


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Reader:
    """Somebody who follows one page, in a folder of its own, beside the engine at ``engine`` (a url).

    The ports that pages name stand for others: 9200 for the engine's, 8080 and such for free ones, and 43210 for
    the one that ``esfeed demo`` printed.
    """

    def __init__(self, folder: Path, engine: str) -> None:
        self.folder = folder
        self._environment = folder / ".environment"
        self._ports = {"9200": engine.rpartition(":")[2], **{p: str(free_port()) for p in _STANDS_FOR_A_FREE_PORT}}
        self._going_on: list[tuple[str, Terminal]] = []

    def follow(self, block: Block) -> None:
        """Does what the block is for. Raises ``AssertionError`` where it turns out otherwise than the page says."""
        if block.not_run is not None:
            return
        if block.meanwhile:
            self._wait_for(block, self._said)
        elif block.language == "console":
            for command, expected in typed(self._real(block.text)):
                if block.background:
                    self._start(block, command, expected)
                else:
                    self._run(block, command, expected)
        elif block.file:
            (self.folder / block.file).write_text(self._real(block.text), encoding="utf-8")
        elif block.language == "python":
            self._ends_well(block, [sys.executable, "-c", self._real(block.text)])
        elif block.language == "javascript":
            self._ends_well(block, ["node", "--input-type=module", "-e", self._real(block.text)])

    def leave(self) -> None:
        """Ends what goes on. Raises ``AssertionError`` where a feed does not end well."""
        wrong = {}
        for command, terminal in reversed(self._going_on):
            ended = terminal.end(30, signal.SIGTERM)
            if command.startswith("esfeed run") and (not ended or terminal.process.returncode):
                wrong[command] = terminal.said()
        assert not wrong

    def _real(self, text: str) -> str:
        text = re.sub(r"(?<!\d)(" + "|".join(self._ports) + r")(?!\d)", lambda match: self._ports[match[1]], text)
        printed = re.search(r"http://127\.0\.0\.1:(\d+)", self._said())
        text = text.replace(_THE_DEMO_S_PORT, printed[1] if printed else "…")
        return re.sub(r"^\$ scripts/demo\b", "$ esfeed demo", text, flags=re.MULTILINE)

    def _said(self) -> str:
        return "".join(terminal.said() for _, terminal in self._going_on)

    def _shell(self, command: str, *, keep: bool) -> list[str]:
        # What a command exports is there for the next one.
        before = f"[ -f {self._environment} ] && . {self._environment}\n"
        after = f"\n_code=$?; export -p > {self._environment}; exit $_code" if keep else ""
        return ["bash", "-c", before + ("" if keep else "exec ") + command + after]

    def _popen(self, arguments: list[str]) -> Terminal:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return Terminal(arguments, self.folder, {**os.environ, "PATH": path, "TMPDIR": str(self.folder)})

    def _ends_well(self, block: Block, arguments: list[str]) -> str:
        terminal = self._popen(arguments)
        ended = terminal.end(_WITHIN)
        told = f"{arguments[-1]}\n{terminal.said()}\n{self._said()}"
        assert ended, f"{block}: it did not end\n{told}"
        assert terminal.process.returncode == 0, f"{block}: exit code {terminal.process.returncode}\n{told}"
        return terminal.said()

    def _run(self, block: Block, command: str, expected: list[str]) -> None:
        out = self._ends_well(block, self._shell(command, keep=True))
        assert shown_in(expected, out), f"{block}: $ {command}\nthe page shows\n{_joined(expected)}\nit printed\n{out}"

    def _start(self, block: Block, command: str, expected: list[str]) -> None:
        terminal = self._popen(self._shell(command, keep=False))
        self._going_on.append((command, terminal))
        self._wait_for(block, terminal.said, expected, terminal.process)

    def _wait_for(
        self,
        block: Block,
        said: Callable[[], str],
        expected: list[str] | None = None,
        process: subprocess.Popen[bytes] | None = None,
    ) -> None:
        lines = self._real(block.text).splitlines() if expected is None else expected
        until = time.monotonic() + _WITHIN
        while not shown_in(lines, said()):
            assert time.monotonic() < until, f"{block}: the page shows\n{_joined(lines)}\nprinted was\n{said()}"
            assert process is None or process.poll() is None, f"{block}: it ended\n{said()}"
            time.sleep(0.1)


class Terminal:
    """A program on a terminal of its own, 100 columns wide, so that it prints what a person sees."""

    def __init__(self, arguments: list[str], folder: Path, environment: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (40, 100))
        self._printed: list[bytes] = []
        self.process = subprocess.Popen(
            arguments,
            cwd=folder,
            env={**environment, "TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "100", "LINES": "40"},
            stdin=subprocess.DEVNULL,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        # The end of a terminal is an error: nobody holds its other side any more.
        with contextlib.suppress(OSError):
            while data := os.read(self._master, 65536):
                self._printed.append(data)

    def said(self) -> str:
        """What it has printed so far, without colours."""
        text = b"".join(self._printed).decode(errors="replace").replace("\r\n", "\n")
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)

    def end(self, within: float, number: signal.Signals | None = None) -> bool:
        """Waits for its end, after a signal where one is given; what does not end in time is killed."""
        if number is not None and self.process.poll() is None:
            os.killpg(self.process.pid, number)
        try:
            self.process.wait(within)
            ended = True
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            ended = False
        self._reader.join(5)
        os.close(self._master)
        return ended


def typed(text: str) -> list[tuple[str, list[str]]]:
    """The commands of a console block, each with the lines that it is to print."""
    found: list[tuple[str, list[str]]] = []
    for line in text.rstrip("\n").split("\n"):
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif re.match(r">( |$)", line) and not found[-1][1]:
            found[-1] = (f"{found[-1][0]}\n{line[2:]}", [])
        else:
            found[-1][1].append(line)
    return found


def shown_in(expected: list[str], out: str) -> bool:
    """Whether the lines stand in ``out`` one after the other, with ``…`` for any text, and on its own for any lines."""
    wanted = [" ".join(line.split()) for line in expected if line.strip()]
    printed = "\n".join(" ".join(line.split()) for line in out.splitlines() if line.strip())
    pattern = "\n".join(
        r"(?:.*\n)*?.*" if line == "…" else ".*?".join(re.escape(part) for part in line.split("…")) for line in wanted
    )
    return re.search(rf"^{pattern}", printed, re.MULTILINE) is not None


def _joined(lines: list[str]) -> str:
    return "\n".join(lines)
