"""Rated texts, on which a text encoder of the compact or dual model is trained first.

There are 18,512 tweets and sentences of reviews, each with the numbers of its 15 to 99 raters who
found it negative, neutral and positive. VADER was tested on them (Hutto and Gilbert, 2014;
PRETRAINING_TEXTS.md has the licence). Training on a related task first is called STILTs (Phang et
al., 2018). What they change in the compact model's layers is shipped: see PRETRAINED_LAYERS.md.
"""

import hashlib
from pathlib import Path

import safetensors.torch
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from mmsent.data.labels import SENTIMENTS
from mmsent.files.progress import Progress
from mmsent.inputs.text import pad_ids, tokenize
from mmsent_training.batches import batch_seed, divide_epoch
from mmsent_training.devices import libraries
from mmsent_training.distributed import broadcast, rank
from mmsent_training.models.embeddings import cache_file, read_cached, write_cached
from mmsent_training.optim import make_optimizer, warmup_cosine
from mmsent_training.settings import Precision, Settings
from mmsent_training.weights.packages import LAYERS

FILE = Path(__file__).parent / "pretraining_texts.tsv"
SETTINGS = Settings(
    model="compact",
    epochs=1,
    batch_size=32,
    group_by_length=True,
    learning_rate=1e-3,
    encoder_learning_rate=6e-5,
    weight_decay=1e-2,
    seed=0,  # not that of the training, so that all trainings start from the same weights
)


def read_texts() -> tuple[list[str], Tensor]:
    """The texts, and the share of raters for each label: float32 [texts, labels]."""
    _, *lines = FILE.read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    counts = torch.tensor(
        [[int(count) for count in row[: len(SENTIMENTS)]] for row in rows]
    ).float()
    return [row[-1] for row in rows], counts / counts.sum(1, keepdim=True)


def pretrain(
    model: nn.Module,
    layers: nn.Module,
    tokenizer: Tokenizer,
    *,
    weights: str,
    precision: Precision,
) -> None:
    """Train ``layers``, those of a model's head that read texts, to predict the raters' labels.

    ``model``: a DualModel. The result does not depend on the user's data, and is
    cached. ``weights``: the SHA-256 of the model's weights, and whatever else identifies the model.
    ``precision``: "bf16" for mixed precision.
    """
    content = {
        "weights": weights,
        "texts": hashlib.sha256(FILE.read_bytes()).hexdigest(),
        "tokenizer": tokenizer.to_str(),
        "settings": str(SETTINGS),
        "precision": precision,
        "device": next(model.parameters()).device.type,
        "threads": torch.get_num_threads(),
        "libraries": libraries(),
    }
    path = cache_file("layers", content)
    known = {}
    if rank() == 0:
        known = read_cached(path)
        if not known:
            train_layers(model, layers, tokenizer, precision=precision)
            known = {name: array.cpu().numpy() for name, array in layers.state_dict().items()}
            write_cached(path, known)
    known = broadcast(known)
    layers.load_state_dict({name: torch.from_numpy(array) for name, array in known.items()})


def add_changes(layers: nn.Module) -> None:
    """Make of the compact model's released ``layers`` what training them on the texts makes."""
    changes = safetensors.torch.load_file(LAYERS)
    released = layers.state_dict()
    layers.load_state_dict({name: released[name].cpu() + changes[name] for name in changes})


def train_layers(
    model: nn.Module, layers: nn.Module, tokenizer: Tokenizer, *, precision: Precision
) -> None:
    """Train ``layers`` of ``model``'s head, below an output layer that is discarded."""
    texts, shares = read_texts()
    ids = tokenize(tokenizer, texts)
    lengths = torch.tensor([len(item) for item in ids])
    device = next(model.parameters()).device
    torch.manual_seed(SETTINGS.seed)
    output = nn.Linear(model.head.text_width, len(SENTIMENTS)).to(device)
    trained = nn.ModuleDict({"layers": layers, "output": output})
    optimizer = make_optimizer(trained, SETTINGS, pretrained=("layers.",))
    steps = divide_epoch(lengths, SETTINGS, epoch=1)
    scheduler = LambdaLR(optimizer, warmup_cosine(len(steps), SETTINGS.warmup_ratio))
    model.eval()
    model.head.train()
    with Progress("pretraining", len(texts), "texts") as progress:
        for number, [rows] in enumerate(steps):
            torch.manual_seed(batch_seed(SETTINGS.seed, number))
            inputs = pad_ids([ids[row] for row in rows.tolist()])
            input_ids, mask = (torch.from_numpy(array).to(device) for array in inputs)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                with torch.no_grad():
                    states = model.embed_text(input_ids, mask)
                logits = output(model.head.text_features(states, mask))
            loss = nn.functional.cross_entropy(logits.float(), shares[rows].to(device))
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(layers.parameters(), SETTINGS.max_grad_norm)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            progress.update(len(rows))
