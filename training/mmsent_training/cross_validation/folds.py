"""The folds: stratified by label, with identical images and identical texts in one fold."""

from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from mmsent.errors import InputError
from mmsent_training.digests import text_digest
from mmsent_training.examples import Examples
from mmsent_training.train import Parts


def divide_folds(
    examples: Examples, rows: Sequence[int], *, folds: int, repeat: int
) -> list[Parts]:
    """Divide some ``rows`` of ``examples`` into ``folds``; each is validated on once.

    ``repeat``, from 1, seeds the shuffling. Returns the rows to train on and to validate on.
    Raises InputError if a label has too few pairs.
    """
    places, labels = np.array(rows), examples.labels[[*rows]]
    counts = np.bincount(labels, minlength=len(examples.label_names))
    if (fewest := int(counts.min())) < folds:
        label = examples.label_names[int(counts.argmin())]
        raise InputError(
            f"the label {label!r} has {fewest} of the {len(rows)} training pairs, too few for "
            f"{folds} folds; use fewer --folds, or label more pairs"
        )
    groups = group_pairs(examples, rows)
    parts: list[Parts] = []
    if len(set(groups)) >= folds:
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=repeat - 1)
        split = splitter.split(labels, labels, groups)
        parts = [(places[one].tolist(), places[other].tolist()) for one, other in split]
    if not parts or any(
        not other or len(np.unique(examples.labels[one])) < len(counts) for one, other in parts
    ):
        raise InputError(
            f"{folds} folds are too many: pairs that share their image or text stay in one fold, "
            f"and there are {len(set(groups))} groups of them; use fewer --folds"
        )
    return parts


def group_pairs(examples: Examples, rows: Sequence[int]) -> list[str]:
    """The group of each of some ``rows``: pairs with the same image or the same text share one.

    So do pairs that are linked by a third one. White space in a text does not count. A group is
    named after one of its images, or texts if it has none.
    """
    parents: dict[str, str] = {}

    def root(key: str) -> str:
        while (parent := parents.setdefault(key, key)) != key:
            parents[key] = parents[parent]  # halves the path for the next search
            key = parent
        return key

    keys = []
    for row in rows:
        image, text = examples.image_digests[row].hex(), text_digest(examples.texts[row]).hex()
        # The smallest key names the group; images, which are compared first, have smaller ones.
        own = [f"image {image}"] * bool(image) + [f"text {text}"] * bool(text)
        keys.append(own[0] if own else f"row {row}")
        first, *others = sorted({root(key) for key in own or keys[-1:]})
        parents |= dict.fromkeys(others, first)
    return [root(key) for key in keys]
