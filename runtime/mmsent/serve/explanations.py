"""Explanations: each takes many predictions, so one is computed at a time, beside the batches."""

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
"""How many requests for an explanation may wait for the one that is computed."""

MEDIA_TYPES = ("application/json", "text/html", "image/png")
"""What an explanation is written as; the first where the client has no preference."""


class Explainer:
    """One thread that explains. Used in the event loop's thread alone."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="explain")
        self._asked = 0

    async def explain(self, model: Loaded, pair: Pair) -> Explanation:
        """Explain the prediction of a pair that can be predicted.

        Raises HTTPProblem: 503 where too many wait. Where it is cancelled, and not begun, nothing
        is computed.
        """

        def work() -> Explanation:
            text = None if pair.lacks("text") else pair.read_text()
            image = None if pair.lacks("image") else pair.read("image")
            return model.on_all_cores.explain(text, image)

        if self._asked > WAITING:
            raise busy(f"{WAITING} explanations wait already; try again")
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
        """End the thread after what it computes."""
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
        raise HTTPProblem(406, f"an explanation is one of {', '.join(MEDIA_TYPES)}")
    return best


def writer(media_type: str) -> Callable[[Explanation], bytes]:
    """What writes an explanation as ``media_type``, one of MEDIA_TYPES."""
    if media_type == "text/html":
        from mmsent.predict.explain.html import to_html

        return lambda explanation: to_html(explanation).encode()
    if media_type == "image/png":
        from mmsent.predict.explain.picture import to_png

        return to_png
    return lambda explanation: explanation.to_json().encode()
