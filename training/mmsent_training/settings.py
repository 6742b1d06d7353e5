"""All settings of training, as saved in run.json."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta, inspect

from mmsent.data.labels import VALIDATION_FRACTION
from mmsent.errors import InputError

if TYPE_CHECKING:  # help shows the settings, and pairs need numpy
    from mmsent.data.pair import Part

Device = Literal["cpu", "cuda"]
Modality = Literal["both", "text", "image"]
Precision = Literal["fp32", "bf16", "fp16"]
Preset = Literal["default", "reference"]
OptionValue = bool | int | float | str

MOST = 1e30
"""The largest number: PyTorch computes in float32, which ends at 3e38."""

Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Seed = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0, le=MOST)]
NotNegative = Annotated[float, Meta(ge=0, le=MOST)]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a model is trained. A recipe gives the defaults for its model and device.

    ``preset``: "reference" builds and trains the model as in the task's report.
    ``options``: options of the model, such as {"freeze": True}; see registry.Option.
    ``learning_rate``: for new parameters; ``encoder_learning_rate``: for pretrained parameters.
    ``layer_decay``: the factor of that for each layer above a parameter; only dual uses it.
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
    learning_rate: Positive = 1e-3
    encoder_learning_rate: NotNegative = 1e-5
    layer_decay: Share = 1.0
    weight_decay: NotNegative = 1e-4
    warmup_ratio: Share = 0.1
    max_grad_norm: Positive = 1.0
    augment: bool = True
    color_jitter: NotNegative = 0.15
    keep: Literal["best", "last"] = "best"
    patience: Count = 3
    ema_decay: Share = 0.0
    class_weights: bool = True
    logit_adjustment: float = 0.0
    label_smoothing: Share = 0.0
    modality_dropout: Share = 0.0
    max_length: Count = 96
    validation_fraction: Annotated[float, Meta(gt=0, lt=1)] = VALIDATION_FRACTION
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


SETTABLE: dict[str, Any] = {each.name: each.type for each in fields(Settings)}
"""The types of the settings that `parse_assignments` takes."""
del SETTABLE["options"]  # a model's options have flags of their own


def parse_assignments(texts: Iterable[str]) -> dict[str, Any]:
    """The settings that ``texts`` assign, each FIELD=VALUE, as values of the fields' types.

    Raises InputError for an unknown field, a value that the field can't have, and two values.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise InputError(f"--set {text}: write FIELD=VALUE, as in --set learning_rate=0.001")
        if name not in SETTABLE:
            near = get_close_matches(name, SETTABLE, 1)
            hint = f"did you mean {near[0]}?" if near else f"the settings are {', '.join(SETTABLE)}"
            raise InputError(f"--set {text}: there is no setting {name!r}; {hint}")
        try:
            parsed = msgspec.convert(value, SETTABLE[name], strict=False)
            if isinstance(parsed, float) and not math.isfinite(parsed):
                raise ValueError
        except ValueError:
            wanted = _describe(SETTABLE[name])
            raise InputError(f"--set {text}: {name} must be {wanted}") from None
        if found.setdefault(name, parsed) != parsed:
            raise InputError(f"--set {name} is given twice: {found[name]} and {parsed}")
    return found


def _describe(kind: Any) -> str:
    """The values of a setting's type, in words."""
    info = inspect.type_info(kind)
    if isinstance(info, inspect.LiteralType):
        return f"one of {', '.join(map(str, info.values))}"
    if isinstance(info, inspect.IntType | inspect.FloatType):
        number = "an integer" if isinstance(info, inspect.IntType) else "a number"
        if info.lt is not None:
            return f"{number} between {info.gt} and {info.lt}"
        if info.gt is not None:
            return f"{number} above {info.gt}, and at most {info.le}"
        return number if info.ge is None else f"{number} from {info.ge} to {info.le}"
    return "true or false" if isinstance(info, inspect.BoolType) else "text"
