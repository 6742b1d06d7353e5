"""Parse the pairs of a request from a form (multipart/form-data) or JSON."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from mmsent.data.pair import Pair
from mmsent.errors import InputError
from mmsent.inputs.sources import check_text
from mmsent.serve.problems import HTTPProblem

MAX_PAIRS = 256
"""The maximum number of pairs in a request."""

FORM, JSON = "multipart/form-data", "application/json"
_DATA_URL = re.compile(r"data:[-\w.+/]*;base64,")
_URL = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


@dataclass(frozen=True)
class Payload:
    """The pairs of a request; ``several``: they were given as a list."""

    pairs: list[Pair]
    several: bool


def read_payload(content_type: str, body: bytes) -> Payload:
    """Parse a body of this media type.

    Raises HTTPProblem: 415 for another type, 400 if it is malformed, 422 if it contains anything
    other than texts and images.
    """
    kind, options = parse_options_header(content_type)
    if kind.decode("latin-1") == FORM:
        return Payload([_form_pair(_read_form(options.get(b"boundary", b""), body))], False)
    if kind.decode("latin-1") == JSON:
        return _json_payload(read_json(body))
    raise HTTPProblem(
        415,
        f"the body must be {FORM} (text, image) or {JSON}",
        headers={"accept-post": f"{FORM}, {JSON}"},
    )


def read_json(body: bytes) -> Any:
    """The value of a JSON text.

    Raises HTTPProblem 400 if it is invalid, or if an object has a name twice: one of the values
    would be ignored.
    """
    try:
        return json.loads(body, object_pairs_hook=_object)
    except RecursionError:
        reason = "it is nested too deeply"
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    except json.JSONDecodeError as error:
        reason = f"{error.msg}, at character {error.pos}"
    except ValueError:  # a number of thousands of digits
        reason = "a number is too long"
    raise HTTPProblem(400, f"the body is not JSON: {reason}")


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        raise HTTPProblem(400, "the body is not JSON: an object has a name twice")
    return found


def make_pair(index: int, text: str | None, image: bytes | None) -> Pair:
    """The pair at ``index`` (from 0) of a request. Raises HTTPProblem 422 for an invalid text."""
    if text is not None:
        try:
            check_text(text)
        except InputError as error:
            raise refused(index, str(error)) from None
    encoded = None if text is None else text.encode()
    return Pair("", None, "request", index + 1, encoded, image)


def refused(index: int, reason: str) -> HTTPProblem:
    """422 for the pair at ``index``."""
    return HTTPProblem(422, reason, errors=[{"pair": index, "detail": reason}])


def decode_image(index: int, value: Any) -> bytes | None:
    """An image in base64, also as a data URL; nothing is ever fetched.

    Raises HTTPProblem 422 for anything else.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise refused(index, "the image must be a string in base64, or null")
    prefix = _DATA_URL.match(value)
    if prefix is None and _URL.match(value):
        raise refused(index, "the image must be its bytes in base64; URLs are never fetched")
    try:
        return base64.b64decode(value[prefix.end() if prefix else 0 :], validate=True)
    except (binascii.Error, ValueError):
        raise refused(index, "the image is not base64") from None


def _json_payload(value: Any) -> Payload:
    if not isinstance(value, dict):
        raise HTTPProblem(422, 'the body must be an object: {"text", "image"} or {"pairs": [...]}')
    if "pairs" not in value:
        return Payload([_json_pair(0, value)], False)
    pairs = value["pairs"]
    if len(value) > 1 or not isinstance(pairs, list):
        raise HTTPProblem(422, "pairs must be a list, without other members next to it")
    if not 1 <= len(pairs) <= MAX_PAIRS:
        raise HTTPProblem(422, f"pairs must have 1 to {MAX_PAIRS} pairs, not {len(pairs)}")
    return Payload([_json_pair(index, pair) for index, pair in enumerate(pairs)], True)


def _json_pair(index: int, value: Any) -> Pair:
    if not isinstance(value, dict) or value.keys() - {"text", "image"}:
        raise refused(index, "a pair must be an object with text and image, and no other members")
    text = value.get("text")
    if not isinstance(text, str | None):
        raise refused(index, "the text must be a string, or null")
    return make_pair(index, text, decode_image(index, value.get("image")))


def _form_pair(fields: Mapping[str, bytes]) -> Pair:
    text = fields.get("text")
    try:
        decoded = None if text is None else text.decode()
    except UnicodeDecodeError:
        raise refused(0, "the text is not UTF-8") from None
    # A browser sends an empty file if none was chosen.
    return make_pair(0, decoded, fields.get("image") or None)


class _Form:
    """The fields of a form by name, in the order of the parser's callbacks."""

    def __init__(self) -> None:
        self.fields: dict[str, bytes] = {}
        self.whole = False
        self._header = self._value = self._disposition = b""
        self._content: list[bytes] = []

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._content.append(data[start:end])

    def on_part_end(self) -> None:
        _, options = parse_options_header(self._disposition.decode("latin-1"))
        name = options.get(b"name", b"").decode("latin-1")
        if name not in ("text", "image"):
            raise HTTPProblem(422, "a form must have only the fields text and image")
        if name in self.fields:
            raise HTTPProblem(
                422, f"the form has the field {name} twice; send several pairs as JSON"
            )
        self.fields[name] = b"".join(self._content)
        self._disposition = b""
        self._content.clear()

    def on_end(self) -> None:
        self.whole = True


def _read_form(boundary: bytes, body: bytes) -> dict[str, bytes]:
    """The fields of a form by name. Raises HTTPProblem 400 or 422."""
    form = _Form()
    try:
        if boundary:
            parser = MultipartParser(
                boundary,
                {
                    "on_header_field": form.on_header_field,
                    "on_header_value": form.on_header_value,
                    "on_header_end": form.on_header_end,
                    "on_part_data": form.on_part_data,
                    "on_part_end": form.on_part_end,
                    "on_end": form.on_end,
                },
            )
            parser.write(body)
            parser.finalize()
    except FormParserError:
        form.whole = False
    if not form.whole:
        raise HTTPProblem(400, "the body is not a complete multipart form")
    return form.fields
