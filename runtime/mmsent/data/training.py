"""What a training takes from its data, and what it refuses: `mmsent check-data` says the same."""

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mmsent.data.dataset import (
    AS_IT_IS,
    TRAINING,
    Dataset,
    Reading,
    foreign_labels,
    open_dataset,
    read_pairs,
)
from mmsent.data.labels import (
    VALIDATION_FRACTION,
    label_faults,
    order_labels,
    similar_labels,
)
from mmsent.data.pair import PARTS, Pair, Part
from mmsent.errors import InputError, Problem, refuse

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingSource:
    """Where the pairs of a training are, and how they are read.

    ``validation``: the dataset with the pairs to validate on, where it is another one. ``labels``:
    their set and order, by default those that the training pairs have. ``reading`` is of both.
    """

    path: Path
    validation: Path | None = None
    labels: tuple[str, ...] | None = None
    reading: Reading = AS_IT_IS

    def read(
        self, parts: Collection[Part] = PARTS, *, fraction: float = VALIDATION_FRACTION
    ) -> "TrainingData":
        """The pairs of a training, of which the texts decode and the images are there.

        ``parts``: what of a pair the model sees; the rest is not read, and the pairs lack it.
        ``fraction``: of the pairs, set aside where there are no others.
        Raises InputError that names every bad row and file, and labels with too few pairs.
        """
        other = None if self.validation is None else open_dataset(self.validation, self.reading)
        train_part, validation_part = training_parts(open_dataset(self.path, self.reading), other)
        train, problems = read_pairs(train_part, parts)
        validation = None
        if validation_part is not None:
            validation, faults = read_pairs(validation_part, parts)
            problems += faults
        labels, name = self.labels, train_part.name
        if labels is None:
            labels = order_labels(str(pair.label) for pair in train)
            for warning in similar_labels(labels):
                logger.warning("%s: %s", name, warning)
        problems += label_problems(train, validation, labels, fraction=fraction, source=name)
        # A row that is in no split is read with each of them.
        refuse([*dict.fromkeys(problems)], "`mmsent check-data` reports on the whole dataset")
        return TrainingData(name, labels, train, validation)

    def resolve(self) -> "TrainingSource":
        """The same with absolute paths, which hold in any folder."""
        return self.move(
            self.path.resolve(),
            self.validation and self.validation.resolve(),
            self.reading.images and self.reading.images.resolve(),
        )

    def move(
        self, path: Path | None, validation: Path | None, images: Path | None
    ) -> "TrainingSource":
        """The same pairs where they have moved to; None: they have not."""
        return replace(
            self,
            path=path or self.path,
            validation=validation or self.validation,
            reading=replace(self.reading, images=images or self.reading.images),
        )


@dataclass(frozen=True)
class TrainingData:
    """Labelled pairs, and the labels in their order.

    ``name`` is that of the list to train on, for people. ``validation`` is None where the training
    is to set some of ``train`` aside.
    """

    name: str
    labels: tuple[str, ...]
    train: Sequence[Pair]
    validation: Sequence[Pair] | None

    def only(self, parts: Collection[Part]) -> "TrainingData":
        """The same pairs as ones that lack whatever is not among ``parts``."""
        train = [pair.only(parts) for pair in self.train]
        others = self.validation and [pair.only(parts) for pair in self.validation]
        return replace(self, train=train, validation=others)


def training_parts(data: Dataset, validation: Dataset | None) -> tuple[Dataset, Dataset | None]:
    """The pairs to train on and to validate on: None where the training is to set some aside.

    The split validation is what to validate on, of ``validation`` or else of ``data``; where
    ``validation`` has none, it is all that could be trained on.
    Raises InputError where there is nothing to train or to validate on.
    """
    train = data.select(TRAINING)
    if not train.lists:
        raise InputError(f"{data.path} has no training list; it is {data.layout}")
    source = validation or data
    if source.has("validation"):
        return train, source.select(("validation",))
    if validation is None:
        return train, None
    other = validation.select(TRAINING)
    if not other.lists:
        raise InputError(f"{validation.path} has nothing to validate on; it is {validation.layout}")
    return train, other


def label_problems(
    train: Sequence[Pair],
    validation: Sequence[Pair] | None,
    labels: Sequence[str],
    *,
    fraction: float,
    source: str,
) -> list[Problem]:
    """What of the pairs' labels rules out a training with ``labels``.

    Those that are none of ``labels``, and labels with too few pairs: see `label_faults`; and no
    pairs to validate on. ``source`` names the training list.
    """
    foreign = foreign_labels([*train, *(validation or ())], labels)
    counts = Counter(str(pair.label) for pair in train)
    aside = fraction if validation is None else 0.0
    faults = label_faults(counts, labels, fraction=aside)
    if validation is not None and not validation:
        faults.append("there are no pairs to validate on")
    return foreign + [Problem(source, 0, "", source, fault) for fault in faults]
