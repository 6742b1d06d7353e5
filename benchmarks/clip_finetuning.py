"""Fine-tune CLIP, compared with a typical loop: decode, process, step.

    python benchmarks/clip_finetuning.py --data DIR --clip CHECKPOINT [--device cuda] [--pairs 640]

The loop opens each image when it is requested, lets transformers' processor prepare each batch, and
computes in fp32 with PyTorch's default DataLoader; it is measured on --pairs pairs. mmsent trains
a full epoch in each precision, with the same batch size and initial weights, so that the losses
are comparable. On a GPU, it also prints utilisation and peak memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizerFast

from mmsent.data.folder import image_file
from mmsent.data.labels import SENTIMENTS
from mmsent.data.training import TrainingSource
from mmsent_training.models.registry import Choice, choose, default_settings
from mmsent_training.settings import Settings
from mmsent_training.train import train
from result import write_result

BATCH = 32


class Pairs(Dataset):
    """Opens each pair when it is requested."""

    def __init__(self, folder: Path, rows: list) -> None:
        self.folder, self.rows = folder, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int):
        row = self.rows[index]
        image = Image.open(image_file(self.folder, row.guid)).convert("RGB")
        return row.read_text(), image, SENTIMENTS.index(row.label)


class PlainModel(nn.Module):
    """CLIP's two embeddings below the same head as mmsent's."""

    def __init__(self, checkpoint: Path) -> None:
        super().__init__()
        self.clip = CLIPModel.from_pretrained(checkpoint, use_safetensors=True)
        width = 2 * self.clip.config.projection_dim
        self.head = nn.Sequential(
            nn.Linear(width, 512), nn.ReLU(), nn.Dropout(0.2), nn.Linear(512, len(SENTIMENTS))
        )

    def forward(self, **inputs):
        outputs = self.clip(**inputs)
        return self.head(torch.cat([outputs.text_embeds, outputs.image_embeds], dim=1))


def clip_rate(options: argparse.Namespace, rows: list) -> float:
    """The typical loop's pairs per second with CLIP."""
    tokenizer = CLIPTokenizerFast.from_pretrained(options.clip)
    processor = CLIPImageProcessor.from_pretrained(options.clip)

    def prepare(texts, images):
        encoded = tokenizer(
            texts, padding=True, truncation=True, max_length=77, return_tensors="pt"
        )
        return {**encoded, **processor(images, return_tensors="pt")}

    return plain_rate(PlainModel(options.clip), prepare, options, rows)


def plain_rate(
    model: nn.Module, prepare: Callable[[list, list], dict], options: argparse.Namespace, rows: list
) -> float:
    """The typical loop's pairs per second.

    ``prepare``: texts and images to the arguments of ``model``, which returns logits.
    """
    model.to(options.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)

    def collate(items):
        texts, images, labels = zip(*items)
        return prepare([*texts], [*images]), torch.tensor(labels)

    loader = DataLoader(Pairs(options.data, rows), BATCH, shuffle=True, collate_fn=collate)
    start, done = time.perf_counter(), 0
    for step, (inputs, labels) in enumerate(loader):
        inputs = {name: tensor.to(options.device) for name, tensor in inputs.items()}
        loss = nn.functional.cross_entropy(model(**inputs), labels.to(options.device))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.item()  # waits for the GPU
        if step == 1:  # the first two steps initialise the libraries
            start, done = time.perf_counter(), -len(labels)
        done += len(labels)
    return done / (time.perf_counter() - start)


def mmsent_epoch(
    settings: Settings, choice: Choice, options: argparse.Namespace, folder: Path
) -> dict[str, float]:
    """One epoch of `mmsent train`: rate, losses, total seconds and GPU memory."""
    if options.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with utilisation(options.device) as used:
        run = train(options.data, settings, choice, folder)
    [epoch] = pd.read_csv(run / "history.csv").to_dict("records")
    record = json.loads((run / "run.json").read_text())
    result = {
        "pairs_per_second": record["dataset"]["train_pairs"] / epoch["seconds"],
        "train_loss": epoch["train_loss"],
        "validation_loss": epoch["validation_loss"],
        "seconds": record["seconds"],
    }
    if options.device == "cuda":
        result["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
        result["utilisation"] = sum(used) / max(1, len(used))
    return result


@contextmanager
def utilisation(device: str) -> Iterator[list[int]]:
    """The GPU's utilisation in percent, sampled twice a second; idle samples are left out."""
    samples: list[int] = []
    if device != "cuda":
        yield samples
        return
    query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    with subprocess.Popen([*query, "-lms", "500"], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield samples
        finally:
            process.terminate()
            assert process.stdout is not None
            samples += [int(line) for line in process.stdout if line.strip().isdigit()]
            samples[:] = [sample for sample in samples if sample]


def measure(
    options: argparse.Namespace,
    plain: Callable[[argparse.Namespace, list], float],
    model: str,
    sources: dict[str, Path],
    **chosen: object,
) -> None:
    """Measure the loop ``plain``, and mmsent in each precision; print the ratios."""
    rows = TrainingSource(options.data).read().train
    rate = plain(options, rows[: options.pairs])
    print(f"the typical loop, fp32: {rate:.1f} pairs a second")
    results = {"device": options.device, "plain_pairs_per_second": rate}
    if options.device == "cuda":
        results["gpu"] = torch.cuda.get_device_name()
    chosen |= {"epochs": 1, "batch_size": BATCH, "gradient_accumulation_steps": 1}
    choice = choose(model, sources)
    with tempfile.TemporaryDirectory() as folder:
        for precision in ("fp32", "bf16", "fp16") if options.device == "cuda" else ("fp32",):
            settings = default_settings(model, options.device, precision=precision, **chosen)
            found = mmsent_epoch(settings, choice, options, Path(folder, precision))
            results[precision] = found
            print(
                f"mmsent train, {precision}: {found['pairs_per_second']:.1f} pairs a second, "
                f"{found['pairs_per_second'] / rate:.1f} times; "
                + ", ".join(f"{key} {value:.4g}" for key, value in found.items())
            )
    write_result(options.json, results)


def arguments(description: str, *encoders: str) -> argparse.Namespace:
    """The command's options; ``encoders`` are those for the weights."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    for name in ("data", *encoders):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--pairs", type=int, default=640)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    options = arguments(__doc__, "clip")
    measure(options, clip_rate, "clip", {"clip": options.clip}, freeze=False)
