"""Check a complete dataset: problems that training or inference would refuse, and its contents."""

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
"""Rows that are inspected together; their images may be in memory."""


class Reader(NamedTuple):
    """A bundle's requirements: its tokenizer, and the parts that a pair may lack."""

    tokenizer: Tokenizer
    optional: Collection[Part]


@dataclass(frozen=True)
class Prospects:
    """What training on this data can show.

    ``train`` and ``validation`` are numbers of pairs; ``drawn``: training would set the validation
    pairs aside. ``baseline``: the accuracy of always predicting ``most_frequent``. ``margin``: an
    upper bound for half of the 95 % interval of an accuracy on the validation pairs.
    """

    train: int
    validation: int
    drawn: bool
    most_frequent: str
    baseline: float
    margin: float


@dataclass
class Check:
    """The result of a check. ``errors`` stop training or inference, ``warnings`` do not.

    ``layout`` and ``validation_layout``: the detected layouts, in words. ``lists``: rows per list.
    ``labels``: training pairs per label; ``validation_labels``: the same for a separate validation
    set. ``prospects``: None for data to predict, or if nothing can be said. ``lacking``: pairs
    without a text or an image. ``scripts``: letters per script. ``tokens``: counts of all tokens
    and of unknown ones.
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
    """Check every list of a dataset, and the given ``parts`` of its pairs.

    If the dataset has labels, or ``validation`` or ``labels`` are given, it is training data: the
    check reports as an error whatever `TrainingSource.read` or decoding the images would refuse.
    Other rows are to be predicted, by the bundle of ``reader`` if that is given.
    Raises InputError if there is no dataset.
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
    """The use of each part of a dataset.

    Raises InputError if it is meant for training and has no training rows.
    """
    if not labels and not validation and not _has_labels(data.select(TRAINING)):
        return {"prediction": data}
    train_part, validation_part = training_parts(data, validation)
    uses: dict[Use, Dataset] = {"training": train_part}
    if validation_part is not None:
        uses["validation"] = validation_part
    return uses | {"prediction": data.select(("test",))}


def _has_labels(dataset: Dataset) -> bool:
    """Whether there are rows to train on: a training list, or a row with a label."""
    if any(each.split == "train" or each.is_label_open for each in dataset.lists):
        return True
    with closing(dataset.rows(contents=False)) as rows:
        return any(isinstance(row, Pair) and row.label is not None for row in rows)


def _windows(dataset: Dataset, use: Use, unplaced: set[Problem]) -> Iterator[list[Pair | Problem]]:
    """The rows of a dataset in windows, since their images may be in memory.

    ``unplaced``: bad rows whose split is unknown. They appear in every split, but count once.
    """
    labelled = use != "prediction"
    with closing(dataset.rows(labelled=labelled)) as rows:
        # A guid may be predicted twice, but must not be trained on twice.
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
    # For training, label_problems decides. For inference, the model may not need that part.
    wanted = [part for part in parts if use != "prediction" or part not in lacking]
    return inspect(row, wanted)._replace(lacking=lacking)


class _Survey:
    """Counts what the rows contain and collects their problems."""

    def __init__(self, check: Check, parts: Collection[Part], reader: Reader | None) -> None:
        self.check, self.parts, self.reader = check, parts, reader
        self.contents, self.entries = Contents(), list[Entry]()
        self.lacking: Counter[str] = Counter()
        self.pairs: dict[Use, list[Pair]] = {"training": [], "validation": [], "prediction": []}
        self.coverage = Coverage(reader.tokenizer) if reader else None

    def add(self, use: Use, rows: Sequence[Inspected | Problem]) -> None:
        """Add some rows."""
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
                problem = pair.problem(part, f"the {part} is missing, and the model requires it")
                self.check.errors.append(problem)
            elif not self.reader:
                message = f"the {part} is missing; prediction requires a model that supports this"
                self.check.warnings.append(pair.problem(part, message))

    def describe(self) -> None:
        """Write the counts into the check."""
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
    """Report the labels, those that prevent training, and what training can show.

    ``others``: the validation pairs, or None if training sets them aside.
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
    # Of the validation pairs; pairs that are set aside have the same shares of labels.
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
    """The number of pairs per label: ``known`` labels first, in their order."""
    counts = Counter(str(pair.label) for pair in pairs)
    return {label: counts[label] for label in dict.fromkeys((*known, *sorted(counts)))}


def accuracy_margin(pairs: int) -> float:
    """Half of the 95 % interval of an accuracy of 0.5 on so many pairs, which is the widest one.

    The interval is Wilson's, J. Am. Stat. Assoc. 22 (1927) 209, which is also valid for few pairs.
    """
    z = statistics.NormalDist().inv_cdf(0.975)
    return z / (2 * math.sqrt(pairs + z * z))
