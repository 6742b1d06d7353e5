"""Models of transformers with pretrained weights, loaded without running anyone's code."""

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from mmsent.errors import MmsentError
from mmsent.files.shortage import raise_shortage


def without_code(config: Any) -> Any:
    """A configuration without the keys that make transformers run code.

    If the package kernels is installed, "attn_implementation": "owner/name", under several names
    and at any depth, is downloaded from the hub and run. "auto_map" names a checkpoint's code.
    """
    if not isinstance(config, dict):
        return config
    return {
        key: without_code(value)
        for key, value in config.items()
        if "attn_implementation" not in str(key) and key != "auto_map"
    }


def load_pretrained(
    kind: type[PreTrainedModel], folder: Path, config: Any, *, optional: tuple[str, ...] = ()
) -> Any:
    """A model of transformers with its weights, from safetensors.

    ``optional``: beginnings of the names of tensors that may be missing. Raises MmsentError if
    others are missing, or shapes differ.
    """
    try:
        loaded, report = kind.from_pretrained(
            folder, config=config, use_safetensors=True, local_files_only=True,
            dtype=torch.float32, output_loading_info=True,
        )  # fmt: skip
    except RuntimeError as error:  # a shape that differs
        raise_shortage(error)
        raise MmsentError(f"the weights in {folder} do not fit its config.json: {error}") from None
    # transformers would continue with random weights.
    if missing := sorted(key for key in report["missing_keys"] if not key.startswith(optional)):
        names = ", ".join(missing[:3])
        raise MmsentError(f"the weights in {folder} do not fit its config.json: no {names}")
    return loaded
