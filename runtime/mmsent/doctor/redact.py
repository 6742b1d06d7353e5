"""Taking out of a report what says who and where its author is."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import socket
from pathlib import Path
from typing import Any


def redact(value: Any) -> Any:
    """A plain value with its texts (not the keys) rid of homes, names, tokens and passwords."""
    if isinstance(value, str):
        return _redact_text(value)
    if isinstance(value, dict):
        return {_redact_text(key): redact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    return value


def _redact_text(text: str) -> str:
    home = str(Path.home())
    if len(home) > 1:
        text = re.sub(rf"{re.escape(home)}(?![\w.-])", "~", text)
    text = re.sub(r"(/home/|/Users/|\\Users\\)[^/\\\s:'\"]+", r"\1USER", text)
    for name in _names():
        text = re.sub(rf"(?<=[/\\@=]){re.escape(name)}(?![\w-])", "USER", text)
    host = socket.gethostname()
    if len(host) > 3 and host != "localhost":
        text = re.sub(rf"(?<![\w-]){re.escape(host)}(?![\w-])", "HOST", text)
    text = re.sub(r"(?<=://)[^/@\s]+@", "", text)  # user:password@
    text = re.sub(r"\b(hf_|api_org_|ghp_|sk-)\w{6,}", r"\1…", text)
    return re.sub(
        r"(?i)((?:token|secret|password|api_?key)[\"']?\s*[=:]\s*[\"']?)[^\s\"',}]+", r"\1…", text
    )


def _names() -> set[str]:
    """The names of the user; root is nobody's."""
    names = {
        os.environ.get(variable, "") for variable in ("USER", "LOGNAME", "USERNAME", "SUDO_USER")
    }
    with contextlib.suppress(OSError, KeyError):  # a container's user may have a number only
        names.add(getpass.getuser())
    return {name for name in names if len(name) > 1} - {"root"}
