"""Texts that many people have rated: the compact model's text encoder learns from them first.

Tweets and sentences of reviews, 18,512, each with how many of its 15 to 99 raters found it
negative, neutral and positive: what VADER was tested on (Hutto and Gilbert, 2014;
PRETRAINING_TEXTS.md has its licence). Training on a related task first is known as STILTs (Phang et
al., 2018).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.optim.adamw import AdamW
from torch.optim.lr_scheduler import LambdaLR

from mmsent.data.dataset import LABELS
from mmsent.files.progress import Progress
from mmsent.inputs.text import encode_texts, pad_ids
from mmsent_training.distributed import broadcast, rank
from mmsent_training.models.embeddings import cache_folder, read_cached, write_cached
from mmsent_training.runs.run import libraries
from mmsent_training.settings import Settings
from mmsent_training.train import batch_seed, divide_epoch, warmup_cosine

FILE = Path(__file__).parent / "pretraining_texts.tsv"
RECIPE = Settings(
    epochs=1,
    batch_size=32,
    group_by_length=True,
    learning_rate=1e-3,
    encoder_learning_rate=6e-5,
    weight_decay=1e-2,
    seed=0,  # whatever a training's is, so that all trainings begin with the same weights
)


def read_rated_texts() -> tuple[list[str], Tensor]:
    """The texts, and which share of its raters gave each label to each: float32 [texts, labels]."""
    _, *lines = FILE.read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    counts = torch.tensor([[int(count) for count in row[: len(LABELS)]] for row in rows]).float()
    return [row[-1] for row in rows], counts / counts.sum(1, keepdim=True)


def learn_rated_texts(
    model: nn.Module, tokenizer: Tokenizer, *, weights: str, precision: str
) -> None:
    """Train the layers of a CompactModel's head to predict what the raters found.

    The outcome depends on nothing of the user's and is cached. ``weights``: the SHA-256 of the
    model's; ``precision``: "bf16" for mixed precision.
    """
    layers = model.head.layers
    content = {
        "weights": weights,
        "texts": hashlib.sha256(FILE.read_bytes()).hexdigest(),
        "tokenizer": tokenizer.to_str(),
        "recipe": str(RECIPE),
        "precision": precision,
        "device": next(model.parameters()).device.type,
        "threads": torch.get_num_threads(),
        "libraries": libraries(),
    }
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    path = cache_folder() / f"layers-{key[:32]}.safetensors"
    known = {}
    if rank() == 0:
        known = read_cached(path)
        if not known:
            _train(model, tokenizer, precision)
            known = {name: array.cpu().numpy() for name, array in layers.state_dict().items()}
            write_cached(path, known)
    known = broadcast(known)
    layers.load_state_dict({name: torch.from_numpy(array) for name, array in known.items()})


def _train(model: nn.Module, tokenizer: Tokenizer, precision: str) -> None:
    """Train the layers of ``model``'s head, under an output that is thrown away."""
    texts, shares = read_rated_texts()
    ids = encode_texts(tokenizer, texts)
    lengths = torch.tensor([len(item) for item in ids])
    device = next(model.parameters()).device
    torch.manual_seed(RECIPE.seed)
    output = nn.Linear(model.head.text_width, len(LABELS)).to(device)
    layers = model.head.layers
    groups = [
        {"params": layers.parameters(), "lr": RECIPE.encoder_learning_rate},
        {"params": output.parameters(), "lr": RECIPE.learning_rate},
    ]
    optimizer = AdamW(groups, weight_decay=RECIPE.weight_decay)
    steps = divide_epoch(lengths, RECIPE, epoch=1)
    scheduler = LambdaLR(optimizer, warmup_cosine(len(steps), RECIPE.warmup))
    model.text.eval()
    model.head.train()
    with Progress("learning from rated texts", len(texts), "texts") as progress:
        for number, [rows] in enumerate(steps):
            torch.manual_seed(batch_seed(RECIPE.seed, number))
            inputs = pad_ids([ids[row] for row in rows.tolist()])
            input_ids, mask = (torch.from_numpy(array).to(device) for array in inputs)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                with torch.no_grad():
                    states = model.encode_text(input_ids, mask)
                logits = output(model.head.text_features(states, mask))
            loss = nn.functional.cross_entropy(logits.float(), shares[rows].to(device))
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(layers.parameters(), RECIPE.gradient_norm)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            progress.update(len(rows))
