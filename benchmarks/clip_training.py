"""Train CLIP on a CPU: frozen with cached features, compared with a loop without a cache.

    python benchmarks/clip_training.py --data DIR --clip CHECKPOINT [--pairs 96]

One run measures how many pairs per second transformers' processor and model encode at batch 16 (a
sample of --pairs pairs, from their files; the loop's epochs are extrapolated from it), how many
mmsent embeds on the same sample, and the whole `mmsent train`, first without and then with its
cache.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizerFast

from clip_model import open_clip
from mmsent.data.folder import image_file
from mmsent.data.labels import SENTIMENTS
from mmsent.data.training import TrainingSource
from mmsent.inputs.text import tokenize
from mmsent_training.devices import embedding_precision
from mmsent_training.examples import read_examples
from mmsent_training.models.embeddings import cached_embeddings
from result import write_result

EPOCHS = 6


def main() -> None:
    """Measure all sides and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=96)
    parser.add_argument("--embedding-only", action="store_true", help="without the trainings")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = TrainingSource(options.data).read().train
    sample = rows[:: len(rows) // options.pairs][: options.pairs]

    results = {"pairs": len(rows), "sample": len(sample)}
    rates: dict[str, list[float]] = {"transformers": [], "mmsent": []}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MMSENT_CACHE"] = folder
        for repetition in range(3):
            rates["transformers"].append(len(sample) / plain_seconds(options, sample))
            rates["mmsent"].append(len(sample) / mmsent_seconds(options, sample, repetition))
        for name, values in rates.items():
            results[name] = sorted(values)[1]
            print(f"{name} embeds {results[name]:.1f} pairs a second (of {values})")
        ratio = results["mmsent"] / results["transformers"]
        print(f"embedding: {ratio:.1f} times as fast")
        if not options.embedding_only:
            loop = EPOCHS * len(rows) / results["transformers"]
            print(f"a loop that embeds in every epoch: {loop:.0f} s ({EPOCHS} epochs extrapolated)")
            for name in ("first", "again"):
                results[name] = train_seconds(options, Path(folder), name)
                print(
                    f"mmsent train, {name}: {results[name]:.0f} s, {loop / results[name]:.0f} times"
                )
    write_result(options.json, results)


def plain_seconds(options: argparse.Namespace, rows: list) -> float:
    """Seconds of transformers' processor and model, fp32, batch 16, from files to embeddings."""
    tokenizer = CLIPTokenizerFast.from_pretrained(options.clip)
    processor = CLIPImageProcessor.from_pretrained(options.clip)
    model = CLIPModel.from_pretrained(options.clip, use_safetensors=True).eval()
    start = time.perf_counter()
    with torch.inference_mode():
        for first in range(0, len(rows), 16):
            batch = rows[first : first + 16]
            texts = [row.read_text() for row in batch]
            images = [Image.open(image_file(options.data, row.guid)) for row in batch]
            encoded = tokenizer(
                texts, padding=True, truncation=True, max_length=77, return_tensors="pt"
            )
            model(**encoded, **processor(images, return_tensors="pt"))
    return time.perf_counter() - start


def mmsent_seconds(options: argparse.Namespace, rows: list, repetition: int) -> float:
    """Seconds in which a training with an empty cache embeds the same pairs."""
    model, inputs = open_clip(options.clip)
    start = time.perf_counter()
    examples = read_examples(rows, SENTIMENTS)
    cached_embeddings(
        model,
        examples,
        tokenize(inputs.tokenizer, examples.texts),
        range(len(rows)),
        inputs.image,
        key={"repetition": repetition},
        precision=embedding_precision("cpu"),
    )
    return time.perf_counter() - start


def train_seconds(options: argparse.Namespace, folder: Path, name: str) -> float:
    """Seconds of `mmsent train` in a separate process."""
    command = [Path(sys.executable).with_name("mmsent"), "train", "--model", "clip"]
    arguments = ["--clip", options.clip, "--data", options.data, "--output", folder / name]
    start = time.perf_counter()
    subprocess.run([*command, *arguments, "--device", "cpu"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
