"""The hub: whether it answers."""

from __future__ import annotations

import urllib.error
import urllib.request

from mmsent.doctor.child import Tell


def probe(tell: Tell, address: str) -> None:
    """Ask for the headers of a file at ``address``: any answer of a server is one."""
    tell(doing="asking the hub")
    try:
        request = urllib.request.Request(address, method="HEAD")
        with urllib.request.urlopen(request) as response:
            tell(status=response.status)
    except urllib.error.HTTPError as error:
        tell(status=error.code)
    except (OSError, ValueError) as error:  # no route, no name, no certificate, no URL
        tell(error=str(getattr(error, "reason", error)))
