"""Checking a whole dataset: what a training or an inference would refuse, and what is in it."""

import hashlib
import math
import statistics
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer

from mmsent.data.contents import Contents, Inspected, inspect, spread
from mmsent.data.dataset import AS_IT_IS, TRAINING, Dataset, Reading, mark_duplicates, open_dataset
from mmsent.data.labels import VALIDATION_FRACTION, order_labels, similar_labels
from mmsent.data.pair import PARTS, Pair, Part
from mmsent.data.repeats import Entry, Repeats, Use, find_repeats
from mmsent.data.training import label_problems, training_parts
from mmsent.errors import InputError, Problem
from mmsent.files.machine import available_cores
from mmsent.files.progress import Progress
from mmsent.inputs.coverage import Coverage
from mmsent.inputs.scripts import count_scripts, main_script
from mmsent.inputs.text import tokenize

WINDOW = 256
"""Rows that are inspected together: they may hold their images in memory."""


class Reader(NamedTuple):
    """What of a bundle decides what it can read: its tokenizer, and which parts a pair may lack."""

    tokenizer: Tokenizer
    optional: Collection[Part]


@dataclass(frozen=True)
class Prospects:
    """What a training on the data can show.

    ``train`` and ``validation``: pairs; ``drawn``: whether the latter are to be set aside.
    ``baseline``: the accuracy of predicting the most frequent label, ``most_frequent``, always.
    ``margin``: half of the 95 % interval of an accuracy on the validation pairs, at most.
    """

    train: int
    validation: int
    drawn: bool
    most_frequent: str
    baseline: float
    margin: float


@dataclass
class Check:
    """What a check found. ``errors`` stop training or inference, ``warnings`` do not.

    ``layout``: what the data is taken for, ``validation_layout`` a dataset to validate on.
    ``lists``: their rows. ``labels``: pairs to train on by label, ``validation_labels`` those of
    other pairs to validate on. ``prospects``: None where the data is there to be predicted, or
    nothing can be said. ``lacking``: pairs without a text or an image. ``scripts``: letters of
    each. ``tokens``: how many a model makes of the texts, and how many stand for nothing it knows.
    """

    folder: str
    layout: str
    validation_layout: str = ""
    lists: dict[str, int] = field(default_factory=dict)
    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    validation_labels: dict[str, int] = field(default_factory=dict)
    prospects: Prospects | None = None
    lacking: dict[str, int] = field(default_factory=dict)
    repeats: dict[str, Repeats] = field(default_factory=dict)
    encodings: dict[str, int] = field(default_factory=dict)
    image_formats: dict[str, int] = field(default_factory=dict)
    words: dict[str, float] = field(default_factory=dict)
    widths: dict[str, float] = field(default_factory=dict)
    heights: dict[str, float] = field(default_factory=dict)
    scripts: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)


def check_dataset(
    path: Path,
    reading: Reading = AS_IT_IS,
    *,
    validation: Path | None = None,
    labels: Sequence[str] | None = None,
    parts: Collection[Part] = PARTS,
    reader: Reader | None = None,
    fraction: float = VALIDATION_FRACTION,
) -> Check:
    """Check every list of a dataset, and those ``parts`` of the pairs that they name.

    Where it has labels, or ``validation`` or ``labels`` are given, it is there to train on: what
    `TrainingSource.read` or the decoding of its images would refuse is an error. Other rows are
    there to be predicted, by the bundle of ``reader`` if that is given.
    Raises InputError where there is no dataset.
    """
    data = open_dataset(path, reading)
    other = None if validation is None else open_dataset(validation, reading)
    uses = _uses(data, other, labels)
    check = Check(str(path), data.layout, other.layout if other else "")
    survey = _Survey(check, parts, reader)
    unread: set[Use] = set()
    unplaced: set[Problem] = set()
    with (
        ThreadPoolExecutor(available_cores()) as pool,
        Progress("checking", None, "pairs") as progress,
    ):
        for use, dataset in uses.items():
            for each in dataset.lists:
                one = replace(dataset, lists=[each])
                check.lists.setdefault(each.name, 0)
                try:
                    for window in _windows(one, use, unplaced):
                        survey.add(use, list(pool.map(partial(_inspect, parts, use), window)))
                        check.lists[each.name] = check.lists.get(each.name, 0) + len(window)
                        progress.update(len(window))
                except InputError as error:
                    check.errors.append(Problem(each.name, 0, "", each.name, str(error)))
                    unread.add(use)
    if "training" in uses and unread <= {"prediction"}:
        others = survey.pairs["validation"] if "validation" in uses else None
        source = uses["training"].name
        _judge_labels(check, survey.pairs["training"], others, labels, fraction, source)
    survey.describe()
    return check


