"""Train light, compared with a typical loop: decode, augment, step.

    python benchmarks/training.py --data DIR [--pairs 640]

The loop decodes every image again in every epoch, on one thread, pads every text to 96 tokens and
computes in PyTorch's default layout; its model is the report's, that of `--preset reference`. It is
measured on --pairs pairs and extrapolated to six epochs; `mmsent train` runs completely, in a
separate process, with that preset and with the default one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from mmsent.data.folder import image_file
from mmsent.data.labels import SENTIMENTS
from mmsent.data.training import TrainingSource
from mmsent_training.models.light import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    LightModel,
    train_tokenizer,
)
from result import write_result

EPOCHS, BATCH, LENGTH = 6, 16, 96


class Pairs(Dataset):
    """Opens, decodes and augments each pair when it is requested."""

    def __init__(self, folder: Path, rows: list, tokenizer) -> None:
        self.folder, self.rows, self.tokenizer = folder, rows, tokenizer
        self.transform = v2.Compose(
            [
                v2.Resize((224, 224)),
                v2.RandomHorizontalFlip(),
                v2.ColorJitter(0.15, 0.15, 0.15),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int):
        row = self.rows[index]
        ids = torch.zeros(LENGTH, dtype=torch.int64)
        found = self.tokenizer.encode(row.read_text()).ids
        ids[: len(found)] = torch.tensor(found)
        image = Image.open(image_file(self.folder, row.guid)).convert("RGB")
        return ids, self.transform(image), SENTIMENTS.index(row.label)


class PlainModel(LightModel):
    """The same layers on padded texts and scaled images."""

    def forward(self, input_ids, images):
        mask = (input_ids != 0).unsqueeze(2)
        states, _ = self.gru(self.embedding(input_ids))
        text = self.text_projection((states * mask).sum(dim=1) / mask.sum(dim=1))
        image = self.image_projection(self.cnn(images))
        return self.head(torch.cat([text, image], dim=1))


def loop_rate(folder: Path, rows: list) -> float:
    """The typical loop's pairs per second."""
    texts = [row.read_text() for row in rows]
    tokenizer = train_tokenizer(texts, max_length=LENGTH, preset="reference")
    model = PlainModel(tokenizer.get_vocab_size())
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    loader = DataLoader(Pairs(folder, rows, tokenizer), batch_size=BATCH, shuffle=True)
    start = time.perf_counter()
    for ids, images, labels in loader:
        loss = nn.functional.cross_entropy(model(ids, images), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return len(rows) / (time.perf_counter() - start)


def train(folder: Path, preset: str) -> float:
    """Seconds that the command takes for six epochs."""
    command = [Path(sys.executable).with_name("mmsent"), "train", "--model", "light"]
    with tempfile.TemporaryDirectory() as runs:
        arguments = ["--data", folder, "--preset", preset, "--device", "cpu", "--output"]
        start = time.perf_counter()
        subprocess.run([*command, *arguments, f"{runs}/run"], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        epochs = json.loads(Path(runs, "run", "run.json").read_text())["epochs"]
    return seconds * EPOCHS / epochs  # it may have stopped early


def main() -> None:
    """Measure both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=640)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = TrainingSource(options.data).read().train
    rates = [loop_rate(options.data, rows[: options.pairs])]
    seconds = {preset: train(options.data, preset) for preset in ("reference", "default")}
    rates.append(loop_rate(options.data, rows[: options.pairs]))
    loop = EPOCHS * len(rows) * 0.9 / (sum(rates) / 2)
    print(f"the typical loop: {loop:.0f} s for {EPOCHS} epochs (extrapolated from {rates})")
    for preset, taken in seconds.items():
        print(
            f"mmsent train --preset {preset}: {taken:.0f} s, validation and report included; "
            f"{loop / taken:.1f} times as fast"
        )
    write_result(options.json, {"loop_seconds": loop, "mmsent_seconds": seconds})


if __name__ == "__main__":
    main()
