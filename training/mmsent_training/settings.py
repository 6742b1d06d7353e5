"""Every setting of a training, in one place; saved in run.json."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Settings:
    """How a model is trained. The defaults are those for the light model on a CPU.

    ``preset``: whether the model is made as the task's report has it, "reference", or "default".
    ``freeze``: train the head alone, over what the frozen encoder makes of each pair once.
    ``rated_texts``: let the text encoder learn from texts that people have rated before anything.
    ``learning_rate`` is that of what is trained from nothing, ``encoder_learning_rate`` that of
    pretrained weights. ``augment``: flip images at random, and change their brightness, contrast
    and colour by up to ``jitter``.
    ``accumulation``: batches of ``batch_size`` whose gradients make one optimiser step; processes
    that train together divide them. ``group_by_length``: make batches of texts of like length.
    ``warmup``: the share of the optimiser steps in which the learning rate rises; then it falls
    along a cosine.
    ``keep``: the weights of the "best" epoch by validation macro F1, with training stopped after
    ``patience`` epochs without a better one; or of the "last", so that the validation pairs choose
    nothing and their scores are fair. ``average``: the decay of an exponential moving average of
    the weights, which is kept in their place; 0 for none. ``balance``, ``adjustment`` and
    ``smoothing`` shape the loss: see Criterion.
    ``missing``: the share of the training pairs that come without their text, and the share that
    come without their image, anew in every epoch; then the model can do without them.
    ``precision``: fp32, or bf16 or fp16 for mixed precision. ``split_seed`` and
    ``validation_share`` choose the validation pairs, whatever ``seed`` is.
    """

    model: str = "light"
    preset: str = "default"
    modality: str = "both"
    device: str = "cpu"
    precision: str = "fp32"
    freeze: bool = False
    rated_texts: bool = False
    epochs: int = 6
    batch_size: int = 16
    accumulation: int = 1
    group_by_length: bool = False
    learning_rate: float = 2e-3
    encoder_learning_rate: float = 1e-5
    weight_decay: float = 1e-4
    warmup: float = 0.1
    gradient_norm: float = 1.0
    augment: bool = True
    jitter: float = 0.15
    keep: str = "best"
    patience: int = 3
    average: float = 0.0
    balance: bool = True
    adjustment: float = 0.0
    smoothing: float = 0.0
    missing: float = 0.0
    max_length: int = 96
    validation_share: float = 0.1
    split_seed: int = 42
    seed: int = 42


def read_settings(content: dict[str, Any]) -> Settings:
    """The settings that run.json or unfinished.json holds; what a newer mmsent added is left out.

    Raises ValueError or TypeError where a value is not of its field's kind.
    """
    kinds = {name: type(value) for name, value in asdict(Settings()).items()}
    known = {name: value for name, value in content.items() if name in kinds}
    for name, value in known.items():
        if kinds[name] is float and type(value) is int:
            continue
        if type(value) is not kinds[name]:
            raise TypeError(f"the setting {name} can't be {value!r}")
        if kinds[name] is int and value < (0 if "seed" in name else 1):
            raise ValueError(f"the setting {name} can't be {value}")
    return Settings(**known)


def default_settings(
    model: str, device: str, *, preset: str = "default", **chosen: Any
) -> Settings:
    """The settings for ``model`` on ``device`` ("cpu", "cuda"), but for what is ``chosen``.

    A chosen field that is None keeps its default. ``preset``: "default", or "reference" for those
    of the task's report, which has clip and light.
    """
    settings = Settings(model=model, preset=preset, device=device)
    if device == "cuda":
        settings = replace(
            settings, epochs=10, batch_size=32, accumulation=2, precision=_gpu_precision()
        )
    if model == "clip":
        settings = replace(settings, freeze=device == "cpu", learning_rate=1e-3, augment=False)
        if device == "cpu" and preset == "default":
            settings = replace(settings, batch_size=8, accumulation=2)
    if model == "light" and preset == "default":
        settings = replace(
            settings,
            batch_size=16,
            accumulation=2,
            learning_rate=3e-3,
            keep="last",
            average=0.99,
            balance=False,
            adjustment=0.45,
            weight_decay=1e-2,
            max_length=128,
        )
    if model == "compact":
        settings = replace(
            settings,
            freeze=True,
            rated_texts=True,
            precision=settings.precision if device == "cuda" else _cpu_precision(),
            epochs=3,
            batch_size=16,
            accumulation=2,
            group_by_length=True,
            learning_rate=1e-3,
            encoder_learning_rate=4e-5,
            weight_decay=1e-2,
            augment=False,
            keep="last",
            average=0.99,
            balance=False,
            adjustment=0.25,
            missing=0.05,
        )
    return replace(settings, **{key: value for key, value in chosen.items() if value is not None})


def _cpu_precision() -> str:
    import torch

    from mmsent_training.models.embeddings import fast_precision

    return fast_precision(torch.device("cpu"))


def _gpu_precision() -> str:
    import torch

    # Compute capability 8.0 (Ampere) is the first with bf16 arithmetic; older ones emulate it.
    return "bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp16"
