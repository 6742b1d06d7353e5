"""A small model: a GRU, a bag of n-grams, a lexicon, vectors of words, statistics of images."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Metaspace, Punctuation, Sequence, Whitespace
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer, WordLevelTrainer
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mmsent.data.labels import are_sentiments
from mmsent.data.pair import Part
from mmsent.inputs.image import MISSING, ImageSettings
from mmsent_training.devices import training_precision
from mmsent_training.models.gru import gru_states
from mmsent_training.models.image_statistics import SIZE, ImageStatistics
from mmsent_training.models.image_statistics import WIDTH as IMAGE_WIDTH
from mmsent_training.models.lexicon import FEATURES, Lexicon, read_lexicon, runs
from mmsent_training.models.pixels import missing_pair, pixel_batches
from mmsent_training.models.recipe import Fused, Ids, Inputs, Prepared, Task
from mmsent_training.models.word_vectors import WIDTH as WORD_WIDTH
from mmsent_training.models.word_vectors import WordVectors, read_word_vectors
from mmsent_training.settings import Device, Preset, Settings

IMAGE_SIZES: dict[Preset, int] = {"default": SIZE, "reference": 224}
SPECIAL = ("[PAD]", "[UNK]", "[START]")
MAX_WORDS = 30_000
SUBWORDS = 1_000
NGRAM = 3
"""The longest n-grams of the bag, in tokens."""
BAG_WIDTH = 16
"""Of the bag's rows, unless there are more labels: naive Bayes needs a column for each."""
MIN_TEXTS = 2
"""The minimum number of training texts with an n-gram of the bag."""
NAIVE_BAYES = 0.1
"""The factor of the log-count ratios in the bag's initial weights."""
LONGEST_ENTRY = 6
"""The longest entries of the lexicon, and words with a vector, in tokens; longer runs do not fit
into int64."""

NETWORKS: dict[Preset, dict[str, Any]] = {
    "default": {
        "width": 96,
        "ngrams": 65_521,
        "lexicon": True,
        "word_vectors": True,
        "image_statistics": True,
        "dropout": 0.5,
        "image_dropout": 0.5,
        "head_dropout": 0.5,
    },
    "reference": {},
}
"""The arguments of LightModel."""

# Of ImageNet's training images, on the scale 0 to 1 (torchvision's models document them).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


logger = logging.getLogger(__name__)


def find_weights(sources: Mapping[str, str]) -> None:
    """None: the word vectors come with mmsent."""


def default_settings(device: Device, preset: Preset) -> Settings:
    """Found by cross-validation (docs/experiments.md), or those of the task's report."""
    gpu = device == "cuda"
    settings = Settings(
        model="light",
        preset=preset,
        device=device,
        precision=training_precision(device),
        epochs=10 if gpu else 6,
    )
    if preset == "reference":
        size, steps = (32, 2) if gpu else (16, 1)
        return replace(
            settings, batch_size=size, gradient_accumulation_steps=steps, learning_rate=2e-3
        )
    return replace(
        settings,
        epochs=3,
        batch_size=16,
        gradient_accumulation_steps=2,
        group_by_length=True,
        learning_rate=3e-3,
        color_jitter=0,
        keep="last",
        ema_decay=0.99,
        class_weights=False,
        logit_adjustment=0.55,
        weight_decay=1e-2,
        max_length=128,
    )


def read_inputs(task: Task) -> Inputs:
    """A tokenizer trained on the training texts, and small stretched images."""
    preset, texts = task.settings.preset, [task.examples.texts[index] for index in task.train]
    tokenizer = train_tokenizer(texts, max_length=task.settings.max_length, preset=preset)
    image = ImageSettings(size=IMAGE_SIZES[preset], resize="stretch", filter="bilinear")
    return Inputs(tokenizer, image)


