"""The files of an unfinished run, from which an interrupted training continues.

unfinished.json     how the run was started; it marks the folder as an unfinished run
state.safetensors   the state after the last finished epoch, written atomically

Both are deleted when the run is finished. Neither is ever unpickled.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import torch
from msgspec import Meta
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mmsent.data.training import TrainingSource
from mmsent.errors import InputError, MmsentError
from mmsent.files.atomic import atomic_path
from mmsent.files.interrupt import Stoppable, stop_on_signals
from mmsent.files.shortage import raise_shortage
from mmsent.files.utf8 import utf8_path
from mmsent_training.distributed import all_reduce_max, world_size
from mmsent_training.runs.record import plain, typed
from mmsent_training.settings import Settings

START = "unfinished.json"
STATE = "state.safetensors"
_STRUCTURE = "mmsent.state"
MAX_THREADS = 1 << 12
"""More threads than a machine has would only fail to start."""


@dataclass(frozen=True)
class Start:
    """How a run was started, which must be the same when it continues.

    ``data``: the location of the pairs. ``fingerprint`` and ``validation_fingerprint``: of all
    pairs and of the validation pairs, by Examples.fingerprint. ``sources``: where the pretrained
    weights come from. ``weights``: their SHA-256, if there are any. ``threads``: PyTorch's number,
    on which the last bits of sums depend. ``latest``: whether runs/latest will point to this run.
    """

    settings: Settings
    chosen: str
    data: TrainingSource
    fingerprint: str
    validation_fingerprint: str
    sources: dict[str, str]
    weights: str | None
    libraries: dict[str, str | None]
    threads: Annotated[int, Meta(ge=1, le=MAX_THREADS)]
    latest: bool


def write_start(folder: Path, start: Start) -> None:
    """Make ``folder`` an unfinished run."""
    with atomic_path(folder / START) as part:
        content = json.dumps(asdict(start), indent=2, default=plain)
        part.write_text(content + "\n", encoding="utf-8")


def read_start(folder: Path) -> Start:
    """Read how a run was started. Raises InputError if ``folder`` is not an unfinished run."""
    path = folder / START
    try:
        return msgspec.convert(json.loads(path.read_bytes()), Start, dec_hook=typed)
    except FileNotFoundError:
        raise InputError(
            f"{folder} is not an unfinished run: it has no {START}; `mmsent train` starts one"
        ) from None
    except (ValueError, RecursionError) as error:
        why = f"can't be read ({error}): it is damaged, or of an older mmsent; train again"
        raise InputError(f"{path} {why}") from None


def check_start(folder: Path, start: Start, now: Start) -> None:
    """Check that the run in ``folder``, started as ``start``, has the same result under ``now``.

    Deletes incomplete files of killed processes.
    Raises InputError that lists all differences, or if another process has finished the run since
    ``start`` was read.
    """
    if not is_unfinished(folder):
        raise InputError(f"{folder} was finished by another process")
    check_same_start(folder, start, now)
    for part in folder.glob(".*.part"):  # left incomplete by a killed process
        part.unlink()


def check_same_start(folder: Path, start: Start, now: Start) -> None:
    """Raises InputError that lists what differs between ``start`` and ``now``, if anything does."""
    differing = []
    if start.fingerprint != now.fingerprint:
        differing.append(f"the dataset in {now.data.path} has changed")
    elif start.validation_fingerprint != now.validation_fingerprint:
        differing.append("the validation pairs have changed")
    if start.weights != now.weights:
        differing.append("the pretrained weights have changed")
    before = asdict(start.settings) | start.libraries
    differing += [
        f"{name} was {before.get(name)} and is {value}"
        for name, value in (asdict(now.settings) | now.libraries).items()
        if before.get(name) != value
    ]
    if differing:
        reasons = "\n".join(f"  {difference}" for difference in differing)
        raise InputError(
            f"{folder} would not have the same result as without the interruption:\n{reasons}\n"
            "fix that, or start again"
        )


def is_unfinished(folder: Path) -> bool:
    """Whether `mmsent train --resume` can resume ``folder``."""
    return (folder / START).is_file()


@contextmanager
def resumable(folder: Path) -> Iterator[Stoppable]:
    """While the block trains the run in ``folder``, SIGINT and SIGTERM end it between two steps.

    Yields a function that wraps iterables. All processes end after the same step, whichever of them
    got the signal. The error that it raises, and the MmsentError that replaces an OSError, say how
    to continue.
    """
    resuming = f"`mmsent train --resume {folder}` resumes after its last finished epoch"
    try:
        with stop_on_signals(resuming, all_reduce_max if world_size() > 1 else None) as stoppable:
            yield stoppable
    except OSError as error:
        reason = f"{error.filename or folder}: {error.strerror or error}"
        if is_unfinished(folder):
            reason += f"; when that is fixed, {resuming}"
        raise MmsentError(reason) from None


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Write ``state``: dictionaries, lists and tuples of tensors, numbers, strings and None.

    Raises OSError if it can't be written; the previous state then stays.
    """
    tensors: dict[str, Tensor] = {}
    structure = json.dumps(_flatten(state, tensors))
    path = folder / STATE
    with atomic_path(path) as part:
        try:
            save_file(tensors, part, metadata={_STRUCTURE: structure})
        except SafetensorError as error:
            raise OSError(0, str(error), str(path)) from None


def read_state(folder: Path) -> dict[str, Any] | None:
    """Read the state, with its tensors on the CPU; None if no epoch was finished.

    Raises InputError if the file is damaged.
    """
    path = folder / STATE
    if not path.exists():
        return None
    try:
        with utf8_path(path) as source, safe_open(source, framework="pt") as file:
            return _restore(json.loads(file.metadata()[_STRUCTURE]), file)
    except Exception as error:  # safetensors raises its own errors, a wrong structure any
        raise_shortage(error)
        raise InputError(f"{path} is damaged ({error!r}); train again") from None


@contextmanager
def restoring(folder: Path) -> Iterator[None]:
    """Raises InputError if what the block restores from the state does not fit the run."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        raise_shortage(e)
        raise InputError(f"{folder / STATE} does not fit the run ({e!r}); train again") from None


def remove_state(folder: Path) -> None:
    """Delete the files of an unfinished run, because it is finished."""
    (folder / START).unlink(missing_ok=True)
    (folder / STATE).unlink(missing_ok=True)


def _flatten(value: Any, tensors: dict[str, Tensor]) -> Any:
    """``value`` as JSON, its tensors moved to ``tensors``.

    A tensor keeps the order of its dimensions in memory. With a different layout of an optimiser's
    state and its weights, the last bits could be rounded differently.
    """
    if isinstance(value, Tensor):
        strides = value.stride()
        order = sorted(range(value.dim()), key=lambda dim: -strides[dim])
        name = str(len(tensors))
        # A copy, since tensors that share memory must be stored separately.
        tensors[name] = value.detach().permute(order).cpu().contiguous().clone()
        return {"tensor": name, "order": order}
    if isinstance(value, dict):  # JSON keys are strings, but an optimiser's are numbers
        return {"dict": [[key, _flatten(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_flatten(item, tensors) for item in value]}
    return value


def _restore(value: Any, file: Any) -> Any:
    """The inverse of _flatten; the tensors come from ``file``."""
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        order = torch.tensor(value["order"], dtype=torch.int64)
        stored = file.get_tensor(value["tensor"])
        return stored.permute(order.argsort().tolist()).clone()
    ((kind, items),) = value.items()
    if kind == "dict":
        return {key: _restore(item, file) for key, item in items}
    return {"list": list, "tuple": tuple}[kind](_restore(item, file) for item in items)
