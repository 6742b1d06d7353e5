"""Untrusted text in Markdown."""

import re


def escape(text: str) -> str:
    """``text`` on one line, shown as it is."""
    return re.sub(r"([\\`*_{}\[\]<>()#!|~$&])", r"\\\1", " ".join(text.split()))