def create(task: Task, inputs: Inputs, ids: Ids) -> tuple[dict[str, Any], nn.Module]:
    """A new model, with the bag and the lexicon filled from the training texts."""
    description = {
        "vocabulary": inputs.tokenizer.get_vocab_size(),
        "labels": len(task.examples.label_names),
        "modality": task.settings.modality,
        **NETWORKS[task.settings.preset],
    }
    if description.get("lexicon") and not are_sentiments(task.examples.label_names):
        description["lexicon"] = False
        if task.settings.modality != "image":
            logger.info(
                "no lexicon: it rates words as negative or positive, and the labels are others"
            )
    model = LightModel(**description)
    labels = task.examples.labels[list(task.train)].tolist()
    model.learn_ngrams((ids[index] for index in task.train), labels)
    if model.lexicon is not None:
        model.lexicon.learn(read_lexicon(), inputs.tokenizer)
    if model.word_vectors is not None:
        model.word_vectors.learn(*read_word_vectors(), inputs.tokenizer)
    return description, model


def prepare(model: nn.Module, task: Task, inputs: Inputs, ids: Ids) -> Prepared:
    """The whole model, on pairs; if training drops images, they are optional."""
    batches = pixel_batches(task, inputs, ids)
    if model.image_statistics is not None:
        model.image_statistics.learn(torch.from_numpy(batches[0].pixels))
    drops = NETWORKS[task.settings.preset].get("image_dropout", 0) > 0
    optional: tuple[Part, ...] = ("image",) if drops else ()
    return Prepared(model, *batches, missing_pair(inputs), optional=optional)


def train_tokenizer(texts: Iterable[str], *, max_length: int, preset: Preset) -> Tokenizer:
    """A tokenizer of lower-cased words, numbers and punctuation marks.

    With the preset "reference", words seen at least twice are tokens, at most MAX_WORDS. Otherwise
    words are split into SUBWORDS by byte-pair encoding, so that unseen words are not lost. Every
    text begins with [START], so that an empty text has a token, too.
    """
    trainer: WordLevelTrainer | BpeTrainer
    if preset == "reference":
        tokenizer = Tokenizer(WordLevel(unk_token="[UNK]"))
        trainer = WordLevelTrainer(
            vocab_size=MAX_WORDS + len(SPECIAL),
            min_frequency=2,
            special_tokens=list(SPECIAL),
            show_progress=False,
        )
        split = [Whitespace(), Punctuation("isolated")]
    else:
        tokenizer = Tokenizer(BPE(unk_token="[UNK]"))
        trainer = BpeTrainer(vocab_size=SUBWORDS, special_tokens=list(SPECIAL), show_progress=False)
        # Metaspace marks where a word begins.
        split = [Whitespace(), Punctuation("isolated"), Metaspace()]
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Sequence(split)
    tokenizer.train_from_iterator(texts, trainer)
    start = tokenizer.token_to_id("[START]")
    tokenizer.post_processor = TemplateProcessing(
        single="[START] $A", special_tokens=[("[START]", start)]
    )
    tokenizer.enable_truncation(max_length)
    return tokenizer


