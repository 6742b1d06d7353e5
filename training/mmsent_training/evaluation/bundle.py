"""Evaluate a bundle on a labelled dataset."""

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta

from mmsent.bundle.info import BundleInfo
from mmsent.data.dataset import (
    AS_IT_IS,
    TRAINING,
    Dataset,
    Reading,
    foreign_labels,
    open_dataset,
    read_pairs,
)
from mmsent.data.pair import PARTS, Pair, Part
from mmsent.errors import InputError, Problem, refuse
from mmsent.files.machine import available_cores
from mmsent.files.progress import Progress
from mmsent.predict.model import Prediction, SentimentModel
from mmsent.predict.stream import predict_stream
from mmsent_training.digests import Digests
from mmsent_training.evaluation.calibration import Floats
from mmsent_training.evaluation.metrics import Scores, score
from mmsent_training.evaluation.overlap import Overlap, find_overlap
from mmsent_training.examples import Examples, index_labels, read_examples, split

Split = Literal["validation", "train", "test", "all"]
Side = Literal["train", "validation"]

logger = logging.getLogger(__name__)

_NAMES: dict[Split, str] = {
    "validation": "pairs that the model was validated on",
    "train": "pairs that the model was trained on",
    "test": "test pairs",
    "all": "labelled pairs",
}


@dataclass(frozen=True)
class Evaluation:
    """The scores of a bundle on some pairs: see `evaluate_bundle`.

    ``probabilities``: float32 [examples, labels]. ``overlap``: None if the bundle has no digests
    of its training pairs. ``info``: the bundle's metadata.
    """

    split: Split
    examples: Examples
    probabilities: Floats
    scores: Scores
    overlap: Overlap | None
    info: BundleInfo


@dataclass(frozen=True)
class _Dataset:
    """The pairs of a bundle's training: see DatasetRecord."""

    validation_fingerprint: str
    validation_pairs: int
    train_pairs: int
    train_fingerprint: str = ""


@dataclass(frozen=True)
class _Settings:
    validation_fraction: Annotated[float, Meta(ge=0, le=1)]
    split_seed: Annotated[int, Meta(ge=0, lt=2**32)]


@dataclass(frozen=True)
class _Training:
    """The part of a bundle's provenance that identifies its training pairs."""

    settings: _Settings
    dataset: _Dataset


def evaluate_bundle(
    model_path: Path, data: Path, split: Split | None = None, *, reading: Reading = AS_IT_IS
) -> Evaluation:
    """Score a bundle on pairs of a labelled dataset.

    ``split``: "validation" and "train" are the pairs of the bundle's training, recognised by their
    contents; "test" is the dataset's test split, "all" every labelled pair. The default is
    validation if the dataset has those pairs, otherwise all. The log says which pairs they are.
    Raises InputError for bad data, for a label that the bundle lacks, and if the dataset has no
    such pairs.
    """
    model = SentimentModel(model_path, threads=1)
    split, examples = find_pairs(model, data, split, reading=reading)
    logger.info(f"scoring the {len(examples.pairs)} {_NAMES[split]}, from {data}")
    return _evaluate(model, split, examples)


def evaluate_on(model_path: Path, dataset: Dataset, guids: Collection[str]) -> Evaluation:
    """Score a bundle on the labelled pairs of ``dataset`` with these guids, as far as it has them.

    Raises InputError for bad data, and for a label that the bundle lacks.
    """
    model = SentimentModel(model_path, threads=1)
    pairs = _read_pairs(dataset, model, guids)
    return _evaluate(model, "all", read_examples(pairs, model.labels))


def _evaluate(model: SentimentModel, split: Split, examples: Examples) -> Evaluation:
    probabilities = _predict(model, examples.pairs)
    overlap = None
    if model.info.digests:
        try:
            digests = Digests.from_json(model.info.digests)
        except ValueError as error:
            raise InputError(f"the bundle's digests are malformed ({error})") from None
        overlap = find_overlap(examples, probabilities, digests)
    else:
        logger.info("the bundle has no digests of its training pairs: some may be among these")
    scores = score(examples.labels, probabilities, model.labels)
    return Evaluation(split, examples, probabilities, scores, overlap, model.info)


def find_pairs(
    model: SentimentModel, data: Path, split: Split | None, *, reading: Reading = AS_IT_IS
) -> tuple[Split, Examples]:
    """The labelled pairs of a dataset that ``split`` names, or the default: see `evaluate_bundle`.

    Returns also the name of the split that they are. Raises InputError as `evaluate_bundle` does.
    """
    dataset = open_dataset(data, reading)
    if split not in (None, "all"):
        dataset = dataset.select(("test",) if split == "test" else (*TRAINING, "validation"))
    pairs, training = _read_pairs(dataset, model), _read_training(model)
    return _choose(pairs, model.labels, training, split, str(data))


