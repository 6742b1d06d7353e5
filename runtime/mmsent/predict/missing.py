"""Pairs that lack their text or their image: whether a bundle predicts them."""

from collections.abc import Collection, Sequence

from mmsent.bundle.info import BundleInfo
from mmsent.data.pair import PARTS, Pair, Part
from mmsent.errors import Problem

_MODALITY: dict[Part, Part] = {"text": "image", "image": "text"}
"""What a model has to be trained on that needs no text, or no image."""


def missing_fault(lacking: Collection[Part], info: BundleInfo) -> str | None:
    """Why the bundle can't predict a pair that lacks these parts; None where it can."""
    if len(lacking) == len(PARTS):
        return "the pair lacks both text and image: there is nothing to predict from"
    for part in lacking:
        if part not in info.optional:
            return (
                f"the pair lacks its {part}, and this {info.model} model was not trained for that; "
                f"use one trained with --modality {_MODALITY[part]}, or with modality dropout "
                "(the compact model's default)"
            )
    return None


def check_pair(pair: Pair, info: BundleInfo) -> Sequence[Problem]:
    """What keeps the bundle from predicting a pair, but for an image that can't be decoded."""
    return [*_refuse(pair, info), *pair.check(optional=PARTS)]


def load_text(pair: Pair, info: BundleInfo) -> str | Problem:
    """The text as the bundle takes it, "" for none, or what keeps the pair from being predicted."""
    refused = _refuse(pair, info)
    return refused[0] if refused else pair.attempt("text", pair.read_text)


def _refuse(pair: Pair, info: BundleInfo) -> Sequence[Problem]:
    lacking = [part for part in PARTS if pair.lacks(part)]
    fault = missing_fault(lacking, info)
    return [pair.problem(lacking[0], fault)] if fault else []
