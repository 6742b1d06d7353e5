"""Vectors of 31,000 English words, made by MiniLM: all that is pretrained in the light model.

WORD_VECTORS.md has their origin, their licence and how they are made.
"""

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from mmsent_training.models.lexicon import LAST, begins_word, find_entries, number_entries

FILE = Path(__file__).parent / "word_vectors.safetensors"
WIDTH = 32
ROWS = 32_768
"""A power of two, for the binary search, above the number of words."""


def read_word_vectors() -> tuple[dict[str, Tensor], float]:
    """The vector of each word, in lower case: int8 [WIDTH]; and the scale of them all.

    With that scale, the features of the texts that WORD_VECTORS.md names have a variance of 1.
    """
    tensors = safetensors.torch.load_file(FILE)
    words = bytes(tensors["words"].tolist()).decode().split("\n")
    return dict(zip(words, tensors["vectors"], strict=True)), float(tensors["scale"])


class WordVectors(nn.Module):
    """Features of a text: the sum of its words' vectors, over the root of its number of tokens.

    ``vocabulary`` and ``longest`` are as Lexicon takes them. No word is known until `learn` is
    called.
    """

    def __init__(self, vocabulary: int, longest: int) -> None:
        super().__init__()
        self.longest = longest
        self.register_buffer("entries", torch.full((ROWS,), LAST))
        self.entries[0] = -1  # of no word: its vector stays 0
        self.register_buffer("vectors", torch.zeros(ROWS, WIDTH, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("begins", torch.zeros(vocabulary, dtype=torch.int8))

    def learn(self, vectors: Mapping[str, Tensor], scale: float, tokenizer: Tokenizer) -> None:
        """Store the words of at most ``longest`` tokens, none unknown; see read_word_vectors."""
        self.begins.copy_(begins_word(tokenizer))
        found = number_entries(vectors, tokenizer, self.longest)
        if numbers := sorted(found):  # the remaining rows keep LAST
            self.entries[1 : len(numbers) + 1] = torch.tensor(numbers)
            self.vectors[1 : len(numbers) + 1] = torch.stack([found[n] for n in numbers])
        self.scale.fill_(scale)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Of int64 [batch, tokens] each: float32 [batch, WIDTH]."""
        rows, known = find_entries(
            self.entries, self.begins, input_ids, attention_mask, self.longest
        )
        # At most one word ends at each token. Sums of small whole numbers are exact in any order,
        # so that padding changes nothing.
        summed = self.vectors[(rows * known).sum(0)].float().sum(1)
        return self.scale * summed / attention_mask.sum(dim=1, keepdim=True).sqrt()
