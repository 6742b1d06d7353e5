"""The dual model of MiniLM-L6 and EfficientNet-Lite0, whose weights are pip packages.

On every device, the upper half of the text encoder and the last stage of the image encoder are
trained. Where the labels are sentiments, the text encoder begins with what rated texts change in
it, which is part of this package.
"""

from collections.abc import Mapping
from dataclasses import replace

from mmsent_training.models import dual
from mmsent_training.settings import Device, Preset, Settings
from mmsent_training.weights.encoders import Encoders
from mmsent_training.weights.packages import find_compact

read_inputs, create, build, prepare = dual.read_inputs, dual.create, dual.build, dual.prepare


def find_weights(sources: Mapping[str, str]) -> Encoders:
    """Both encoders, from the installed packages, and what the rated texts change."""
    return Encoders(*find_compact())


def default_settings(device: Device, preset: Preset) -> Settings:
    """Found by cross-validation: docs/experiments.md."""
    settings = dual.partly_frozen("compact", device, preset)
    return replace(settings, options=settings.options | {"train_image_blocks": 1})
