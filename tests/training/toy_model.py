"""A complete model in one file, which mmsent itself does not know.

Its inputs are characters and the mean colours of a 4 x 4 grid. `write_weights` writes the folder
with its pretrained weights and their tokenizer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn

from mmsent.inputs.image import ImageSettings
from mmsent_training.models.pixels import missing_pair, pixel_batches
from mmsent_training.models.recipe import Ids, Inputs, Prepared, Task
from mmsent_training.models.registry import Model, Option
from mmsent_training.settings import Device, Preset, Settings
from mmsent_training.weights.checkpoint import WeightsUnavailable

MODEL = Model(
    __name__,
    (
        Option("toy", "source", "The folder of the toy's weights."),
        Option("freeze_colours", "flag", "Keep the pretrained projection of the colours."),
    ),
)
SIZE, GRID, WIDTH = 20, 4, 12
ALPHABET = "abcdefghijklmnopqrstuvwxyz #!?.,"


@dataclass(frozen=True)
class ToyWeights:
    """The weights in a folder."""

    folder: Path
    name: str
    revision: None
    sha256: str


def write_weights(folder: Path) -> Path:
    """Write pretrained weights: a projection of colours, and a tokenizer of characters."""
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[END]": 2} | {c: i for i, c in enumerate(ALPHABET, 3)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A [END]", special_tokens=[("[END]", 2)]
    )
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(WIDTH, 3 * GRID * GRID, generator=generator) / GRID
    save_file({"weight": weight}, folder / "colours.safetensors")
    return folder


def find_weights(sources: Mapping[str, str]) -> ToyWeights:
    """Find the weights in the folder that --toy names."""
    folder = Path(sources.get("toy", "toy"))
    try:
        content = (folder / "colours.safetensors").read_bytes()
    except OSError as error:
        raise WeightsUnavailable(f"the toy's weights are not in {folder}: {error}") from None
    return ToyWeights(folder, "toy", None, hashlib.sha256(content).hexdigest())


def default_settings(device: Device, preset: Preset) -> Settings:
    """A short training, with missing texts and images."""
    return Settings(
        model="toy",
        device=device,
        options={"freeze_colours": True},
        epochs=3,
        batch_size=10,
        gradient_accumulation_steps=2,
        learning_rate=1e-2,
        augment=True,
        ema_decay=0.9,
        modality_dropout=0.1,
        max_length=50,
    )


def read_inputs(task: Task) -> Inputs:
    """The tokenizer of the weights; images cropped to 20 x 20 pixels."""
    assert isinstance(task.weights, ToyWeights)
    tokenizer = Tokenizer.from_file(str(task.weights.folder / "tokenizer.json"))
    tokenizer.enable_truncation(task.settings.max_length)
    return Inputs(tokenizer, ImageSettings(size=SIZE, resize="crop", filter="bilinear"))


def create(task: Task, inputs: Inputs, ids: Ids) -> tuple[dict[str, Any], nn.Module]:
    """The network with the pretrained projection."""
    assert isinstance(task.weights, ToyWeights)
    labels, vocabulary = len(task.examples.label_names), inputs.tokenizer.get_vocab_size()
    model = Toy(labels, vocabulary)
    model.colours.load_state_dict(load_file(task.weights.folder / "colours.safetensors"))
    return {"labels": labels, "vocabulary": vocabulary}, model


def prepare(model: nn.Module, task: Task, inputs: Inputs, ids: Ids) -> Prepared:
    """Train all of it, on pixels."""
    assert isinstance(model, Toy)
    model.colours.requires_grad_(not task.settings.options["freeze_colours"])
    batches = pixel_batches(task, inputs, ids)
    return Prepared(model, *batches, missing_pair(inputs), pretrained=("colours.",))


class Toy(nn.Module):
    """A linear layer over the mean of the characters' embeddings and the projected colours."""

    def __init__(self, labels: int, vocabulary: int) -> None:
        super().__init__()
        self.characters = nn.Embedding(vocabulary, WIDTH)
        self.pool = nn.AvgPool2d(SIZE // GRID)
        self.colours = nn.Linear(3 * GRID * GRID, WIDTH, bias=False)
        self.head = nn.Linear(2 * WIDTH, labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pixels: Tensor) -> Tensor:
        """Logits, float [batch, labels]."""
        mask = attention_mask.unsqueeze(2).float()
        text = (self.characters(input_ids) * mask).sum(1) / mask.sum(1)
        grid = self.pool(pixels.permute(0, 3, 1, 2).float() / 255 - 0.5).flatten(1)
        logits: Tensor = self.head(torch.cat([text, self.colours(grid).tanh()], 1))
        return logits


build = Toy
