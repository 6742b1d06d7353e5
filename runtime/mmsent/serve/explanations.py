"""Explanations, one at a time, since each takes many predictions; batches continue meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from mmsent.data.pair import Pair
from mmsent.errors import InputError, MmsentError
from mmsent.predict.explain.explanation import Explanation
from mmsent.serve.models import Loaded
from mmsent.serve.problems import HTTPProblem, busy

WAITING = 8
"""The number of explanation requests that may wait."""

MEDIA_TYPES = ("application/json", "text/html", "image/png")
"""The formats of an explanation; the first is the default."""


class Explainer:
    """One thread that explains. Call all methods in the event loop's thread."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="explain")
        self._asked = 0

    async def explain(self, model: Loaded, pair: Pair) -> Explanation:
        """Explain the prediction of a valid pair.

        Raises HTTPProblem 503 if too many requests wait. If it is cancelled before it begins,
        nothing is computed.
        """

        def work() -> Explanation:
            text = None if pair.lacks("text") else pair.read_text()
            image = None if pair.lacks("image") else pair.read("image")
            return model.on_all_cores.explain(text, image)

        if self._asked > WAITING:
            raise busy(f"{WAITING} explanations are waiting already; try again")
        self._asked += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except InputError as error:
            raise HTTPProblem(422, str(error)) from None
        except MmsentError as error:
            raise HTTPProblem(500, str(error)) from None
        finally:
            self._asked -= 1

    def close(self) -> None:
        """End the thread after its current explanation."""
        self._thread.shutdown(cancel_futures=True)


def choose_media_type(accept: str) -> str:
    """The media type that an Accept header prefers (RFC 9110, 12.5.1). Raises HTTPProblem 406."""
    ranges: dict[str, float] = {}
    for item in accept.split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        weights = [value for value in parameters if value.startswith("q=")]
        try:
            ranges[name] = float(weights[0][2:]) if weights else 1.0
        except ValueError:
            ranges[name] = 0.0
    best, weight = "", 0.0
    for media_type in MEDIA_TYPES:
        family = media_type.partition("/")[0] + "/*"
        matches = [ranges[name] for name in (media_type, family, "*/*") if name in ranges]
        if matches and matches[0] > weight:
            best, weight = media_type, matches[0]
    if not best:
        raise HTTPProblem(406, f"explanations are available as {', '.join(MEDIA_TYPES)}")
    return best


def writer(media_type: str) -> Callable[[Explanation], bytes]:
    """The function that writes an explanation as ``media_type``, one of MEDIA_TYPES."""
    if media_type == "text/html":
        from mmsent.predict.explain.html import to_html

        return lambda explanation: to_html(explanation).encode()
    if media_type == "image/png":
        from mmsent.predict.explain.picture import to_png

        return to_png
    return lambda explanation: explanation.to_json().encode()
