"""Which model to train: the one asked for, or the best one whose weights can be had."""

from __future__ import annotations

import sys

from mmsent_training.weights import ClipCheckpoint, WeightsUnavailable, find_clip


def choose_model(asked: str, clip: str) -> tuple[str, ClipCheckpoint | None, str]:
    """The model's name, CLIP's checkpoint if it is CLIP, and why it is this model.

    ``asked`` is a model or "auto"; ``clip`` names the checkpoint. Only unavailable weights make
    "auto" fall back, and it says so. Raises WeightsUnavailable where "clip" was asked for.
    """
    if asked not in ("auto", "clip"):
        return asked, None, f"Asked for with --model {asked}"
    try:
        checkpoint = find_clip(clip)
    except WeightsUnavailable as error:
        if asked == "clip":
            raise
        print(f"FALLBACK to the light model, without CLIP: {error}", file=sys.stderr)
        return "light", None, f"Fallback, since CLIP's weights can't be had: {error}"
    reason = "Asked for with --model clip" if asked == "clip" else "CLIP's weights can be had"
    return "clip", checkpoint, reason
