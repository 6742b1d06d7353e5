"""Short digests of the pairs that a model was trained and validated on.

A run and its bundle store them, so that an evaluation can find pairs that the model has seen.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from mmsent.bundle.info import MAX_DIGESTS
from mmsent_training.examples import Examples

MIN_LENGTH, MAX_LENGTH = 6, 8
"""The possible sizes of a digest in bytes; the largest that fits is used."""
ROOM = (MAX_DIGESTS - 1000) // 4 * 3
"""The maximum size of all digests in bytes: base64 encodes three as four characters."""

Seen = Literal["pair", "image", "text"]
"""What a pair has in common with a training pair: everything, only its image, only its text."""
Side = Literal["training", "validation"]
Bytes = Annotated[bytes, Meta(max_length=ROOM)]


@dataclass(frozen=True)
class Digests:
    """The digests of the pairs that training used.

    ``training`` and ``validation``: for each pair in turn, the first ``length`` bytes of the
    SHA-256 of its text and of its image file, or zeros for a missing part. For a large dataset,
    only one pair in ``every`` is stored.

    The probability that a text or an image is mistaken for one of n others is n / 256**length:
    below 3e-15 for up to 46,000 pairs (8 bytes), and never above 3e-10 (6 bytes, 62,000 pairs).
    """

    length: Annotated[int, Meta(ge=MIN_LENGTH, le=MAX_LENGTH)]
    every: Annotated[int, Meta(ge=1)]
    training: Bytes = field(repr=False)
    validation: Bytes = field(repr=False)

    def compare(self, examples: Examples, side: Side) -> list[Seen | None]:
        """What each of ``examples`` has in common with the pairs of ``side``; None if nothing."""
        nothing, data = bytes(self.length), self.training if side == "training" else self.validation
        parts = [data[at : at + self.length] for at in range(0, len(data), self.length)]
        known = set(zip(parts[::2], parts[1::2])) - {(nothing, nothing)}
        texts, images = set(parts[::2]) - {nothing}, set(parts[1::2]) - {nothing}

        def seen(text: bytes, image: bytes) -> Seen | None:
            if (text, image) in known:
                return "pair"
            return "image" if image in images else "text" if text in texts else None

        rows = range(len(examples.pairs))
        return [seen(text, image) for text, image in _digests(examples, rows, self.length)]

    def to_json(self) -> str:
        """A JSON text of at most MAX_DIGESTS characters."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str) -> "Digests":
        """Parse the output of `to_json`. Raises ValueError if it is malformed."""
        try:
            return msgspec.json.decode(text, type=cls)
        except RecursionError as error:
            raise ValueError(str(error)) from None


def make_digests(examples: Examples, train: Sequence[int], validation: Sequence[int]) -> Digests:
    """The digests of the training and validation pairs among ``examples``."""
    sides = [[*_digests(examples, rows, MAX_LENGTH)] for rows in (train, validation)]
    count = len(sides[0]) + len(sides[1])
    # Each side may have one more than its share.
    every = -(-count // (ROOM // (2 * MIN_LENGTH) - 2))
    length = min(MAX_LENGTH, ROOM // (2 * (count // every + 2)))
    kept = (b"".join(part[:length] for both in side[::every] for part in both) for side in sides)
    return Digests(length, every, *kept)


def _digests(examples: Examples, rows: Iterable[int], length: int) -> Iterator[tuple[bytes, bytes]]:
    """The digests of text and image of some examples."""
    for row in rows:
        text, image = text_digest(examples.texts[row]), examples.image_digests[row]
        yield text[:length] or bytes(length), image[:length] or bytes(length)


def text_digest(text: str) -> bytes:
    """The SHA-256 of a text, in which white space does not count; b"" for an empty one."""
    words = " ".join(text.split()).encode()
    return hashlib.sha256(words).digest() if words else b""
