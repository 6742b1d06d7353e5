"""Labelled pairs of a dataset for the self-test of a site."""

import logging
from pathlib import Path

from mmsent.data.dataset import AS_IT_IS, Reading
from mmsent.predict.model import SentimentModel
from mmsent_export.web_check import Example
from mmsent_training.evaluation.bundle import find_pairs

logger = logging.getLogger(__name__)


def read_examples(
    bundle: Path, data: Path, count: int, *, reading: Reading = AS_IT_IS
) -> list[Example]:
    """The first ``count`` labelled pairs of a dataset: of those that the bundle was validated on,
    if the dataset has them, otherwise of all.

    Raises InputError if a row or a file is bad.
    """
    model = SentimentModel(bundle, threads=1)
    split, found = find_pairs(model, data, None, reading=reading)
    logger.info("the self-test gets %s pairs of %s", split, data)
    return [
        Example(
            pair.guid,
            None if pair.lacks("text") else text,
            None if pair.lacks("image") else pair.read("image"),
        )
        for pair, text in zip(found.pairs[:count], found.texts)
    ]
