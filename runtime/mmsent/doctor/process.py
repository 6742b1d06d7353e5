"""The child processes in which probes run, with a time limit.

If a probe aborts, crashes or hangs, its result says so and keeps its earlier reports.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from mmsent.doctor.probes import Probe

# The child gets this process's sys.path: without the working folder or a script's folder at the
# front, either of which might contain a file torch.py.
_BOOT = """
import json, sys
sys.path[:] = json.loads(sys.argv.pop(1))
from mmsent.doctor import probes
_, name, *arguments = sys.argv
probes.run(getattr(probes, name), *arguments)
"""

_STATUSES = {
    0xC0000005: "an access violation",
    0xC0000017: "out of memory",
    0xC000001D: "the processor lacks an instruction that this build of the library uses",
    0xC0000135: "a DLL is missing",
    0xC0000139: "a DLL has the wrong version",
    0xC0000409: "the process aborted itself",
}
"""Exit statuses of crashes on Windows, which has no signals: NTSTATUS (winnt.h, ntstatus.h)."""

_SIGNALS = {
    "SIGILL": "the processor lacks an instruction that this build of the library uses",
    "SIGKILL": "it was killed, most likely because memory ran out",
    "SIGBUS": "a memory-mapped file could not be read: a full disk or /dev/shm",
}

RETRY = "mmsent doctor --time-limit 120  # for a slow disk or a busy machine; otherwise reboot"
"""The fix if a probe hangs."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The reports of a probe, and how it ended.

    Unless it is ``done``, ``end`` is the predicate of a sentence, with the last step that began.
    ``reason`` is the cause, if known: the library's message and the meaning of the signal.
    """

    facts: dict[str, Any]
    stderr: str
    done: bool
    hung: bool
    end: str
    reason: str


def start_probe(probe: Probe, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a probe in a new process, which leads a process group."""
    boot = ["-X", "faulthandler", "-c", _BOOT, json.dumps(sys.path)]
    command = [sys.executable, *boot, probe.__name__, *arguments]
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    return subprocess.Popen(command, stdin=null, stdout=pipe, stderr=pipe, start_new_session=True)


def probe_result(process: subprocess.Popen[bytes], limit: float) -> ProbeResult:
    """Read all reports of a probe; kill it after ``limit`` seconds."""
    output: tuple[bytes | None, bytes | None]
    try:
        output = process.communicate(timeout=limit)
        code = process.returncode
    except subprocess.TimeoutExpired as timeout:
        kill(process)
        code = None
        try:
            output = process.communicate(timeout=1)
        except subprocess.TimeoutExpired:
            # A process that is stuck in a driver can't be killed: leave it.
            output = timeout.stdout, timeout.stderr
    stdout, stderr = ((part or b"").decode(errors="replace") for part in output)
    facts: dict[str, Any] = {}
    for line in stdout.splitlines():
        with contextlib.suppress(ValueError):  # a line that is incomplete because the process ended
            facts |= json.loads(line)
    end, reason = "fails", _last_message(stderr)
    if code is None:
        end, reason = "does not answer", "a driver is stuck, the disk slow or the machine busy"
    elif code < 0:  # a signal's number
        name = next((one.name for one in signal.Signals if one == -code), f"signal {-code}")
        end, reason = f"dies with {name}", "; ".join(filter(None, (reason, _SIGNALS.get(name))))
    elif code >= 0xC0000000:
        end = f"dies with 0x{code:08X}"
        reason = "; ".join(filter(None, (reason, _STATUSES.get(code))))
    end += f" ({facts.pop('doing', 'starting')})"
    return ProbeResult(facts, stderr, code == 0, code is None, end, reason)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a running process and its children, which would keep its output open."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()


def _last_message(stderr: str) -> str:
    """The line with the library's error message."""
    messages, _, _ = stderr.partition("Fatal Python error:")  # faulthandler's stack follows
    lines = [line.strip() for line in messages.splitlines() if line.strip()]
    openmp = [line for line in lines if "Error #" in line]  # hints follow it
    return (openmp[:1] or lines[-1:] or [""])[0]
