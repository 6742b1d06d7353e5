"""The light model: a bidirectional GRU over words beside a four-layer CNN, trained from nothing."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Punctuation, Sequence, Whitespace
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import WordLevelTrainer
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mmsent.image import MISSING, ImageSettings

IMAGE = ImageSettings(size=224, resize="stretch", filter="bilinear")
SPECIAL = ("[PAD]", "[UNK]", "[START]")
MAX_WORDS = 30_000
BAG_WIDTH = 32
PRESETS: dict[str, dict[str, Any]] = {
    "default": {"bigrams": 1 << 15, "dropout": 0.5, "drop_image": 0.5},
    "reference": {},
}
"""What LightModel is made with, by the preset."""

# Of ImageNet's training images, on the scale 0 to 1 (torchvision's models document them).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def train_tokenizer(texts: Iterable[str], *, max_length: int) -> Tokenizer:
    """A word-level tokenizer: lower-cased words, numbers and punctuation marks seen at least twice.

    Every text begins with [START], so that an empty one still has a token.
    """
    tokenizer = Tokenizer(WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Sequence([Whitespace(), Punctuation("isolated")])
    trainer = WordLevelTrainer(
        vocab_size=MAX_WORDS + len(SPECIAL),
        min_frequency=2,
        special_tokens=list(SPECIAL),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    start = tokenizer.token_to_id("[START]")
    tokenizer.post_processor = TemplateProcessing(
        single="[START] $A", special_tokens=[("[START]", start)]
    )
    tokenizer.enable_truncation(max_length)
    return tokenizer


class LightModel(nn.Module):
    """Text and image encoders of 256 features each, and a head over both.

    ``vocabulary``: tokens of the tokenizer. ``modality``: "both", or "text" or "image" to see only
    that one (the inputs stay the same). ``bigrams``: into how many rows of an embedding pairs of
    neighbouring words are hashed; their mean and the words' own stand beside the GRU's, since few
    texts teach a GRU little of what a bag of words and bigrams knows. ``dropout`` is that of both
    encoders' features; ``drop_image`` the share of the training pairs that come without their
    image. With none of these it is the model of the task's report.
    """

    def __init__(
        self,
        vocabulary: int,
        labels: int = 3,
        modality: str = "both",
        bigrams: int = 0,
        dropout: float = 0.0,
        drop_image: float = 0.0,
    ) -> None:
        super().__init__()
        self.modality, self.bigrams = modality, bigrams
        features = 0
        if modality != "image":
            self.embedding = nn.Embedding(vocabulary, 192, padding_idx=0)
            self.gru = nn.GRU(192, 192, batch_first=True, bidirectional=True)
            width = 2 * 192
            if bigrams:
                self.words = nn.Embedding(vocabulary, BAG_WIDTH)
                self.word_pairs = nn.Embedding(bigrams, BAG_WIDTH)
                width += BAG_WIDTH
                with torch.no_grad():  # of unit variance, rare words drown the others
                    for table in (self.embedding, self.words, self.word_pairs):
                        table.weight.mul_(0.1)
            self.text_projection = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, 256))
            features += 256
        if modality != "text":
            channels = (3, 32, 64, 128, 256)
            layers: list[nn.Module] = []
            for before, after in pairwise(channels):
                layers += [
                    nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
                    nn.BatchNorm2d(after),
                    nn.ReLU(inplace=True),
                ]
            self.cnn = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.image_projection = nn.Sequential(nn.Dropout(dropout), nn.Linear(256, 256))
            self.register_buffer("mean", _channels(IMAGENET_MEAN), persistent=False)
            self.register_buffer("std", _channels(IMAGENET_STD), persistent=False)
            features += 256
        # On few images the CNN learns them by heart, and the head then trusts it over the text.
        self.drop_image = nn.Dropout1d(drop_image if modality == "both" else 0.0)
        self.head = nn.Sequential(
            nn.Linear(features, 256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, labels)
        )

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Mean of the GRU's states over the tokens, and of the bag's rows, projected: [batch, 256].

        The sequences are packed: padding never reaches the GRU.
        """
        lengths = attention_mask.sum(dim=1)
        packed = pack_padded_sequence(
            self.embedding(input_ids), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        states, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True)
        # States are zero where there is padding.
        features = [states.sum(dim=1) / lengths.unsqueeze(1)]
        if self.bigrams:
            before = nn.functional.pad(input_ids[:, :-1], (1, 0))
            hashed = (before * 1_000_003 + input_ids * 7_919) % self.bigrams
            rows = (self.words(input_ids) + self.word_pairs(hashed)) * attention_mask.unsqueeze(2)
            # By the root of the length, as the length of a text's TF-IDF vector goes.
            features.append(rows.sum(dim=1) / lengths.unsqueeze(1).sqrt())
        return self.text_projection(torch.cat(features, dim=1))

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Features of uint8 [batch, height, width, 3]: [batch, 256]."""
        # A permuted NHWC tensor is what PyTorch calls channels-last: the faster layout on CPUs.
        scaled = (pixels.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        return self.image_projection(self.cnn(scaled))

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pixels: Tensor) -> Tensor:
        """Logits, float [batch, labels]."""
        features = []
        if self.modality != "image":
            features.append(self.encode_text(input_ids, attention_mask))
        if self.modality != "text":
            image = self.encode_image(pixels)
            features.append(self.drop_image(image.unsqueeze(1)).squeeze(1))  # whole vectors
            if self.drop_image.p > 0:  # and so does a missing image: it has one grey
                seen = (pixels.float() - MISSING).abs().amax(dim=(1, 2, 3)).clamp(max=1)
                features[-1] = features[-1] * seen.unsqueeze(1)
        return self.head(torch.cat(features, dim=1))


def _channels(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).view(1, -1, 1, 1)
