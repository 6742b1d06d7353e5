"""What a training takes from its data, and what it refuses: `mmsent check-data` says the same."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mmsent.data.dataset import (
    AS_IT_IS,
    TRAINING,
    Dataset,
    Reading,
    foreign_label,
    open_dataset,
    read_pairs,
)
from mmsent.data.labels import label_faults, order_labels
from mmsent.data.pair import PARTS, Pair, Part
from mmsent.errors import InputError, Problem, refuse


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

    def open(self) -> tuple[Dataset, Dataset | None]:
        """The datasets to train on and to validate on, as `read_training_data` takes them.

        Raises InputError where there is none.
        """
        other = None if self.validation is None else open_dataset(self.validation, self.reading)
        return open_dataset(self.path, self.reading), other

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

    ``validation`` is None where the training is to set some of ``train`` aside.
    """

    labels: tuple[str, ...]
    train: Sequence[Pair]
    validation: Sequence[Pair] | None


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


def read_training_data(
    data: Dataset,
    validation: Dataset | None = None,
    *,
    labels: Sequence[str] | None = None,
    parts: Collection[Part] = PARTS,
    fraction: float,
) -> TrainingData:
    """The pairs of a training, of which the texts decode and the images are there.

    ``labels``: their set and order, by default those that the training pairs have. ``parts``: what
    of a pair the model sees; the rest is not read, and the pairs lack it. ``fraction``: of the
    pairs, set aside where there are no others.
    Raises InputError that names every bad row and file, and labels with too few pairs.
    """
    train_part, validation_part = training_parts(data, validation)
    train, problems = read_pairs(train_part, parts)
    other = None
    if validation_part is not None:
        other, faults = read_pairs(validation_part, parts)
        problems += faults
    known = tuple(labels) if labels else order_labels(str(pair.label) for pair in train)
    problems += label_problems(train, other, known, fraction=fraction, source=train_part.name)
    # A row that is in no split is read with each of them.
    refuse([*dict.fromkeys(problems)], "`mmsent check-data` reports on the whole dataset")
    return TrainingData(known, train, other)


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
    pairs = [*train, *(validation or ())]
    foreign = [foreign_label(pair, labels) for pair in pairs if pair.label not in labels]
    counts = Counter(str(pair.label) for pair in train)
    aside = fraction if validation is None else 0.0
    faults = label_faults(counts, labels, fraction=aside)
    if validation is not None and not validation:
        faults.append("there are no pairs to validate on")
    return foreign + [Problem(source, 0, "", source, fault) for fault in faults]
