"""Events on standard output: a readable line on a terminal, one JSON object per line in a pipe."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import sys
from collections.abc import Sequence
from typing import IO, Any, Literal

from pydantic import Field
from rich.console import Console

from esfeed.config.types import SinkSection
from esfeed.envelopes import envelope
from esfeed.errors import ConfigError, ReaderGone, Retryable
from esfeed.model.event import Event, one_line
from esfeed.ports import OK, Outcome
from esfeed.sinks.stdout.pretty import describe

Format = Literal["auto", "json", "pretty", "cloudevents", "debezium", "searchlight", "raw"]


class StdoutSettings(SinkSection):
    """Events on standard output."""

    type: Literal["stdout"] = Field("stdout", description="Standard output.")
    format: Format = Field(  # type: ignore[assignment]  # a terminal is a form of its own
        "auto",
        description='The output: "json" is one CloudEvents 1.0 object per line, "pretty" is a colored, readable line, '
        '"auto" is pretty on a terminal and json elsewhere; or the name of another format, one event per line.',
    )


class StdoutSink:
    """Writes each event as one line to standard output (or to ``stream``, for a test), flushed once per batch.

    ``ok`` means that the kernel has the line: it survives a crash of esfeed, but the reader may not have processed it.
    """

    Settings = StdoutSettings

    def __init__(self, settings: StdoutSettings, stream: IO[Any] | None = None) -> None:
        self._format = settings.format
        form = settings.format
        self._encode = envelope("cloudevents" if form == "auto" or form == "json" or form == "pretty" else form).encode  # noqa: PLR1714 - mypy narrows by these
        self._given = stream
        self._stream: IO[Any] | None = None
        self._console: Console | None = None
        self._rest = b""

    def open(self) -> None:
        """Raises ``ConfigError`` if the process has no standard output (``>&-``, some service managers)."""
        stream = self._given or sys.stdout
        if stream is None or stream.closed:
            raise ConfigError("type", "stdout", "this process has no standard output; use the file sink instead")
        self._stream = stream
        self._console = None
        if self._format == "pretty" or (self._format == "auto" and stream.isatty()):
            # force_terminal stays unset, so that rich respects NO_COLOR, FORCE_COLOR and TERM.
            self._console = Console(file=stream, highlight=False, markup=False, emoji=False)

    def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Writes one line for each event.

        Raises :class:`ReaderGone` if the other end of the pipe is closed, ``Retryable`` for every other fault. The next
        call first completes a line that a fault cut off, so every line stays whole.
        """
        if self._stream is None:
            raise Retryable("standard output is not open", "open the sink first")
        data = b"".join(self._line(event) for event in events)
        try:
            self._write(data)
        except OSError as error:
            if error.errno in (errno.EPIPE, errno.ECONNRESET):
                raise ReaderGone("the reader of standard output is gone") from error
            message = f"cannot write to standard output ({error.strerror or error})"
            raise Retryable(message, "check its redirection: a full disk, a closed terminal?") from error
        return [OK] * len(events)

    def close(self) -> None:
        """Leaves standard output open: the sink does not own it."""
        self._stream = None
        self._console = None

    def _line(self, event: Event) -> bytes:
        if self._console is None:
            return one_line(self._encode(event)) + b"\n"
        width = self._width(self._console)
        text = describe(event, width)
        if width is not None:
            text.truncate(width, overflow="ellipsis")
        with self._console.capture() as captured:
            self._console.print(text, soft_wrap=True)
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        return (captured.get().rstrip("\n") + "\n").encode(encoding, "replace")

    def _width(self, console: Console) -> int | None:
        """The columns of the terminal that is the output (rich would use standard input), ``None`` elsewhere."""
        if not console.is_terminal:
            return None
        descriptor = self._descriptor()
        with contextlib.suppress(OSError):
            if descriptor is not None and (columns := os.get_terminal_size(descriptor).columns):
                return columns
        return console.width

    def _write(self, data: bytes) -> None:
        """Writes the rest of a line that a fault cut off, then ``data``."""
        assert self._stream is not None
        whole = self._rest + data
        done = 0
        try:
            self._stream.flush()
            descriptor = self._descriptor()
            while done < len(whole):
                # Directly to the descriptor: a buffer would keep what a broken pipe refused, and fail at exit.
                done += self._write_some(descriptor, memoryview(whole)[done:])
            self._rest = b""
        except OSError:
            self._rest = self._unfinished(whole, done)
            raise

    def _unfinished(self, whole: bytes, done: int) -> bytes:
        """The rest of the line of which the reader has a part."""
        end = whole.find(b"\n", done) + 1
        begun = whole.rfind(b"\n", 0, done) + 1 < done if done else bool(self._rest)
        return whole[done:end] if begun else b""

    def _descriptor(self) -> int | None:
        assert self._stream is not None
        try:
            return self._stream.fileno()
        except (io.UnsupportedOperation, AttributeError):  # an in-memory stream, as test runners use
            return None

    def _write_some(self, descriptor: int | None, data: memoryview) -> int:
        if descriptor is None:
            assert self._stream is not None
            target = getattr(self._stream, "buffer", self._stream)
            target.write(str(data, "utf-8") if isinstance(target, io.TextIOBase) else data)
            return len(data)
        try:
            return os.write(descriptor, data)
        except BlockingIOError:  # another process made the pipe non-blocking
            select.select([], [descriptor], [])
            return 0
