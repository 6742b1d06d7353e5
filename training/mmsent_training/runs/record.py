"""run.json: everything about a run except its weights, validated when it is read."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from mmsent.data.dataset import AS_IT_IS, Reading
from mmsent.data.pair import Part
from mmsent.data.training import TrainingSource
from mmsent.errors import InputError
from mmsent.files.atomic import atomic_path
from mmsent.files.bounded import read_file
from mmsent.inputs.image import ImageSettings
from mmsent_training.devices import Environment
from mmsent_training.evaluation.calibration import Calibration
from mmsent_training.evaluation.metrics import Scores
from mmsent_training.settings import Settings

FORMAT = 3
RECORD = "run.json"
MAX_RECORD = 1 << 24
"""Maximum size of run.json, in bytes."""


@dataclass(frozen=True)
class DatasetRecord:
    """The data of a run. The fingerprints are SHA-256: see Examples.fingerprint.

    ``fingerprint``: of all pairs. ``path``, ``validation`` and ``reading``: see TrainingSource.
    """

    path: Path
    list: str
    fingerprint: str
    validation_fingerprint: str
    train_pairs: int
    validation_pairs: int
    train_fingerprint: str = ""
    validation: Path | None = None
    reading: Reading = AS_IT_IS


@dataclass(frozen=True)
class WeightsRecord:
    """The pretrained weights that a run started from: see `Weights`."""

    name: str
    revision: str | None
    sha256: str


@dataclass(frozen=True)
class Record:
    """All of run.json.

    ``model``: the arguments of build_model. ``optional``: the parts that a pair may lack.
    ``chosen``: why this model was chosen. ``kept_epoch``: the epoch of the weights. ``epochs``: the
    number of trained epochs. ``seconds``: without epochs that an interruption undid.
    """

    created: str
    model: dict[str, Any]
    labels: tuple[str, ...]
    optional: tuple[Part, ...]
    image: ImageSettings
    weights: WeightsRecord | None
    chosen: str
    settings: Settings
    dataset: DatasetRecord
    metrics: Scores
    calibration: Calibration
    kept_epoch: int
    epochs: int
    seconds: float
    environment: Environment

    @property
    def source(self) -> TrainingSource:
        """The location of the run's pairs, and how to read them."""
        data = self.dataset
        return TrainingSource(data.path, data.validation, self.labels, data.reading)


def write_record(folder: Path, record: Record) -> None:
    """Write run.json. It is the last file, since it marks the run as complete."""
    content = {"format": FORMAT} | asdict(record)
    with atomic_path(folder / RECORD) as part:
        part.write_text(json.dumps(content, indent=2, default=plain) + "\n", encoding="utf-8")


def read_record(folder: Path) -> Record:
    """Read run.json. Raises InputError if it has another format or is damaged."""
    path = folder / RECORD
    try:
        content = json.loads(read_file(path, str(path), limit=MAX_RECORD))
        if content["format"] != FORMAT:
            raise InputError(
                f"{folder} can't be used: its format is {content['format']}, but this mmsent reads "
                f"{FORMAT}; train again, or use the version of mmsent that wrote it"
            )
        record = msgspec.convert(content, Record, dec_hook=typed)
        if not 0 < record.calibration.temperature < float("inf"):
            raise ValueError(f"its temperature: {record.calibration.temperature}")
    except InputError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{folder} is damaged ({error}); train again") from None
    return record


def plain(value: object) -> str:
    """A path as text. Raises TypeError for anything else that JSON lacks."""
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{value!r} can't be written as JSON")


def typed(kind: type, value: Any) -> Any:
    """The opposite of `plain`, for msgspec. Raises TypeError if ``value`` is not a path."""
    if isinstance(value, str) and "\0" in value:
        raise TypeError(f"{value!r} is not a path")
    return kind(value)
