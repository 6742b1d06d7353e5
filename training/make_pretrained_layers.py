"""Make weights/pretrained_layers.safetensors again: what the rated texts change in MiniLM.

    python training/make_pretrained_layers.py [FILE]

It takes a few minutes. PRETRAINED_LAYERS.md in the same folder describes it. A new file needs
its SHA-256 in weights/packages.py.
"""

import logging
import sys
from pathlib import Path

import numpy as np
import safetensors.torch

from mmsent.data.labels import SENTIMENTS
from mmsent_training.devices import reproducible
from mmsent_training.examples import Examples
from mmsent_training.models import compact
from mmsent_training.models.pretraining import SETTINGS, train_layers
from mmsent_training.models.recipe import Task
from mmsent_training.settings import Settings
from mmsent_training.weights.packages import LAYERS


def main(target: Path) -> None:
    """Train the layers on one thread in fp32, so that other machines make the same file."""
    settings = Settings(model="compact", modality="text")
    examples = Examples([], [], np.empty(0, np.int64), SENTIMENTS, [], [])
    task = Task(settings, compact.find_weights({}), examples, [], [])
    inputs = compact.read_inputs(task)
    with reproducible(SETTINGS.seed, threads=1, device="cpu"):
        _, model = compact.create(task, inputs, [])
        layers = model.head.text
        before = {name: tensor.clone() for name, tensor in layers.state_dict().items()}
        train_layers(model, layers, inputs.tokenizer, precision="fp32")
    after = layers.state_dict()
    changes = {name: (after[name] - before[name]).half() for name in after}
    target.write_bytes(safetensors.torch.save(changes))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else LAYERS)
