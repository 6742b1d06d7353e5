"""The run: the folder that one training writes, and everything that export needs."""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from torch import nn

from mmsent.bundle.info import MAX_TOKENS
from mmsent.bundle.structure import MAX_METADATA
from mmsent.errors import InputError
from mmsent.files.atomic import atomic_path
from mmsent.files.bounded import read_file
from mmsent.inputs.image import ImageSettings
from mmsent.inputs.text import read_tokenizer
from mmsent_training.evaluation.calibration import Calibrated
from mmsent_training.models.light import LightModel
from mmsent_training.runs.state import is_unfinished
from mmsent_training.settings import Settings, read_settings

FORMAT = 1
MAX_RECORD = 1 << 24
"""A larger run.json, in bytes, is refused."""
RUNS = Path("runs")
LATEST = RUNS / "latest"
LIBRARIES = (
    "mmsent-training",
    "torch",
    "torchvision",
    "transformers",
    "accelerate",
    "scikit-learn",
    "tokenizers",
    "pillow",
    "numpy",
)


@dataclass(frozen=True)
class Run:
    """A finished run, read back.

    ``description`` is what build_model makes the model from; ``record`` is all of run.json.
    """

    folder: Path
    description: dict[str, Any]
    settings: Settings
    image: ImageSettings
    tokenizer: Tokenizer
    record: dict[str, Any]

    @property
    def optional(self) -> tuple[str, ...]:
        """What a pair may lack: see BundleInfo."""
        if self.settings.modality != "both":
            return ()
        if self.settings.missing > 0:
            return ("text", "image")
        return ("image",) if self.description.get("drop_image") else ()

    def load_model(self) -> nn.Module:
        """The trained model with its temperature, on the CPU, ready for inference."""
        path = self.folder / "checkpoint.safetensors"
        try:
            with torch.device("meta"):  # nothing is allocated: the description may be anybody's
                described = build_model(self.description).state_dict()
            with safe_open(path, framework="pt") as file:
                shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
            if shapes != {name: list(tensor.shape) for name, tensor in described.items()}:
                raise InputError("its tensors are not those of the model in run.json")
            model = build_model(self.description)
            model.load_state_dict(safetensors.torch.load_file(path))
        except Exception as error:  # safetensors raises its own, torch and models whatever they do
            raise InputError(f"{path} can't be loaded ({error}); train again") from None
        return Calibrated(model, self.temperature).eval()

    @property
    def temperature(self) -> float:
        """What the model's logits are divided by. Raises InputError where it is no such number."""
        calibration = self.record.get("calibration")
        value = calibration.get("temperature") if isinstance(calibration, dict) else None
        if not isinstance(value, float) or not 0 < value < float("inf"):
            raise InputError(f"{self.folder} is damaged (its temperature: {value!r}); train again")
        return value


def build_model(description: dict[str, Any]) -> nn.Module:
    """The untrained model of a description such as {"name": "light", "vocabulary": 6012}."""
    arguments = {key: value for key, value in description.items() if key != "name"}
    if description["name"] == "light":
        return LightModel(**arguments)
    if description["name"] == "clip":
        from mmsent_training.models.clip import (
            ClipClassifier,  # brings transformers, which loads slowly
        )

        return ClipClassifier(**arguments)
    if description["name"] == "compact":
        from mmsent_training.models.compact import CompactModel

        return CompactModel(**arguments)
    raise InputError(f"unknown model {description['name']!r}; a newer mmsent may know it")


def check_output(output: Path) -> None:
    """Raises InputError where ``output`` holds something already."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(
            f"{output} is an unfinished run; `mmsent train --resume {output}` goes on with it"
            if is_unfinished(output)
            else f"{output} exists and is not an empty folder; name another one"
        )


def new_folder(model: str, output: Path | None) -> Path:
    """Make the folder of a new run: ``output``, or runs/MODEL-YYYYmmdd-HHMMSS.

    Raises InputError where ``output`` holds something already.
    """
    if output is not None:
        check_output(output)
        output.mkdir(parents=True, exist_ok=True)
        return output
    name = f"{model}-{time.strftime('%Y%m%d-%H%M%S')}"
    for suffix in ("", *(f"-{number}" for number in range(2, 100))):
        folder = RUNS / (name + suffix)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise InputError(f"{RUNS} holds 99 runs of this second; name the run with --output")


def write_checkpoint(folder: Path, model: nn.Module) -> None:
    """Write the weights of ``model`` as checkpoint.safetensors."""
    weights = {
        name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()
    }
    with atomic_path(folder / "checkpoint.safetensors") as part:
        part.write_bytes(safetensors.torch.save(weights))  # save_file makes it private (0600)


def write_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """Write tokenizer.json."""
    with atomic_path(folder / "tokenizer.json") as part:
        part.write_text(tokenizer.to_str(pretty=True), encoding="utf-8")


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write run.json: last of all files, since it says that the run is whole."""
    with atomic_path(folder / "run.json") as part:
        part.write_text(json.dumps({"format": FORMAT} | record, indent=2) + "\n", encoding="utf-8")


def point_latest(folder: Path) -> None:
    """Let runs/latest be ``folder``, which lies in runs/."""
    link = LATEST.with_name(f".latest.{os.getpid()}")
    link.unlink(missing_ok=True)
    link.symlink_to(folder.name, target_is_directory=True)
    os.replace(link, LATEST)


def is_finished(folder: Path) -> bool:
    """Whether ``folder`` is a run to which nothing is left to do."""
    return (folder / "run.json").is_file() and not is_unfinished(folder)


def read_run(folder: Path) -> Run:
    """Read a run. Raises InputError where ``folder`` is none, or one that was not finished."""
    path = folder / "run.json"
    if not path.is_file() and is_unfinished(folder):
        raise InputError(
            f"{folder} is an unfinished run; `mmsent train --resume {folder}` goes on with it"
        )
    if not path.is_file():
        raise InputError(
            f"{folder} is no finished run (it has no run.json); `mmsent train` writes one"
        )
    try:
        record = json.loads(read_file(path, str(path), limit=MAX_RECORD))
        if record["format"] != FORMAT:
            raise InputError(f"its format is {record['format']}, and this mmsent reads {FORMAT}")
        tokenizer = read_file(folder / "tokenizer.json", "tokenizer.json", limit=MAX_METADATA)
        return Run(
            folder=folder,
            description=record["model"],
            settings=read_settings(record["settings"]),
            image=ImageSettings(**record["image"]),
            tokenizer=read_tokenizer(tokenizer.decode(), max_length=MAX_TOKENS),
            record=record,
        )
    except InputError as error:
        raise InputError(f"{folder} can't be used: {error}") from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{folder} is damaged ({error!r}); train again") from None


def libraries() -> dict[str, Any]:
    """The versions of everything that decides on a training's outcome."""
    return {
        "python": platform.python_version(),
        "cuda": torch.version.cuda,
        **{name: version(name) for name in LIBRARIES},
    }


def environment(device: str) -> dict[str, Any]:
    """The libraries' versions and the hardware, for run.json."""
    gpu = torch.cuda.get_device_name() if device == "cuda" else None
    hardware = {
        "platform": platform.platform(),
        "gpu": gpu,
        "threads": torch.get_num_threads(),
    }
    return hardware | libraries()
