"""Contenders: runs, bundles and files of predictions, with their predictions."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from mmsent.data.dataset import TRAINING, Dataset, Reading, open_dataset
from mmsent.data.pair import Pair
from mmsent.data.training import training_parts
from mmsent.errors import InputError
from mmsent_training.evaluation.bundle import Evaluation, Split, evaluate_bundle, evaluate_on
from mmsent_training.evaluation.overlap import Overlap
from mmsent_training.evaluation.predictions import Predicted, count_guids, read_predictions
from mmsent_training.runs.latest import follow_latest
from mmsent_training.runs.record import Record, read_record
from mmsent_training.runs.run import PREDICTIONS, check_finished

Kind = Literal["run", "bundle", "predictions"]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGITS = 12
"""Digits of a fingerprint that are shown."""


@dataclass(frozen=True)
class Contender:
    """A model in a comparison, with its predictions by guid.

    ``letter``: its name in tables. ``facts``: its settings and data, as far as they are known;
    ``overlap``: the pairs that it has seen in training, if it is a bundle.
    """

    letter: str
    path: Path
    kind: Kind
    labels: tuple[str, ...]
    rows: Mapping[str, Predicted]
    facts: Mapping[str, Any] = field(default_factory=dict)
    overlap: Overlap | None = None

    def __str__(self) -> str:
        """Its name in messages."""
        return f"{self.letter} ({self.path})"


@dataclass(frozen=True)
class Source:
    """The source of the pairs: the given dataset or, by default, that of the first run."""

    data: Path | None
    split: Split | None
    reading: Reading
    run: Path | None

    def open(self) -> Dataset:
        """The part of the dataset that may contain the pairs. Raises InputError."""
        if self.data is None and self.run is not None:
            record = read_record(follow_latest(self.run))
            try:
                return _validation_part(record)
            except InputError as error:
                raise InputError(
                    f"the data of {self.run}: {error}\nName the dataset with --data"
                ) from None
        dataset = open_dataset(self.data or Path(), self.reading)
        if self.split in (None, "all"):
            return dataset
        return dataset.select(("test",) if self.split == "test" else (*TRAINING, "validation"))


def read_contenders(
    paths: Sequence[Path], data: Path | None, split: Split | None, reading: Reading
) -> tuple[list[Contender], Source]:
    """Read the contenders at ``paths``; also returns the source of the pairs.

    A run has predictions for its validation pairs. A file of predictions without true labels
    gets them from the data. Bundles are scored on the data: on the pairs of the runs and files
    or, without those or with ``split``, as `evaluate_bundle` does.
    Raises InputError if there are fewer than two, one is repeated, or one can't be read.
    """
    _check_different(paths)
    found = {path: _kind(path) for path in paths}
    runs = [path for path, kind in found.items() if kind == "run"]
    source = Source(data, split, reading, runs[0] if runs else None)
    letters = dict(zip(paths, LETTERS))
    ready = {
        path: _read_run(path, letters[path])
        if kind == "run"
        else _read_file(path, letters[path], source)
        for path, kind in found.items()
        if kind != "bundle"
    }
    guids = {guid for each in ready.values() for guid in each.rows}
    for path, kind in found.items():
        if kind == "bundle":
            ready[path] = _read_bundle(path, letters[path], source, guids)
    return [ready[path] for path in paths], source


def find_pairs(source: Source, tags: Mapping[str, str]) -> dict[str, Pair]:
    """The pairs with these guids and labels, by guid.

    Raises InputError if the data lacks some, or has other labels or several rows for them.
    """
    if not tags:
        return {}
    found: dict[str, Pair] = {}
    others: list[str] = []
    for pair in _labelled(source.open(), tags):
        if pair.label != tags[pair.guid] or pair.guid in found:
            others.append(pair.guid)
        found[pair.guid] = pair
    where = source.data or source.run or "this folder"
    if missing := [guid for guid in tags if guid not in found]:
        raise InputError(
            f"the data of {where} lack {count_guids(missing)}; name the dataset with --data"
        )
    if others:
        raise InputError(
            f"the data of {where} have another label, or several rows, for {count_guids(others)}; "
            "name the dataset with --data, or a part of it with --split"
        )
    return found


def _check_different(paths: Sequence[Path]) -> None:
    if not 2 <= len(paths) <= len(LETTERS):
        raise InputError(f"name 2 to {len(LETTERS)} runs, bundles or files of predictions")
    known: dict[Path, Path] = {}
    for path in paths:
        if (same := known.setdefault(follow_latest(path).resolve(), path)) is not path:
            raise InputError(f"{same} and {path} are the same; name two different ones")


def _kind(path: Path) -> Kind:
    """The kind of contender at ``path``. Raises InputError if it does not exist."""
    if follow_latest(path).is_dir():
        return "run"
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if path.suffix.lower() == ".onnx":
        return "bundle"
    if path.suffix.lower() in (".csv", ".txt"):
        return "predictions"
    raise InputError(
        f"{path} is not a run, a bundle (.onnx) or a file of predictions (.csv); `mmsent-infer` "
        "and `mmsent evaluate` write such a file with --output predictions.csv"
    )


def _read_run(path: Path, letter: str) -> Contender:
    folder = follow_latest(path)
    check_finished(folder)
    record = read_record(folder)
    known = read_predictions(folder / PREDICTIONS, record.labels)
    facts = _facts(asdict(record.settings), asdict(record.dataset), record.labels)
    return Contender(letter, path, "run", record.labels, known.rows, facts)


def _read_file(path: Path, letter: str, source: Source) -> Contender:
    known = read_predictions(path)
    rows = known.rows
    if without := {guid for guid, row in rows.items() if row.tag is None}:
        tags: dict[str, str] = {}
        twice: list[str] = []
        for pair in _labelled(source.open(), without, contents=False):
            if pair.guid in tags:
                twice.append(pair.guid)
            tags[pair.guid] = str(pair.label)
        if twice:
            raise InputError(
                f"the data have several rows for {count_guids(twice)} of {path}; name a part of "
                "them with --split"
            )
        if missing := [guid for guid in rows if guid in without - tags.keys()]:
            raise InputError(
                f"{path} has no true labels, and the data have none for {count_guids(missing)} of "
                "it; name the labelled dataset with --data"
            )
        rows = {guid: row._replace(tag=tags.get(guid, row.tag)) for guid, row in rows.items()}
    return Contender(letter, path, "predictions", known.labels, rows)


def _read_bundle(path: Path, letter: str, source: Source, guids: Collection[str]) -> Contender:
    try:
        if guids and source.split is None:
            found = evaluate_on(path, source.open(), guids)
        else:
            found = evaluate_bundle(
                path, source.data or Path(), source.split, reading=source.reading
            )
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    pairs = found.examples.pairs
    rows: dict[str, Predicted] = {}
    twice: list[str] = []
    for pair, values in zip(pairs, found.probabilities.tolist()):
        if pair.guid in rows:
            twice.append(pair.guid)
        answer = found.info.labels[values.index(max(values))]
        rows[pair.guid] = Predicted(str(pair.label), answer, tuple(values))
    if twice:
        raise InputError(
            f"{path}: the data have several rows for {count_guids(twice)}; name a part of them "
            "with --split"
        )
    return Contender(
        letter, path, "bundle", found.info.labels, rows, _bundle_facts(found), found.overlap
    )


def _validation_part(record: Record) -> Dataset:
    """The part of a run's data with its validation pairs."""
    source = record.source
    other = None if source.validation is None else open_dataset(source.validation, source.reading)
    train, validation = training_parts(open_dataset(source.path, source.reading), other)
    return validation or train


