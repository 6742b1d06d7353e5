"""The pairs for training, and what prevents it; `mmsent check-data` reports the same."""

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
    """The location of the pairs for training, and how to read them.

    ``validation``: another dataset with the validation pairs, if any. ``labels``: the set of labels
    and their order, by default those of the training pairs. ``reading`` applies to both datasets.
    """

    path: Path
    validation: Path | None = None
    labels: tuple[str, ...] | None = None
    reading: Reading = AS_IT_IS

    def read(
        self, parts: Collection[Part] = PARTS, *, fraction: float = VALIDATION_FRACTION
    ) -> "TrainingData":
        """The pairs for training, after checking that texts decode and images exist.

        ``parts``: the parts that the model sees; others are not read. ``fraction``: the share of
        pairs to set aside if there is no validation set.
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
        # A row whose split is unknown is read with each split.
        refuse([*dict.fromkeys(problems)], "`mmsent check-data` reports on the whole dataset")
        return TrainingData(name, labels, train, validation)

    def resolve(self) -> "TrainingSource":
        """The same with absolute paths, which are valid in any working folder."""
        return self.move(
            self.path.resolve(),
            self.validation and self.validation.resolve(),
            self.reading.images and self.reading.images.resolve(),
        )

    def move(
        self, path: Path | None, validation: Path | None, images: Path | None
    ) -> "TrainingSource":
        """The same pairs at their new locations; None: unchanged."""
        return replace(
            self,
            path=path or self.path,
            validation=validation or self.validation,
            reading=replace(self.reading, images=images or self.reading.images),
        )


@dataclass(frozen=True)
class TrainingData:
    """Labelled pairs, and the labels in order.

    ``name``: of the training list, for messages. ``validation``: None if training sets some of
    ``train`` aside.
    """

    name: str
    labels: tuple[str, ...]
    train: Sequence[Pair]
    validation: Sequence[Pair] | None

    def only(self, parts: Collection[Part]) -> "TrainingData":
        """The same with only the given ``parts`` of each pair."""
        train = [pair.only(parts) for pair in self.train]
        others = self.validation and [pair.only(parts) for pair in self.validation]
        return replace(self, train=train, validation=others)


def training_parts(data: Dataset, validation: Dataset | None) -> tuple[Dataset, Dataset | None]:
    """The training and the validation pairs; None: training sets some aside.

    The validation pairs are the validation split of ``validation`` or else of ``data``. If
    ``validation`` has no such split, they are all its pairs that could be trained on.
    Raises InputError if there are no training pairs, or no validation pairs in ``validation``.
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
        raise InputError(f"{validation.path} has no validation pairs; it is {validation.layout}")
    return train, other


def label_problems(
    train: Sequence[Pair],
    validation: Sequence[Pair] | None,
    labels: Sequence[str],
    *,
    fraction: float,
    source: str,
) -> list[Problem]:
    """The reasons why the pairs can't be trained on with ``labels``.

    These are labels outside ``labels``, labels with too few pairs (see `label_faults`), and an
    empty validation set. ``source``: the name of the training list.
    """
    foreign = foreign_labels([*train, *(validation or ())], labels)
    counts = Counter(str(pair.label) for pair in train)
    aside = fraction if validation is None else 0.0
    faults = label_faults(counts, labels, fraction=aside)
    if validation is not None and not validation:
        faults.append("there are no validation pairs")
    return foreign + [Problem(source, 0, "", source, fault) for fault in faults]
