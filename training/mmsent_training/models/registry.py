"""Which model to train: the one asked for, or the best one whose weights can be had."""

from __future__ import annotations

import sys

from mmsent_training.weights.hub import ClipCheckpoint, WeightsUnavailable, find_clip
from mmsent_training.weights.packages import CompactCheckpoint, find_compact


def choose_model(
    asked: str, clip: str
) -> tuple[str, ClipCheckpoint | CompactCheckpoint | None, str]:
    """The model's name, its pretrained weights, and why it is this model.

    ``asked`` is a model or "auto": CLIP, else compact, else light; ``clip`` names CLIP's
    checkpoint. Only unavailable weights make "auto" fall back, and it says so. Raises
    WeightsUnavailable where a model was asked for and its weights can't be had.
    """
    if asked == "clip":
        return "clip", find_clip(clip), "Asked for with --model clip"
    if asked == "compact":
        return "compact", find_compact(), "Asked for with --model compact"
    if asked == "light":
        return "light", None, "Asked for with --model light"
    try:
        return "clip", find_clip(clip), "CLIP's weights can be had"
    except WeightsUnavailable as error:
        no_clip = f"CLIP's weights can't be had: {error}"
    try:
        compact = find_compact()
    except WeightsUnavailable as error:
        reason = f"{no_clip}; nor can the compact model's: {error}"
        print(f"FALLBACK to the light model: {reason}", file=sys.stderr)
        return "light", None, f"Fallback, since {reason}"
    print(f"FALLBACK to the compact model: {no_clip}", file=sys.stderr)
    return "compact", compact, f"Fallback, since {no_clip}"
