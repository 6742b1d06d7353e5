"""All settings of a training, as saved in run.json."""

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

    ``preset``: "reference" builds and trains the model as in the task's report.
    ``options``: options of the model, such as {"freeze": True}; see registry.Option.
    ``learning_rate``: for new parameters; ``encoder_learning_rate``: for pretrained parameters.
    ``augment``: flip images at random, and change their brightness, contrast and colour by up to
    ``color_jitter``. ``gradient_accumulation_steps``: the number of batches of ``batch_size`` in
    one optimiser step; several processes share them. ``group_by_length``: put texts of similar
    length into one batch. ``warmup_ratio``: the share of the optimiser steps in which the learning
    rate rises; then it follows a cosine to 0.
    ``keep``: the "best" epoch by validation macro F1, where training stops after ``patience``
    epochs without improvement; or the "last" epoch, so that the validation pairs choose nothing and
    their scores are unbiased. ``ema_decay``: keep an exponential moving average of the weights with
    this decay; 0 keeps the weights themselves. ``class_weights``, ``logit_adjustment``,
    ``label_smoothing``: see Criterion.
    ``modality_dropout``: the share of the training pairs without their text, and the share without
    their image, drawn again in every epoch, so that the model works without either.
    ``precision``: fp32, or bf16 or fp16 for mixed precision. ``max_length``: of a text, in tokens.
    ``validation_fraction`` and ``split_seed`` choose the validation pairs, independently of
    ``seed``, unless the data do. ``digests``: store short digests of all pairs in run and bundle.
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
        """The parts of a pair that the model sees; other parts are never read."""
        return ("text", "image") if self.modality == "both" else (self.modality,)

    def override(self, chosen: Mapping[str, Any]) -> "Settings":
        """These settings with the ``chosen`` values, except those that are None.

        Raises ValueError if a value has the wrong type or range.
        """
        given = {name: value for name, value in chosen.items() if value is not None}
        return msgspec.convert(msgspec.to_builtins(self) | given, Settings)