def _read_pairs(
    dataset: Dataset, model: SentimentModel, guids: Collection[str] | None = None
) -> list[Pair]:
    """The labelled pairs, without the parts that the model does not see.

    ``guids``: of the wanted pairs, None for all.
    Raises InputError that names every bad row and file, and if there are no labelled pairs.
    """
    # `_predict` refuses pairs that lack a part which the model requires.
    found, problems = read_pairs(dataset, _parts(model), labelled=False, optional=PARTS)
    if guids is not None:
        found = [pair for pair in found if pair.guid in guids]
        problems = [problem for problem in problems if problem.guid in guids]
    pairs = [pair for pair in found if pair.label is not None]
    refuse(problems + foreign_labels(pairs, model.labels), "nothing was evaluated")
    if not pairs and guids is not None:
        raise InputError(
            f"{dataset.path} contains none of the pairs; name their dataset with --data"
        )
    if not pairs:
        split = " in its split test" if dataset.splits == ("test",) else ""
        raise InputError(
            f"no row of {dataset.path}{split} has a label, so there is nothing to compare with\n"
            "If a column has the label, name it with --columns label=NAME"
        )
    if unlabelled := len(found) - len(pairs):
        logger.info(f"{unlabelled} rows of {dataset.path} have no label and are left out")
    return pairs


def _choose(
    pairs: Sequence[Pair],
    labels: tuple[str, ...],
    training: _Training | None,
    split: Split | None,
    source: str,
) -> tuple[Split, Examples]:
    """The pairs of ``split``, or of the default split; ``source``: the dataset's name."""
    if split in (None, "validation", "train"):
        side: Side = "train" if split == "train" else "validation"
        if training and (found := _find(pairs, labels, training, side)):
            return side, found
        if split is not None:
            raise InputError(
                f"{source} lacks the {_NAMES[side]}; --split all takes every pair of it"
            )
    return split or "all", read_examples(pairs, labels)


def _parts(model: SentimentModel) -> Sequence[Part]:
    """The parts that the model sees, according to the bundle; both if it does not say."""
    settings = model.info.provenance.get("settings")
    modality = settings.get("modality") if isinstance(settings, dict) else None
    return [part for part in PARTS if modality == part] or PARTS


def _read_training(model: SentimentModel) -> _Training | None:
    """The bundle's provenance; None if it has none."""
    try:
        return msgspec.convert(model.info.provenance, _Training)
    except (ValueError, RecursionError):
        return None


def _find(
    pairs: Sequence[Pair], labels: tuple[str, ...], training: _Training, side: Side
) -> Examples | None:
    """Those of ``pairs`` that the bundle was trained or validated on; None if there are none."""
    facts = training.dataset
    count, fingerprint = facts.validation_pairs, facts.validation_fingerprint
    if side == "train":
        count, fingerprint = facts.train_pairs, facts.train_fingerprint
    for train, validation in _divisions(pairs, labels, training.settings):
        chosen = train if side == "train" else validation
        if len(chosen) == count:
            examples = read_examples(chosen, labels)
            if examples.fingerprint() == fingerprint:
                return examples
    return None


def _divisions(
    pairs: Sequence[Pair], labels: Sequence[str], settings: _Settings
) -> Iterator[tuple[Sequence[Pair], Sequence[Pair]]]:
    """The possible divisions of ``pairs`` by training, into training and validation pairs."""
    train = [pair for pair in pairs if pair.split in TRAINING]
    yield train, [pair for pair in pairs if pair.split == "validation"]
    with suppress(ValueError):  # too few pairs for that
        drawn = split(
            index_labels(train, labels),
            labels,
            fraction=settings.validation_fraction,
            seed=settings.split_seed,
        )
        one, other = ([train[index] for index in rows] for rows in drawn)
        yield one, other
    yield train, train  # the other side was another dataset


def _predict(model: SentimentModel, pairs: Sequence[Pair]) -> Floats:
    """The probabilities for ``pairs``: float32 [pairs, labels]."""
    problems: list[Problem] = []
    rows: list[list[float]] = []
    with Progress("evaluating", len(pairs), "pairs") as progress:
        for _, outcome in predict_stream(model, pairs, workers=available_cores()):
            if isinstance(outcome, Prediction):
                rows.append([outcome.probabilities[label] for label in model.labels])
            elif outcome is not None:
                problems.append(outcome)
            progress.update()
        refuse(problems, "nothing was evaluated")
    return np.array(rows, np.float32)