def _labelled(dataset: Dataset, guids: Collection[str], *, contents: bool = True) -> Iterable[Pair]:
    """The labelled pairs with these guids."""
    with closing(dataset.rows(contents=contents)) as rows:
        for row in rows:
            if isinstance(row, Pair) and row.guid in guids and row.label is not None:
                yield row


def _bundle_facts(found: Evaluation) -> Mapping[str, Any]:
    said = found.info.provenance
    settings, dataset = (
        value if isinstance(value := said.get(name), dict) else {}
        for name in ("settings", "dataset")
    )
    return _facts(settings, dataset, found.info.labels) | {"bundle precision": found.info.precision}


def _facts(
    settings: Mapping[str, Any], dataset: Mapping[str, Any], labels: Sequence[str]
) -> dict[str, Any]:
    """Settings and data in one flat dictionary, with the names of `mmsent train`."""
    options = settings.get("options")
    facts = {name: value for name, value in settings.items() if name != "options"}
    if isinstance(options, dict):
        facts |= {f"options.{name}": value for name, value in options.items()}
    facts["labels"] = ", ".join(labels)
    for name, value in dataset.items():
        if name in ("train_pairs", "validation_pairs"):
            facts[name.replace("_", " ")] = value
        elif name in ("train_fingerprint", "validation_fingerprint"):
            facts[name.replace("_", " ")] = str(value)[:DIGITS]
        elif name in ("path", "validation") and value is not None:
            facts["data" if name == "path" else "validation data"] = str(value)
    return facts
