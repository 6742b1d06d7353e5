"""How exact mmsent is on real pairs: CLIP against transformers, any bundle against PyTorch.

    python benchmarks/exactness.py --data DIR [--run RUN --model model.onnx]
        [--clip CHECKPOINT --pairs 500]

With a run and its bundle: logits and labels of both on all of DIR's unlabelled pairs, and each
pair's probabilities alone and in a batch. With a checkpoint: ids, pixels and
embeddings, compared with those of transformers.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from transformers import CLIPModel, CLIPTokenizerFast

from clip_model import open_clip
from mmsent import SentimentModel
from mmsent.data.dataset import open_dataset
from mmsent.data.folder import TEST_LIST, image_file
from mmsent.files.progress import Progress
from mmsent.inputs.image import load_image
from mmsent.inputs.text import pad_ids, tokenize
from mmsent_training.runs.run import read_run
from result import write_result


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    pairs = list(open_dataset(options.data / TEST_LIST).rows())
    texts = [pair.read_text() for pair in pairs]
    files = [image_file(options.data, pair.guid) for pair in pairs]
    figures = {}
    if options.clip:
        few = texts[: options.pairs], files[: options.pairs]
        figures["transformers"] = compare_transformers(options.clip, *few)
    if options.run and options.model:
        figures["bundle"] = compare_bundle(options.run, options.model, texts, files)
    print(json.dumps(figures, indent=2))
    write_result(options.json, figures)


def compare_transformers(checkpoint: Path, texts: list[str], files: list[str]) -> dict[str, Any]:
    """Compare ids, pixels and embeddings with those of CLIPProcessor's two parts and CLIPModel.

    The tokenizer is the one that reads tokenizer.json. transformers 4 has another one, in Python,
    whose ids depend on whether ftfy is installed: with it, quotes are straightened; without it,
    Chinese characters are separated.
    """
    model, inputs = open_clip(checkpoint)
    tokenizer, settings = inputs.tokenizer, inputs.image
    reference_tokenizer = CLIPTokenizerFast.from_pretrained(checkpoint)
    # The class that uses Pillow: since transformers 5, the plain name is torchvision's.
    plain_name = "CLIPImageProcessor"
    pillow_name = plain_name + "Pil" if hasattr(transformers, plain_name + "Pil") else plain_name
    processor = getattr(transformers, pillow_name).from_pretrained(checkpoint)
    reference = CLIPModel.from_pretrained(checkpoint, use_safetensors=True).eval()

    ids = tokenize(tokenizer, texts)
    length = tokenizer.truncation["max_length"]
    wanted_ids = reference_tokenizer(texts, truncation=True, max_length=length)["input_ids"]
    differ = sum(a != b for a, b in zip(ids, wanted_ids))

    pixels_differ, largest = 0, 0.0
    with Progress("comparing", len(texts), "pairs") as progress, torch.inference_mode():
        for start in range(0, len(texts), 16):
            images = [Image.open(file) for file in files[start : start + 16]]
            pixels = np.stack([load_image(f, settings) for f in files[start : start + 16]])
            plain = processor(images, do_rescale=False, do_normalize=False, return_tensors="np")
            wanted = plain["pixel_values"].transpose(0, 2, 3, 1)
            pixels_differ += int((pixels != wanted).any(axis=(1, 2, 3)).sum())
            values = processor(images, return_tensors="pt")["pixel_values"]
            input_ids, mask = map(torch.from_numpy, pad_ids(ids[start : start + 16]))
            outputs = reference(input_ids=input_ids, attention_mask=mask, pixel_values=values)
            both = torch.cat([outputs.text_embeds, outputs.image_embeds], dim=1)
            got = model.embed(input_ids, mask, torch.from_numpy(pixels))
            largest = max(largest, float((got - both).abs().max()))
            progress.update(len(images))
    return {
        "pairs": len(texts),
        "texts_whose_ids_differ": differ,
        "images_whose_pixels_differ": pixels_differ,
        "embeddings_difference": largest,
    }


def compare_bundle(
    run_folder: Path, bundle: Path, texts: list[str], files: list[str]
) -> dict[str, Any]:
    """The run's PyTorch model, one pair at a time, and its bundle, alone and in batches."""
    run = read_run(run_folder)
    model, served = run.load_model(), SentimentModel(bundle)
    largest, alone, changed = 0.0, 0.0, 0
    together = served.predict(texts, files)
    with Progress("comparing", len(texts), "pairs") as progress, torch.inference_mode():
        for text, file, in_batch in zip(texts, files, together):
            ids = tokenize(run.tokenizer, [text])
            pixels = np.array(
                load_image(file, run.record.image)[None]
            )  # PyTorch requires a writable array
            wanted = model(*map(torch.from_numpy, (*pad_ids(ids), pixels))).numpy()
            logits, probabilities = served.run(served.tokenize([text]), pixels)
            largest = max(largest, float(np.abs(logits - wanted).max()))
            changed += int(logits.argmax() != wanted.argmax())
            difference = probabilities[0] - [in_batch.probabilities[name] for name in served.labels]
            alone = max(alone, float(np.abs(difference).max()))
            progress.update()
    return {
        "model": run.record.settings.model,
        "pairs": len(texts),
        "labels_that_differ": changed,
        "logits_difference": largest,
        "alone_difference": alone,
    }


if __name__ == "__main__":
    main()
