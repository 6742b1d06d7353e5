"""Pairs without a text or an image: whether a bundle can predict them."""

from collections.abc import Collection, Sequence

from mmsent.bundle.info import BundleInfo
from mmsent.data.pair import PARTS, Pair, Part
from mmsent.errors import Problem

_MODALITY: dict[Part, Part] = {"text": "image", "image": "text"}
"""The modality on which a model must be trained to work without this part."""


def missing_fault(lacking: Collection[Part], info: BundleInfo) -> str | None:
    """Why the bundle can't predict a pair that lacks these parts; None if it can."""
    if len(lacking) == len(PARTS):
        return "the pair has neither text nor image"
    for part in lacking:
        if part not in info.optional:
            return (
                f"the pair has no {part}, and this {info.model} model was not trained for that; "
                f"use one trained with --modality {_MODALITY[part]}, or with modality dropout "
                "(the compact model's default)"
            )
    return None


def check_pair(pair: Pair, info: BundleInfo) -> Sequence[Problem]:
    """The text's or missing parts' problem with this bundle; None if the pair can be predicted."""
    return [*_refuse(pair, info), *pair.check(optional=PARTS)]


def load_text(pair: Pair, info: BundleInfo) -> str | Problem:
    """The text for the bundle, "" if it is missing, or the problem with the pair."""
    refused = _refuse(pair, info)
    return refused[0] if refused else pair.attempt("text", pair.read_text)


def _refuse(pair: Pair, info: BundleInfo) -> Sequence[Problem]:
    lacking = [part for part in PARTS if pair.lacks(part)]
    fault = missing_fault(lacking, info)
    return [pair.problem(lacking[0], fault)] if fault else []
