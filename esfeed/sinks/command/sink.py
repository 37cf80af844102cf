"""Events to the standard input of a program, one JSON line each: to a long-running program, or a new one per batch."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from esfeed.config.types import Duration, Secret, SinkSection, Text, as_tuple
from esfeed.envelopes import envelope
from esfeed.errors import ConfigError, Retryable
from esfeed.model.event import Event, one_line
from esfeed.ports import OK, Outcome, not_tried, rejected, retry
from esfeed.sinks.command.process import Ended, Process, Stray, environment
from esfeed.sinks.common.http_status import shown
from esfeed.sinks.common.ordering import in_waves

_DATA_ERROR, _TRY_LATER = 65, 75  # EX_DATAERR, EX_TEMPFAIL of sysexits.h


class CommandSettings(SinkSection):
    """Events to the standard input of a program, one JSON line each."""

    model_config = ConfigDict(hide_input_in_errors=True)

    type: Literal["command"] = Field("command", description="A program on this machine.")
    command: Annotated[tuple[Text, ...], BeforeValidator(as_tuple)] = Field(
        min_length=1,
        description='The program and its arguments, such as ["/usr/local/bin/notify", "--quiet"]; there is no shell.',
    )
    mode: Literal["stream", "batch"] = Field(
        "stream",
        description="stream: the program starts once and reads line after line. batch: it starts for each batch, reads "
        "to the end of its input, and reports the result by its exit code.",
    )
    ack: bool = Field(
        False,
        description="stream: the program answers each line with one line on its standard output: ok, retry REASON or "
        "rejected REASON.",
    )
    environment: dict[str, Secret] = Field(
        default_factory=dict,
        description='Environment variables for it, such as TOKEN = "env:TOKEN". Of those of esfeed, it gets only PATH, '
        "HOME, USER, LOGNAME, SHELL, TZ, TMPDIR and those of the language.",
    )
    timeout: Duration = Field(
        30.0,
        gt=0,
        description="The timeout of one batch, and of shutdown; then esfeed kills the program.",
    )

    @model_validator(mode="after")
    def _ack_needs_a_stream(self) -> Self:
        if self.ack and self.mode == "batch":
            raise ValueError("remove ack, or set mode = stream; in mode batch, the exit code is the answer")
        for name, value in self.environment.items():
            if not name or "=" in name or "\0" in name + value.get_secret_value():
                raise ValueError(f"{name!r} is not a valid name of an environment variable")
        if any("\0" in part for part in self.command) or not self.command[0]:
            raise ValueError("write the name of a program first, and no NUL characters")
        return self


class CommandSink:
    """Sends events to a program. It decides what ``ok`` means: by a line (``ack``) or its exit code (``batch``).

    Without either, ``ok`` means that the program, still running, has read the event from its pipe.
    """

    Settings = CommandSettings

    def __init__(self, settings: CommandSettings) -> None:
        self._settings = settings
        self._encode = envelope(settings.format).encode
        self._process: Process | None = None
        self._end = 0.0

    def open(self) -> None:
        """Starts the program, or checks that it exists.

        Raises ``ConfigError`` if it can never start, ``Retryable`` if the machine is at fault.
        """
        self.close()
        if self._settings.mode == "stream":
            self._process = self._start()
        elif shutil.which(self._settings.command[0]) is None:
            raise ConfigError("command", self._settings.command[0], "there is no executable program with this name")

    def send(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Sends the events. Raises ``Retryable`` if the program cannot start.

        If the program ends, hangs or answers nonsense, the events are ``retry``, with the end of its standard error; it
        is started again at the next batch.
        """
        if not events:
            return []
        self._end = time.monotonic() + self._settings.timeout
        if self._settings.mode == "batch":
            return self._batch(events)
        if self._settings.ack:
            return in_waves(events, self._asked)
        return self._streamed(events)

    def close(self) -> None:
        """Closes the input of the program and waits until it ends; kills it after ``timeout``."""
        process, self._process = self._process, None
        if process is not None:
            try:
                process.finish(time.monotonic() + self._settings.timeout)
            except TimeoutError:
                process.stop()

    # --- a program that keeps running

    def _streamed(self, events: Sequence[Event]) -> Sequence[Outcome]:
        process = self._process = self._process or self._start()
        try:
            process.feed(self._lines(events), self._end)
        except (Ended, TimeoutError) as error:
            # Whether it processed what it read before is unknown, and half a line may be in its pipe.
            reason = self._drop(error)
            return [retry(reason), *[not_tried(reason)] * (len(events) - 1)]
        return [OK] * len(events)

    def _asked(self, events: Sequence[Event]) -> Sequence[Outcome]:
        process = self._process = self._process or self._start()
        answers: list[Outcome] = []

        def take(line: str) -> None:
            if len(answers) == len(events):
                raise Stray(line)
            answers.append(_answer(line))

        try:
            process.ask(self._lines(events), len(events), self._end, take)
        except (Ended, TimeoutError, Stray) as error:
            reason = self._drop(error)
            if len(answers) == len(events):  # one answer too many: it is unclear which answer belongs to which event
                answers.pop()
            if not answers:
                raise Retryable(reason) from error
            left = len(events) - len(answers)
            return [*answers, retry(reason), *[not_tried(reason)] * (left - 1)]
        return answers

    def _drop(self, error: Exception) -> str:
        """Ends the program after a fault, and returns the text of the fault."""
        process, self._process = self._process, None
        assert process is not None
        code = process.stop()
        words = process.last_words()
        if isinstance(error, Stray):
            what = f'the program answered "{shown(str(error))}" instead of ok, retry REASON or rejected REASON'
        elif isinstance(error, TimeoutError):
            what = f"it did not accept the events within {self._settings.timeout:g} s, and was killed"
        else:
            what = f"it {_code(code)}"
        return f"{self._name}: {what}" + (f": {words}" if words else "")

    # --- a program per batch

    def _batch(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """One run for all events; if that fails and one event may be the cause, a run for each, up to the failing one.

        This isolates the failing event, so that the others are delivered.
        """
        whole, final = self._run(events)
        if whole.ok or final or len(events) == 1:
            rest = not_tried(whole.reason)
            return [OK] * len(events) if whole.ok else [whole, *[rest] * (len(events) - 1)]
        outcomes: list[Outcome] = []
        for event in events:
            outcome, _ = self._run([event])
            outcomes.append(outcome)
            if outcome.kind == "retry":
                left = len(events) - len(outcomes)
                return [*outcomes, *[not_tried(outcome.reason)] * left]
        return outcomes

    def _run(self, events: Sequence[Event]) -> tuple[Outcome, bool]:
        """The outcome of one run, and whether more runs would be useless."""
        process = self._start()
        try:
            with contextlib.suppress(Ended):  # a program that needs no more input answers by its exit code
                process.feed(self._lines(events), self._end)
            code = process.finish(self._end)
        except TimeoutError:
            process.stop()
            words = process.last_words()
            reason = f"{self._name}: it did not end within {self._settings.timeout:g} s, and was killed"
            return retry(f"{reason}: {words}" if words else reason), True
        if code == 0:
            return OK, True
        words = process.last_words()
        reason = f"{self._name}: it {_code(code)}" + (f": {words}" if words else "")
        return (rejected if code == _DATA_ERROR else retry)(reason), code == _TRY_LATER

    # --- both modes

    def _lines(self, events: Sequence[Event]) -> bytes:
        return b"".join(one_line(self._encode(event)) + b"\n" for event in events)

    @property
    def _name(self) -> str:
        return os.path.basename(self._settings.command[0])

    def _start(self) -> Process:
        settings = self._settings
        more = {name: value.get_secret_value() for name, value in settings.environment.items()}
        try:
            return Process(settings.command, environment(os.environ, more), settings.ack)
        except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
            hint = f"it cannot be run ({error.strerror}); name an executable; each argument is its own string"
            if self._end:  # it could be run when the sink was opened
                raise Retryable(f"{settings.command[0]} cannot be run ({error.strerror})", "restore it") from error
            raise ConfigError("command", settings.command[0], hint) from error
        except OSError as error:
            raise Retryable(f"{self._name} cannot be started ({error.strerror})", "check the load") from error


def _answer(line: str) -> Outcome:
    word, _, reason = line.partition(" ")
    if word == "ok":
        return OK
    if word == "retry":
        return retry(shown(reason) or "the program requests a retry")
    if word == "rejected":
        return rejected(shown(reason) or "the program rejects it")
    raise Stray(line)


def _code(code: int) -> str:
    return f"ended with code {code}" if code >= 0 else f"was ended by signal {-code}"
