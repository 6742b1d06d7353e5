"""Remove everything from a report that identifies its author or machine."""

import contextlib
import getpass
import re
import socket
from pathlib import Path
from typing import Any

from mmsent.doctor.finding import variables


def redact(value: Any) -> Any:
    """``value`` without home folders, user names, the host name, tokens and passwords."""
    if isinstance(value, str):
        for pattern, replacement in _patterns():
            value = re.sub(pattern, replacement, value)
        return value
    if isinstance(value, dict):
        return {redact(key): redact(item) for key, item in value.items()}
    return [redact(item) for item in value] if isinstance(value, list | tuple) else value


def _patterns() -> list[tuple[str, str]]:
    """Regular expressions and what replaces their matches, in this order."""
    home, host = str(Path.home()), socket.gethostname()
    users = set(variables("USER", "LOGNAME", "USERNAME", "SUDO_USER").values())
    with contextlib.suppress(OSError, KeyError):  # a container's user may have a number only
        users.add(getpass.getuser())
    users = {user for user in users if len(user) > 1 and user != "root"}
    patterns = [
        (r"(/home/|/Users/|\\Users\\)[^/\\\s:'\"]+", r"\1USER"),
        *((rf"(?<=[/\\@=]){re.escape(user)}(?![\w-])", "USER") for user in users),
        (r"(?<=://)[^/@\s]+@", ""),  # user:password@
        (r"\b(hf_|api_org_|ghp_|sk-)\w{6,}", r"\1…"),
        (r"(?i)((token|secret|password|api_?key)[\"']?\s*[=:]\s*[\"']?)[^\s\"',}]+", r"\1…"),
    ]
    if len(home) > 1:
        patterns.insert(0, (rf"{re.escape(home)}(?![\w.-])", "~"))
    if len(host) > 3 and host != "localhost":
        patterns.append((rf"(?<![\w-]){re.escape(host)}(?![\w-])", "HOST"))
    return patterns
