"""How much of a text a tokenizer knows: the rest of it a model can't learn from, or predict by."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from threading import Lock

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel

from mmsent.inputs.scripts import main_script

logger = logging.getLogger(__name__)


class Coverage:
    """Counts the tokens of texts that stand for nothing the tokenizer knows.

    Those are its token for unknown words or characters or, where it falls back to the bytes of
    UTF-8, the pieces of a character that it has no token for. Safe to share between threads.
    ``texts``, ``tokens``: how many there were; ``unknown_tokens``; ``unknown_texts``: how many of
    the texts are unknown for more than half of their tokens. Tokens that the tokenizer adds to
    every text don't count.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._unknown = unknown_ids(tokenizer)
        self._added = tokenizer.num_special_tokens_to_add(False)
        self._lock = Lock()
        self.texts = self.tokens = self.unknown_texts = self.unknown_tokens = 0

    def add(self, ids: Iterable[Sequence[int]]) -> list[bool]:
        """Count tokenized texts; which of them are mostly unknown."""
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
                f"{self.unknown_texts} of {self.texts} texts: most of it is unknown to the "
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
    """The tokens of a tokenizer that stand for nothing it knows: see Coverage."""
    if isinstance(tokenizer.decoder, ByteLevel):  # each byte has a token: nothing is unknown
        suffix = getattr(tokenizer.model, "end_of_word_suffix", None) or ""
        vocabulary: dict[str, int] = tokenizer.get_vocab(with_added_tokens=False)
        return frozenset(
            number for token, number in vocabulary.items() if _is_piece(token.removesuffix(suffix))
        )
    tokens = [getattr(tokenizer.model, "unk_token", None)]
    if getattr(tokenizer.model, "byte_fallback", False):
        tokens = [f"<0x{byte:02X}>" for byte in range(0x80, 0x100)]  # below is ASCII
    numbers = (tokenizer.token_to_id(token) for token in tokens if token)
    return frozenset(number for number in numbers if number is not None)


def _is_piece(token: str) -> bool:
    """Whether a token of byte-level BPE holds a character in part."""
    if token.isascii() or not all(character in _BYTES for character in token):
        return False  # the latter is a special token
    try:
        bytes(_BYTES[character] for character in token).decode()
    except UnicodeDecodeError:
        return True
    return False


def _byte_characters() -> dict[str, int]:
    """The characters that byte-level BPE writes bytes as.

    Printable ones of Latin-1 are themselves and the others follow from U+0100 on (Radford et al.,
    Language Models are Unsupervised Multitask Learners, 2019: `bytes_to_unicode` of their code).
    """
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {
        chr(0x100 + place): byte for place, byte in enumerate(others)
    }


_BYTES = _byte_characters()