class LightModel(nn.Module):
    """Text and image encoders of 256 features each, a head over both, and a bag of n-grams.

    The logits are a sum of up to four parts: the head over the two encoders; a linear layer over
    the bag, initialised as naive Bayes, because few texts teach a GRU little of what a bag of
    n-grams knows; and linear layers over the features of a lexicon and of word vectors. Call
    `learn_ngrams`, and `learn` of the lexicon, the word vectors and the image statistics, before
    training: until then they are empty. With the defaults this is the model of the task's report.

    Args:
        vocabulary: the number of tokens in the tokenizer.
        labels: the number of labels.
        modality: "both", or "text" or "image" to use only that one; the inputs stay the same.
        width: of the embedding, and of each direction of the GRU.
        ngrams: rows of the bag's hashed embedding, preferably a prime; 0: no bag. N-grams have up
            to NGRAM tokens.
        lexicon: whether to add the lexicon's features.
        word_vectors: whether to add features of the words' vectors.
        image_statistics: whether statistics of the image take the place of its CNN.
        dropout: of the encoders' and the bag's features.
        image_dropout: the share of training pairs whose image is dropped.
        head_dropout: the share of training pairs whose logits come without the head.
    """

    def __init__(  # noqa: PLR0913 (one for each part)
        self,
        vocabulary: int,
        labels: int = 3,
        modality: str = "both",
        width: int = 192,
        ngrams: int = 0,
        lexicon: bool = False,
        word_vectors: bool = False,
        image_statistics: bool = False,
        dropout: float = 0.0,
        image_dropout: float = 0.0,
        head_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.modality, self.vocabulary = modality, vocabulary
        self.ngrams = ngrams if modality != "image" else 0
        bag_width = max(BAG_WIDTH, labels)
        features = 0
        if modality != "image":
            self.embedding = nn.Embedding(vocabulary, width, padding_idx=0)
            self.gru = nn.GRU(width, width, batch_first=True, bidirectional=True)
            self.text_projection = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * width, 256))
            features += 256
        if self.ngrams:
            self.bag = nn.Embedding(ngrams, bag_width)
            nn.init.zeros_(self.bag.weight)
            self.register_buffer("known", torch.full((ngrams,), -1, dtype=torch.int32))
            self.bag_head = nn.Sequential(nn.Dropout(dropout), nn.Linear(bag_width, labels))
            with torch.no_grad():  # with unit variance, rare tokens dominate
                self.embedding.weight.mul_(0.3)
        self.lexicon = None
        if lexicon and modality != "image":
            self.lexicon = Lexicon(vocabulary, LONGEST_ENTRY)
            self.lexicon_head = nn.Linear(FEATURES, labels, bias=False)
            nn.init.zeros_(self.lexicon_head.weight)
        self.word_vectors = None
        if word_vectors and modality != "image":
            self.word_vectors = WordVectors(vocabulary, LONGEST_ENTRY)
            self.word_head = nn.Linear(WORD_WIDTH, labels, bias=False)
            nn.init.zeros_(self.word_head.weight)
        self.image_statistics = None
        if modality != "text":
            if image_statistics:
                self.image_statistics, image_width = ImageStatistics(), IMAGE_WIDTH
            else:
                self.cnn, image_width = make_cnn(), 256
                for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
                    buffer = torch.tensor(values).view(1, -1, 1, 1)
                    self.register_buffer(name, buffer, persistent=False)
            self.image_projection = nn.Sequential(nn.Dropout(dropout), nn.Linear(image_width, 256))
            features += 256
        # On few pairs, the CNN memorises the images, and the head then prefers it to the text.
        # Likewise, the encoders memorise the texts, and the sum then prefers the head to the bag.
        self.image_dropout = nn.Dropout1d(image_dropout if modality == "both" else 0.0)
        self.head_dropout = nn.Dropout1d(head_dropout)
        self.fused = Fused()
        self.head = nn.Sequential(
            nn.Linear(features, 256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, labels)
        )

    def embed_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The mean of the GRU's states over the tokens, projected: [batch, 256].

        Padding never reaches the GRU: the sequences are packed. Where a CPU trains, `gru_states`
        gives the same result sooner.
        """
        lengths = attention_mask.sum(dim=1)
        if self.training and input_ids.device.type == "cpu":
            states = gru_states(self.gru, self.embedding(input_ids), lengths)
        else:
            packed = pack_padded_sequence(
                self.embedding(input_ids), lengths.cpu(), batch_first=True, enforce_sorted=False
            )
            states, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True)
        # States are zero where there is padding.
        return self.text_projection(states.sum(dim=1) / lengths.unsqueeze(1))

    @torch.no_grad()
    def learn_ngrams(self, texts: Iterable[Iterable[int]], labels: Iterable[int]) -> None:
        """Fill the bag with the n-grams that occur in at least MIN_TEXTS of ``texts``.

        ``texts``: token ids; ``labels``: their indices. If several n-grams hash to one row, the one
        in the most texts takes it; the bag ignores all others. The weights start as naive Bayes:
        NAIVE_BAYES times each n-gram's log-count ratio, each label against the rest (Wang and
        Manning, Baselines and bigrams, 2012, equation 2, with a smoothing of 1). Does nothing if
        the model has no bag.
        """
        if not self.ngrams:
            return
        number_of_labels = self.head[-1].out_features
        counts: dict[int, list[int]] = defaultdict(lambda: [0] * number_of_labels)
        for ids, label in zip(texts, labels, strict=True):
            one = torch.tensor([[*ids]])
            found = [
                numbers[inside > 0]
                for numbers, inside in runs(one, one > 0, self.vocabulary, NGRAM)
            ]
            for number in set(torch.cat(found).tolist()):
                counts[number][label] += 1
        known = torch.full((self.ngrams,), -1, dtype=torch.int32)
        with_it: dict[int, list[int]] = {}
        for number, count in sorted(counts.items(), key=lambda item: (sum(item[1]), -item[0])):
            if sum(count) >= MIN_TEXTS:
                known[number % self.ngrams] = number // self.ngrams
                with_it[number % self.ngrams] = count
        self.known.copy_(known)
        inside = torch.tensor([*with_it.values()], dtype=torch.float32).view(-1, number_of_labels)
        outside = inside.sum(1, keepdim=True) - inside
        shares = [(1 + part) / (1 + part).sum(0) for part in (inside, outside)]
        ratios = NAIVE_BAYES * (shares[0] / shares[1]).log()
        nn.init.zeros_(self.bag.weight)
        self.bag.weight[list(with_it), :number_of_labels] = ratios.to(self.bag.weight)
        self.bag_head[-1].weight[:, :number_of_labels] = torch.eye(number_of_labels)
        nn.init.zeros_(self.bag_head[-1].bias)

    def embed_ngrams(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The sum of the rows of all known runs of tokens, scaled: [batch, bag width].

        A run's row is its number modulo ``ngrams``; the quotient distinguishes runs that share it.
        """
        found = []
        for numbers, inside in runs(input_ids, attention_mask, self.vocabulary, NGRAM):
            rows = numbers % self.ngrams
            quotients = torch.div(numbers, self.ngrams, rounding_mode="trunc")
            found.append((rows, inside * (self.known[rows] == quotients)))
        # One look-up for all sizes: the gradient of each would be as large as the whole table.
        rows, known = (torch.cat(part, dim=1) for part in zip(*found))
        summed = (self.bag(rows) * known.unsqueeze(2)).sum(dim=1)
        # Divide by the root of the number of runs, like the norm of a TF-IDF vector.
        scale = (NGRAM * attention_mask.sum(dim=1, keepdim=True)).sqrt()
        return summed / scale

    def embed_image(self, pixels: Tensor) -> Tensor:
        """Features of uint8 [batch, height, width, 3]: [batch, 256]."""
        if self.image_statistics is not None:
            return self.image_projection(self.image_statistics(pixels))
        # A permuted NHWC tensor is what PyTorch calls channels-last: the faster layout on CPUs.
        scaled = (pixels.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        return self.image_projection(self.cnn(scaled))

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pixels: Tensor) -> Tensor:
        features = []
        if self.modality != "image":
            features.append(self.embed_text(input_ids, attention_mask))
        if self.modality != "text":
            image = self.embed_image(pixels)
            features.append(self.image_dropout(image.unsqueeze(1)).squeeze(1))  # whole vectors
            if self.image_dropout.p > 0:  # a missing image, which is all grey, counts as dropped
                seen = (pixels.float() - MISSING).abs().amax(dim=(1, 2, 3)).clamp(max=1)
                features[-1] = features[-1] * seen.unsqueeze(1)
        logits = self.head(self.fused(torch.cat(features, dim=1)))
        if self.ngrams:
            logits = self.head_dropout(logits.unsqueeze(1)).squeeze(1)
            logits = logits + self.bag_head(self.embed_ngrams(input_ids, attention_mask))
        if self.lexicon is not None:
            logits = logits + self.lexicon_head(self.lexicon(input_ids, attention_mask))
        if self.word_vectors is not None:
            logits = logits + self.word_head(self.word_vectors(input_ids, attention_mask))
        return logits


def make_cnn() -> nn.Sequential:
    """Four convolutions, then the mean over the image: 256 features."""
    layers: list[nn.Module] = []
    for before, after in pairwise((3, 32, 64, 128, 256)):
        layers += [
            nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


build = LightModel
