"""The weights of a text encoder and an image encoder that a user names."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmsent.errors import InputError
from mmsent_training.weights import packages
from mmsent_training.weights.checkpoint import (
    CONFIG,
    PREPROCESSOR,
    TOKENIZER,
    TOKENIZER_CONFIG,
    VOCABULARY,
    Checkpoint,
)
from mmsent_training.weights.hub import find_checkpoint
from mmsent_training.weights.kind import Kind

TEXT_TYPES = ("bert", "camembert", "distilbert", "mpnet", "roberta", "xlm-roberta")
"""The text encoders that can be trained, as transformers' config.json names them."""
IMAGE_TYPES = (
    "timm", "clip", "clip_vision_model", "dinov2", "siglip", "siglip_vision_model", "vit",
)  # fmt: skip
"""The image encoders that can be trained; "timm" is any whose config.json is timm's."""
BPE_FILES = ("vocab.json", "merges.txt")


@dataclass(frozen=True)
class Encoders:
    """Verified weights of both encoders; see `Weights`.

    ``layers``: what the rated texts change in the text encoder's upper half, if that is known.
    """

    text: Checkpoint
    image: Checkpoint
    layers: Checkpoint | None = None

    @property
    def name(self) -> str:
        return f"{self.text.name} and {self.image.name}"

    @property
    def revision(self) -> str | None:
        found = [part.revision for part in (self.text, self.image)]
        return " and ".join(each or "a folder" for each in found) if any(found) else None

    @property
    def sha256(self) -> str:
        parts = (self.text, self.image, self.layers)
        joined = "".join(part.sha256 for part in parts if part)
        return hashlib.sha256(joined.encode()).hexdigest()


def find_encoders(text: str, image: str) -> Encoders:
    """Both encoders, each from a folder, the hub's cache or the hub.

    Raises WeightsUnavailable if one is unavailable or damaged, and InputError if it is of a type
    that mmsent does not train.
    """
    return Encoders(
        find_checkpoint(_inner(text), TEXT),
        _released(image) or find_checkpoint(_inner(image), IMAGE),
    )


def _inner(name: str) -> str:
    """The folder with the checkpoint, for that of a package, which has it in a folder of its own.

    Raises InputError if it has several.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir() or (folder / CONFIG).exists():
        return name
    found = sorted(path.parent for path in folder.glob(f"*/{CONFIG}"))
    if len(found) > 1:
        raise InputError(f"{name} has several checkpoints: {', '.join(map(str, found))}; name one")
    return str(found[0]) if found else name


def _released(name: str) -> Checkpoint | None:
    """EfficientNet-Lite0 in its pip package, whose pickle has a pinned SHA-256."""
    path = Path(name).expanduser() / packages.IMAGE_FILE
    if not path.is_file():
        return None
    requirement = f"{packages.IMAGE_PACKAGE}=={packages.VERSION}"
    packages.read_released(path, packages.IMAGE_SHA256, requirement)
    return Checkpoint(path.parent, name, packages.VERSION, packages.IMAGE_SHA256)


def _describe_text(model_type: str, exists: Callable[[str], bool]) -> list[str]:
    """A tokenizer.json or, for transformers to make one of it, a vocabulary."""
    vocabulary = [TOKENIZER]
    if not exists(TOKENIZER):
        if exists(VOCABULARY):
            vocabulary = [VOCABULARY]
        elif all(exists(file) for file in BPE_FILES):
            vocabulary = [*BPE_FILES]
        vocabulary += [TOKENIZER_CONFIG] if exists(TOKENIZER_CONFIG) else []
    return [CONFIG, *vocabulary]


def _describe_image(model_type: str, exists: Callable[[str], bool]) -> list[str]:
    return [CONFIG] if model_type == "timm" else [CONFIG, PREPROCESSOR]


TEXT = Kind("text_encoder", TEXT_TYPES, _describe_text)
IMAGE = Kind("image_encoder", IMAGE_TYPES, _describe_image)
