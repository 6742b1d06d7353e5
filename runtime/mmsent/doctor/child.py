"""Child processes with a time limit: an abort, a crash or a hang in one is an answer, too."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

# The child finds modules exactly as this process does: with neither the working folder nor the
# folder of a script before them, where a file torch.py might lie.
_BOOT = """
import json, sys
sys.path[:] = json.loads(sys.argv.pop(1))
from mmsent.doctor.child import answer
answer(*sys.argv[1:])
"""

_SIGNALS = {
    "SIGILL": "the processor lacks an instruction that this build of the library uses",
    "SIGKILL": "it was killed from outside, most likely because memory ran out",
    "SIGBUS": "a file mapped into memory could not be read whole: a full disk or /dev/shm",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """How a program ended and what it wrote.

    ``code`` is its exit status, the negative number of the signal that killed it, or None where it
    had to be ended because its time was up.
    """

    code: int | None
    output: str
    errors: str

    @property
    def text(self) -> str:
        """All that it wrote, stripped."""
        return f"{self.output}\n{self.errors}".strip()


_running: set[subprocess.Popen[str]] = set()


def end_all() -> None:
    """End every program that still runs: nobody waits for it any more."""
    for process in list(_running):
        _end(process)


def ask(command: Sequence[str], limit: float) -> Answer:
    """Run a program for at most ``limit`` seconds.

    Raises OSError where it can't be started.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    _running.add(process)
    try:
        output, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired as late:
        _end(process)
        try:
            output, errors = process.communicate(timeout=1)
        except subprocess.TimeoutExpired:
            # A process that a driver holds in the kernel can't be ended at all: leave it there.
            output, errors = _text(late.stdout), _text(late.stderr)
        return Answer(None, output, errors)
    finally:
        _running.discard(process)
    return Answer(process.returncode, output, errors)


def _end(process: subprocess.Popen[str]) -> None:
    """End a process with the children that it started: they would hold its output open."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def _text(output: bytes | str | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


@dataclass(frozen=True, slots=True)
class Told:
    """What a probe told, however it ended. ``doing`` is the last thing it began."""

    answer: Answer
    facts: dict[str, Any] = field(default_factory=dict)
    doing: str = "starting"

    @property
    def done(self) -> bool:
        """Whether it came to its end."""
        return self.answer.code == 0

    @property
    def hung(self) -> bool:
        """Whether its time was up."""
        return self.answer.code is None

    @property
    def end(self) -> str:
        """How it ended before it was done, for a sentence that names the library."""
        code = self.answer.code
        if code is None:
            return f"does not answer ({self.doing})"
        if code < 0:
            return f"dies with {_signal_name(-code)} ({self.doing})"
        return f"fails ({self.doing})"

    @property
    def reason(self) -> str:
        """What is known of why it ended: the library's own words, or what the signal means."""
        code = self.answer.code
        meaning = _SIGNALS.get(_signal_name(-code), "") if code is not None and code < 0 else ""
        return "; ".join(part for part in (_last_words(self.answer.errors), meaning) if part)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_words(errors: str) -> str:
    """The line in which a library said why; not where in its code that was."""
    words, _, _ = errors.partition("Fatal Python error:")  # faulthandler's, the stack follows
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    for line in lines:
        if "Error #" in line:  # OpenMP's, which hints follow
            return line
    return lines[-1] if lines else ""


def consult(probe: str, limit: float, *arguments: str) -> Told:
    """Run a module of mmsent.doctor.probes in a child process for at most ``limit`` seconds."""
    path = json.dumps(sys.path)
    command = [sys.executable, "-X", "faulthandler", "-c", _BOOT, path, probe, *arguments]
    answer = ask(command, limit)
    facts: dict[str, Any] = {}
    doing = "starting"
    for line in answer.output.splitlines():
        try:
            told = json.loads(line)
        except ValueError:  # cut off when the process ended
            continue
        doing = told.pop("doing", doing)
        facts |= told
    return Told(answer, facts, doing)


class Tell(Protocol):
    """How a probe tells facts as it learns them, and what it begins to do: ``doing``."""

    def __call__(self, *, doing: str = ..., **facts: Any) -> None:
        """Tell some."""


def answer(probe: str, *arguments: str) -> None:
    """Be the child: run the probe, and write what it tells as lines of JSON."""
    # Libraries print what they like: they get stderr, and the facts keep stdout for themselves.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)

        def tell(**facts: Any) -> None:
            print(json.dumps(facts), file=out, flush=True)

        importlib.import_module(f"mmsent.doctor.probes.{probe}").probe(tell, *arguments)
        out.flush()
        sys.stdout.flush()
        # Some libraries crash while they are torn down, which does the work no harm.
        os._exit(0)
