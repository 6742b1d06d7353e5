"""Every setting of a training, in one place; saved in run.json."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mmsent.data.labels import VALIDATION_FRACTION

if TYPE_CHECKING:  # help shows the settings, and pairs need numpy
    from mmsent.data.pair import Part

Device = Literal["cpu", "cuda"]
Modality = Literal["both", "text", "image"]
Precision = Literal["fp32", "bf16", "fp16"]
Preset = Literal["default", "reference"]
OptionValue = bool | int | float | str

Count = Annotated[int, Meta(ge=1)]
Seed = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a model is trained. A recipe gives the defaults for its model and device.

    ``preset``: "reference" builds and trains the model as the task's report has it.
    ``options``: the model's own, such as {"freeze": True}; see registry.Option.
    ``learning_rate`` is that of new parameters, ``encoder_learning_rate`` that of pretrained ones.
    ``augment``: flip images at random, and change their brightness, contrast and colour by up to
    ``color_jitter``. ``gradient_accumulation_steps``: batches of ``batch_size`` whose gradients
    make one optimiser step; processes that train together divide them. ``group_by_length``: put
    texts of similar length into one batch. ``warmup_ratio``: the share of the optimiser steps in
    which the learning rate rises; then it falls along a cosine.
    ``keep``: the weights of the "best" epoch by validation macro F1, where training stops after
    ``patience`` epochs without a better one; or of the "last", so that the validation pairs choose
    nothing and their scores are fair. ``ema_decay``: keep an exponential moving average of the
    weights instead, with this decay; 0 for none. ``class_weights``, ``logit_adjustment`` and
    ``label_smoothing`` shape the loss: see Criterion.
    ``modality_dropout``: the share of the training pairs that lose their text, and the share that
    lose their image, drawn again in every epoch; the model can then do without either.
    ``precision``: fp32, or bf16 or fp16 for mixed precision. ``max_length``: of a text, in tokens.
    ``validation_fraction`` and ``split_seed`` choose the validation pairs, whatever ``seed`` is,
    where the data don't. ``digests``: keep short digests of all pairs in run and bundle.
    """

    model: str
    preset: Preset = "default"
    modality: Modality = "both"
    device: Device = "cpu"
    precision: Precision = "fp32"
    options: dict[str, OptionValue] = field(default_factory=dict)
    epochs: Count = 6
    batch_size: Count = 16
    gradient_accumulation_steps: Count = 1
    group_by_length: bool = False
    learning_rate: float = 1e-3
    encoder_learning_rate: float = 1e-5
    weight_decay: float = 1e-4
    warmup_ratio: Share = 0.1
    max_grad_norm: float = 1.0
    augment: bool = True
    color_jitter: float = 0.15
    keep: Literal["best", "last"] = "best"
    patience: Count = 3
    ema_decay: Share = 0.0
    class_weights: bool = True
    logit_adjustment: float = 0.0
    label_smoothing: Share = 0.0
    modality_dropout: Share = 0.0
    max_length: Count = 96
    validation_fraction: Share = VALIDATION_FRACTION
    split_seed: Seed = 42
    seed: Seed = 42
    digests: bool = True

    @property
    def parts(self) -> "tuple[Part, ...]":
        """What the model sees of a pair; the rest is never read."""
        return ("text", "image") if self.modality == "both" else (self.modality,)

    def override(self, chosen: Mapping[str, Any]) -> "Settings":
        """These settings with the ``chosen`` ones; those that are None stay.

        Raises ValueError if one is not of its field's kind.
        """
        given = {name: value for name, value in chosen.items() if value is not None}
        return msgspec.convert(msgspec.to_builtins(self) | given, Settings)
