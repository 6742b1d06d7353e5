"""A run: its folder, and everything that evaluation and export read from it."""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from torch import nn

from mmsent.bundle.info import MAX_DIGESTS, MAX_TOKENS
from mmsent.bundle.structure import MAX_METADATA
from mmsent.errors import InputError
from mmsent.files.atomic import atomic_path
from mmsent.files.bounded import read_file
from mmsent.files.destination import check_empty
from mmsent.files.shortage import raise_shortage
from mmsent.files.utf8 import utf8_path
from mmsent.inputs.text import read_tokenizer
from mmsent_training.digests import Digests
from mmsent_training.evaluation.calibration import Calibrated
from mmsent_training.models.registry import build_model, find_model
from mmsent_training.runs.latest import RUNS
from mmsent_training.runs.record import RECORD, Record, read_record
from mmsent_training.runs.resume import is_unfinished

CHECKPOINT = "checkpoint.safetensors"
TOKENIZER = "tokenizer.json"
PREDICTIONS = "validation_predictions.csv"
DIGESTS = "digests.json"


@dataclass(frozen=True)
class Run:
    """A finished run. ``record``: the content of run.json. ``digests``: see BundleInfo."""

    folder: Path
    record: Record
    tokenizer: Tokenizer
    digests: str

    def files(self) -> list[Path]:
        """The files that it was read from."""
        return [self.folder / name for name in (RECORD, CHECKPOINT, TOKENIZER, DIGESTS)]

    def load_model(self) -> nn.Module:
        """The trained model with its temperature, on the CPU, ready for inference.

        Raises InputError as `load_network` does.
        """
        return Calibrated(self.load_network(), self.record.calibration.temperature).eval()

    def load_network(self) -> nn.Module:
        """The trained model, on the CPU.

        Raises InputError if the checkpoint is damaged or belongs to another model.
        """
        path, description = self.folder / CHECKPOINT, self.record.model
        try:
            with torch.device("meta"):  # allocates nothing, since the description is untrusted
                described = build_model(description).state_dict()
            with utf8_path(path) as source, safe_open(source, framework="pt") as file:
                shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
                if shapes != {name: list(tensor.shape) for name, tensor in described.items()}:
                    raise InputError("its tensors do not match the model in run.json")
                model = build_model(description)
                model.load_state_dict({name: file.get_tensor(name) for name in shapes})
        except Exception as error:  # safetensors raises its own errors, torch and models any
            raise_shortage(error)
            raise InputError(f"{path} can't be loaded ({error}); train again") from None
        return model


def read_run(folder: Path) -> Run:
    """Read a run. Raises InputError if ``folder`` is not a run, or is unfinished or damaged."""
    check_finished(folder)
    record = read_record(folder)
    try:
        find_model(record.model["name"])
        content = read_file(folder / TOKENIZER, TOKENIZER, limit=MAX_METADATA)
        tokenizer = read_tokenizer(content.decode(), max_length=MAX_TOKENS)
        digests = ""
        if (folder / DIGESTS).exists():
            digests = read_file(folder / DIGESTS, DIGESTS, limit=MAX_DIGESTS).decode()
            Digests.from_json(digests)
    except InputError as error:
        raise InputError(f"{folder} can't be used: {error}") from None
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{folder} is damaged ({error!r}); train again") from None
    return Run(folder, record, tokenizer, digests)


def write_checkpoint(folder: Path, model: nn.Module) -> None:
    weights = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    with atomic_path(folder / CHECKPOINT) as part:
        part.write_bytes(safetensors.torch.save(weights))  # save_file would make it private (0600)


def write_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    with atomic_path(folder / TOKENIZER) as part:
        part.write_text(tokenizer.to_str(pretty=True), encoding="utf-8")


def write_digests(folder: Path, digests: Digests) -> None:
    with atomic_path(folder / DIGESTS) as part:
        part.write_text(digests.to_json(), encoding="utf-8")


def check_run_folder(output: Path) -> None:
    """Raises InputError if ``output`` is not empty."""
    if unfinished := _unfinished(output):
        raise InputError(unfinished)
    check_empty(output)


def new_folder(model: str, output: Path | None) -> Path:
    """Create the folder of a new run: ``output``, or runs/MODEL-YYYYmmdd-HHMMSS.

    Raises InputError if ``output`` is not empty.
    """
    if output is not None:
        check_run_folder(output)
        output.mkdir(parents=True, exist_ok=True)
        return output
    name = f"{model}-{time.strftime('%Y%m%d-%H%M%S')}"
    for suffix in ("", *(f"-{number}" for number in range(2, 100))):
        with suppress(FileExistsError):
            (folder := RUNS / (name + suffix)).mkdir(parents=True)
            return folder
    raise InputError(f"{RUNS} has 99 runs of this second; name the run with --output")


def is_finished(folder: Path) -> bool:
    """Whether ``folder`` is a finished run."""
    return (folder / RECORD).is_file() and not is_unfinished(folder)


def check_finished(folder: Path) -> None:
    """Raises InputError if ``folder`` is not a finished run."""
    if not (folder / RECORD).is_file():
        no_run = f"{folder} is not a finished run: it has no {RECORD}; `mmsent train` writes one"
        raise InputError(_unfinished(folder) or no_run)


def _unfinished(folder: Path) -> str | None:
    """What to do with ``folder``, if it is an unfinished run."""
    resuming = f"{folder} is an unfinished run; `mmsent train --resume {folder}` resumes it"
    return resuming if is_unfinished(folder) else None