def _uses(
    data: Dataset, validation: Dataset | None, labels: Sequence[str] | None
) -> dict[Use, Dataset]:
    """What the parts of a dataset are there for.

    Raises InputError where it is to be trained on and has nothing for that.
    """
    if not labels and not validation and not _has_labels(data.select(TRAINING)):
        return {"prediction": data}
    train_part, validation_part = training_parts(data, validation)
    uses: dict[Use, Dataset] = {"training": train_part}
    if validation_part is not None:
        uses["validation"] = validation_part
    return uses | {"prediction": data.select(("test",))}


def _has_labels(dataset: Dataset) -> bool:
    """Whether there are rows to train on: in a training list, or because one says a label."""
    if any(each.split == "train" or each.is_label_open for each in dataset.lists):
        return True
    with closing(dataset.rows(contents=False)) as rows:
        return any(isinstance(row, Pair) and row.label is not None for row in rows)


def _windows(dataset: Dataset, use: Use, unplaced: set[Problem]) -> Iterator[list[Pair | Problem]]:
    """The rows of a dataset, some at a time: they may hold their images in memory.

    ``unplaced``: rows so bad that they belong to no split, and so stand in each: they come once.
    """
    labelled = use != "prediction"
    with closing(dataset.rows(labelled=labelled)) as rows:
        # A guid that stands twice is predicted twice, but can't be trained on twice.
        found = _once(mark_duplicates(rows) if labelled else rows, unplaced)
        while window := list(islice(found, WINDOW)):
            yield window


def _once(rows: Iterable[Pair | Problem], known: set[Problem]) -> Iterator[Pair | Problem]:
    for row in rows:
        if isinstance(row, Problem):
            if row in known:
                continue
            known.add(row)
        yield row


def _inspect(parts: Collection[Part], use: Use, row: Pair | Problem) -> Inspected | Problem:
    if isinstance(row, Problem):
        return row
    lacking = [part for part in parts if row.lacks(part)]
    # A training says itself what it thinks of that; an inference may have a model that can do
    # without.
    wanted = [part for part in parts if use != "prediction" or part not in lacking]
    return inspect(row, wanted)._replace(lacking=lacking)


