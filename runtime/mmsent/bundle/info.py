"""The bundle: one ONNX file with everything that prediction needs.

inputs    input_ids, attention_mask   int64   [batch, tokens]
          pixels                      uint8   [batch, height, width, 3]
outputs   logits, probabilities       float32 [batch, labels]
          embedding                   float32 [batch, features], optional
metadata  mmsent.bundle               JSON, see BundleInfo
          mmsent.tokenizer            a tokenizer.json
          mmsent.sha256               the SHA-256 of the file, see `mmsent.bundle.seal`
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from mmsent.data.labels import label_fault
from mmsent.data.pair import Part
from mmsent.errors import InputError
from mmsent.files.console import readable
from mmsent.inputs.image import ImageSettings

Precision = Literal["fp32", "fp16", "int8"]
Device = Literal["auto", "cpu", "cuda"]

FORMAT = 2
INFO_KEY = "mmsent.bundle"
TOKENIZER_KEY = "mmsent.tokenizer"
MAX_DIGESTS = 1_000_000
"""Maximum length of ``BundleInfo.digests``, in characters."""
MAX_TOKENS = 1024
"""Maximum ``max_length`` of a model, in tokens."""
INPUTS = ("input_ids", "attention_mask", "pixels")
OUTPUTS = ("logits", "probabilities")
EMBEDDING = "embedding"
"""An output that a bundle may have: the fused features of text and image."""
MAX_FEATURES = 1 << 16
"""Maximum number of features of an embedding."""


@dataclass(frozen=True)
class BundleInfo:
    """A bundle's description of itself.

    ``labels``: in the order of the outputs. ``max_length``: texts are truncated to this number of
    tokens. ``optional``: the parts ("text", "image") that a pair may lack, because the model was
    trained on pairs without them; an empty text or a grey image takes their place.
    ``provenance``: the run, its settings and its dataset. ``metrics``: the scores on the validation
    pairs. ``verification``: the exporter's comparison with PyTorch. ``digests``: of the pairs that
    the model was trained on, for `mmsent evaluate`; "" if the run stored none.
    """

    model: str
    labels: tuple[str, ...]
    image: ImageSettings
    max_length: int
    precision: Precision = "fp32"
    optional: tuple[Part, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    verification: dict[str, Any] = field(default_factory=dict)
    digests: str = field(default="", repr=False)

    def to_json(self) -> str:
        """The JSON text of the metadata ``mmsent.bundle``."""
        content = asdict(self) | {"format": FORMAT, "text": {"max_length": self.max_length}}
        del content["max_length"]
        return readable(json.dumps(content, ensure_ascii=False, sort_keys=True))

    @classmethod
    def from_json(cls, text: str) -> BundleInfo:
        """Read the metadata. Raises InputError if it is malformed or has another format."""
        try:
            content = json.loads(text)
            if content["format"] != FORMAT:
                raise InputError(_other_format(content["format"]))
            return cls(
                model=content["model"],
                labels=_labels(content["labels"]),
                image=ImageSettings(**content["image"]),
                max_length=_max_length(content["text"]["max_length"]),
                precision=_one_of(Precision, content["precision"]),
                optional=tuple(_one_of(Part, name) for name in content.get("optional", ())),
                provenance=content["provenance"],
                metrics=content["metrics"],
                verification=content["verification"],
                digests=_digests(content.get("digests", "")),
            )
        except InputError:
            raise
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"the metadata {INFO_KEY} is malformed ({error!r})") from None


def _other_format(value: Any) -> str:
    older = isinstance(value, int) and value < FORMAT
    advice = "train and export the model again with this version" if older else "upgrade mmsent"
    return f"the bundle has format {value!r}, but this mmsent reads format {FORMAT}; {advice}"


def _one_of(kind: Any, value: Any) -> Any:
    """Return ``value``. Raises ValueError if it is not one of the Literal ``kind``."""
    if value not in get_args(kind):
        raise ValueError(f"{value!r} is not one of {', '.join(get_args(kind))}")
    return value


def _labels(values: Any) -> tuple[str, ...]:
    """The labels. They go into tables that people open: raises ValueError if one is unsafe."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("the labels must be a list of strings")
    if len(set(values)) != len(values) or len(values) < 2:
        raise ValueError("there must be at least two labels, all different")
    for value in values:
        if fault := label_fault(value.strip()):
            raise ValueError(fault)
    return tuple(values)


def _digests(value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_DIGESTS:
        raise ValueError(f"the digests must be at most {MAX_DIGESTS} characters")
    return value


def _max_length(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= MAX_TOKENS:
        raise ValueError(f"the maximum length must be 1 to {MAX_TOKENS} tokens, not {value!r}")
    return value
