"""How much of a text a tokenizer knows. A model can't learn or predict from the rest."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from threading import Lock

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel

from mmsent.inputs.scripts import main_script

logger = logging.getLogger(__name__)


class Coverage:
    """Counts unknown tokens. Thread-safe.

    Unknown are the tokenizer's token for unknown words or characters or, if it falls back to the
    bytes of UTF-8, the parts of a character that has no token of its own.
    ``unknown_texts``: the number of texts with more than half of their tokens unknown. Tokens that
    the tokenizer adds to every text don't count.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._unknown = unknown_ids(tokenizer)
        self._added = tokenizer.num_special_tokens_to_add(False)
        self._lock = Lock()
        self.texts = self.tokens = self.unknown_texts = self.unknown_tokens = 0

    def add(self, ids: Iterable[Sequence[int]]) -> list[bool]:
        """Count tokenized texts; returns whether each one is mostly unknown."""
        mostly, tokens, unknown_tokens = [], 0, 0
        for sequence in ids:
            length = len(sequence) - self._added
            unknown = sum(map(self._unknown.__contains__, sequence)) if self._unknown else 0
            mostly.append(2 * unknown > length)
            tokens += length
            unknown_tokens += unknown
        with self._lock:
            self.texts += len(mostly)
            self.tokens += tokens
            self.unknown_texts += sum(mostly)
            self.unknown_tokens += unknown_tokens
        return mostly

    def warn(self, scripts: Iterable[str] = ()) -> None:
        """Log how many texts are mostly unknown, if any; ``scripts``: of each of them."""
        if self.unknown_texts:
            counts = ", ".join(f"{name} {n}" for name, n in Counter(scripts).most_common(5))
            logger.warning(
                f"{self.unknown_texts} of {self.texts} texts are mostly unknown to the "
                f"model's tokenizer{counts and f' ({counts})'}; the model sees little of them"
            )


def warn_of_unknown(
    tokenizer: Tokenizer, texts: Sequence[str], ids: Sequence[Sequence[int]]
) -> Coverage:
    """Count ``texts``, tokenized as ``ids``; log how many are mostly unknown, and their scripts."""
    coverage = Coverage(tokenizer)
    mostly = coverage.add(ids)
    coverage.warn(main_script(text) for text, unknown in zip(texts, mostly) if unknown)
    return coverage


def unknown_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """The unknown tokens of a tokenizer: see Coverage."""
    if isinstance(tokenizer.decoder, ByteLevel):  # every byte has a token: nothing is unknown
        suffix = getattr(tokenizer.model, "end_of_word_suffix", None) or ""
        vocabulary: dict[str, int] = tokenizer.get_vocab(with_added_tokens=False)
        return frozenset(
            number for token, number in vocabulary.items() if _is_piece(token.removesuffix(suffix))
        )
    tokens = [getattr(tokenizer.model, "unk_token", None)]
    if getattr(tokenizer.model, "byte_fallback", False):
        tokens = [f"<0x{byte:02X}>" for byte in range(0x80, 0x100)]  # bytes below that are ASCII
    numbers = (tokenizer.token_to_id(token) for token in tokens if token)
    return frozenset(number for number in numbers if number is not None)


def _is_piece(token: str) -> bool:
    """Whether a token of byte-level BPE contains part of a character."""
    if token.isascii() or not all(character in _BYTES for character in token):
        return False  # the latter is a special token
    try:
        bytes(_BYTES[character] for character in token).decode()
    except UnicodeDecodeError:
        return True
    return False


def _byte_characters() -> dict[str, int]:
    """The characters that represent bytes in byte-level BPE.

    Printable characters of Latin-1 represent themselves, the others start at U+0100 (Radford et
    al., Language Models are Unsupervised Multitask Learners, 2019; bytes_to_unicode in their code).
    """
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {
        chr(0x100 + place): byte for place, byte in enumerate(others)
    }


_BYTES = _byte_characters()