class _Survey:
    """Collects what the rows hold, and what is wrong with them."""

    def __init__(self, check: Check, parts: Collection[Part], reader: Reader | None) -> None:
        self.check, self.parts, self.reader = check, parts, reader
        self.contents, self.entries = Contents(), list[Entry]()
        self.lacking: Counter[str] = Counter()
        self.pairs: dict[Use, list[Pair]] = {"training": [], "validation": [], "prediction": []}
        self.coverage = Coverage(reader.tokenizer) if reader else None

    def add(self, use: Use, rows: Sequence[Inspected | Problem]) -> None:
        """Take in some rows."""
        self.check.errors += [row for row in rows if isinstance(row, Problem)]
        found = [row for row in rows if isinstance(row, Inspected)]
        for item in found:
            self.check.errors += item.problems
            if use == "prediction":
                self._judge_lacking(item.pair, item.lacking)
            self.pairs[use].append(item.pair)
            if item.text == "":
                self.check.warnings.append(item.pair.problem("text", "the text is empty"))
            text = hashlib.sha256(item.text.encode()).digest() if item.text else None
            image = item.image and item.image.digest
            self.entries.append(Entry(item.pair, use, text, image))
            self.contents.add(item)
            self.lacking.update(item.lacking)
        if self.coverage and self.reader:
            read = [item for item in found if item.text is not None]
            ids = tokenize(self.reader.tokenizer, [str(item.text) for item in read])
            for item, mostly_unknown in zip(read, self.coverage.add(ids)):
                if mostly_unknown:
                    script = main_script(str(item.text))
                    message = f"most of the text is unknown to the tokenizer: {script!r}"
                    self.check.warnings.append(item.pair.problem("text", message))

    def _judge_lacking(self, pair: Pair, lacking: Sequence[Part]) -> None:
        for part in lacking:
            if len(lacking) == len(self.parts):
                problem = pair.problem(part, f"the {part} is missing: nothing is left to predict")
                self.check.errors.append(problem)
            elif self.reader and part not in self.reader.optional:
                problem = pair.problem(part, f"the {part} is missing, and the model needs it")
                self.check.errors.append(problem)
            elif not self.reader:
                message = f"the {part} is missing; it takes a model that can do without"
                self.check.warnings.append(pair.problem(part, message))

    def describe(self) -> None:
        """Write what was counted into the check."""
        check, contents = self.check, self.contents
        check.lacking = dict(self.lacking)
        check.repeats, warnings = find_repeats(self.entries)
        check.warnings += warnings
        check.encodings = dict(contents.encodings.most_common())
        check.image_formats = dict(contents.formats.most_common())
        check.words = spread(contents.words)
        check.widths, check.heights = spread(contents.widths), spread(contents.heights)
        check.scripts = count_scripts(contents.characters)
        if self.coverage:
            check.tokens = {
                "all": self.coverage.tokens,
                "unknown": self.coverage.unknown_tokens,
                "texts": self.coverage.texts,
                "mostly_unknown_texts": self.coverage.unknown_texts,
            }


def _judge_labels(
    check: Check,
    train: Sequence[Pair],
    others: Sequence[Pair] | None,
    labels: Sequence[str] | None,
    fraction: float,
    source: str,
) -> None:
    """Say which labels there are, which of them rule out a training, and what one can show.

    ``others``: the pairs to validate on, None where they are to be drawn.
    """
    known = tuple(labels) if labels else order_labels(str(pair.label) for pair in train)
    problems = label_problems(train, others, known, fraction=fraction, source=source)
    check.errors += problems
    if not labels:
        check.warnings += [Problem(source, 0, "", source, fault) for fault in similar_labels(known)]
    check.labels = _count(train, known)
    check.validation_labels = {} if others is None else _count(others, known)
    validation = math.ceil(len(train) * fraction) if others is None else len(others)
    if not train or not validation or any(not problem.line for problem in problems):
        return
    frequent = max(check.labels, key=lambda label: check.labels[label])
    # Of the pairs to validate on; those that are drawn have the labels' shares.
    counts = check.validation_labels or check.labels
    check.prospects = Prospects(
        train=len(train) - (validation if others is None else 0),
        validation=validation,
        drawn=others is None,
        most_frequent=frequent,
        baseline=counts.get(frequent, 0) / sum(counts.values()),
        margin=accuracy_margin(validation),
    )


def _count(pairs: Sequence[Pair], known: Sequence[str]) -> dict[str, int]:
    """How many pairs each label has: those that are ``known`` first, in their order."""
    counts = Counter(str(pair.label) for pair in pairs)
    return {label: counts[label] for label in dict.fromkeys((*known, *sorted(counts)))}


def accuracy_margin(pairs: int) -> float:
    """Half of the 95 % interval of an accuracy of 0.5 on so many pairs; of others it is narrower.

    The interval is Wilson's, J. Am. Stat. Assoc. 22 (1927) 209, which holds for few pairs, too.
    """
    z = statistics.NormalDist().inv_cdf(0.975)
    return z / (2 * math.sqrt(pairs + z * z))
