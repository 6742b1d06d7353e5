"""Fine-tune two complete encoders, compared with a typical loop: decode, process, step.

    python benchmarks/dual_finetuning.py --data DIR --text-encoder DIR --image-encoder DIR

Both encoders are folders of transformers. The loop and mmsent are as in clip_finetuning.py, with
the same encoders and batch size, and without augmentation. It has not run on a GPU yet.
"""

from __future__ import annotations

import argparse

import torch
from clip_finetuning import arguments, measure, plain_rate
from torch import nn
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from mmsent.data.labels import SENTIMENTS

LENGTH = 96
"""mmsent's maximum of tokens."""


class PlainModel(nn.Module):
    """A linear layer on the mean of the text's states and the image's first token."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__()
        self.text = AutoModel.from_pretrained(options.text_encoder, use_safetensors=True)
        self.image = AutoModel.from_pretrained(options.image_encoder, use_safetensors=True)
        width = self.text.config.hidden_size + self.image.config.hidden_size
        self.classifier = nn.Linear(width, len(SENTIMENTS))

    def forward(self, pixel_values, input_ids, attention_mask):
        states = self.text(input_ids=input_ids, attention_mask=attention_mask)[0]
        mask = attention_mask.unsqueeze(-1)
        text = (states * mask).sum(1) / mask.sum(1)
        image = self.image(pixel_values=pixel_values)[0][:, 0]
        return self.classifier(torch.cat([text, image], dim=1))


def dual_rate(options: argparse.Namespace, rows: list) -> float:
    """The typical loop's pairs per second."""
    tokenizer = AutoTokenizer.from_pretrained(options.text_encoder)
    processor = AutoImageProcessor.from_pretrained(options.image_encoder)

    def prepare(texts, images):
        encoded = tokenizer(
            texts, padding=True, truncation=True, max_length=LENGTH, return_tensors="pt"
        )
        encoded.pop("token_type_ids", None)
        return {**encoded, **processor(images, return_tensors="pt")}

    return plain_rate(PlainModel(options), prepare, options, rows)


if __name__ == "__main__":
    options = arguments(__doc__, "text-encoder", "image-encoder")
    sources = {"text_encoder": options.text_encoder, "image_encoder": options.image_encoder}
    whole = {"train_text_layers": "all", "train_image_blocks": "all", "augment": False}
    measure(options, dual_rate, "dual", sources, **whole)
