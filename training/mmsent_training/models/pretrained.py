"""Models of transformers with pretrained weights, loaded without running anyone's code."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel
from transformers.utils.logging import get_verbosity, set_verbosity

from mmsent.errors import InputError, MmsentError
from mmsent.files.shortage import raise_shortage
from mmsent_training.weights.checkpoint import TOKENIZER


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
        with _quiet():
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


def load_tokenizer(
    folder: Path, build: Callable[[Path], Any], *, vocabulary: int, positions: int, max_length: int
) -> Tokenizer:
    """The tokenizer in ``folder`` or, without a tokenizer.json, what transformers' ``build`` makes.

    It does not pad, and truncates to ``max_length`` or the encoder's ``positions``.
    Raises InputError if it can't be made, or does not fit an encoder of ``vocabulary`` tokens.
    """
    path = folder / TOKENIZER
    try:
        if path.is_file():
            tokenizer = Tokenizer.from_file(str(path))
        elif (tokenizer := getattr(found := build(folder), "backend_tokenizer", None)) is None:
            raise TypeError(f"{type(found).__name__} is written in Python")
    except Exception as error:  # of no narrower type, if it is from tokenizers
        raise_shortage(error)
        if path.is_file():
            raise InputError(f"{path} is not a tokenizer: {error}\nGet the file again") from None
        raise InputError(
            f"transformers makes no fast tokenizer of the vocabulary in {folder}: {error}\n"
            f"Add a {TOKENIZER}, or use another encoder"
        ) from None
    if (largest := max(tokenizer.get_vocab().values(), default=0)) >= vocabulary:
        raise InputError(
            f"{folder}: the tokenizer has ids up to {largest}, and the encoder only {vocabulary} "
            "tokens; they do not belong together"
        )
    tokenizer.no_padding()
    length, added = min(max_length, positions), tokenizer.num_special_tokens_to_add(False)
    if not tokenizer.encode("").ids:
        raise InputError(
            f"{folder}: the tokenizer adds no token to a text, so that an empty text has none\n"
            f"Use an encoder whose {TOKENIZER} has a post_processor"
        )
    if length <= added:
        raise InputError(
            f"{folder}: {added} of a text's tokens are its beginning and end, so that a maximum of "
            f"{length} leaves none for words; see --set max_length, and the encoder's config.json"
        )
    tokenizer.enable_truncation(length)
    return tokenizer


@contextmanager
def described(path: Path) -> Iterator[None]:
    """Raises InputError if no encoder can be made of what the config.json ``path`` describes."""
    try:
        yield
    except MmsentError:
        raise
    except (
        AssertionError, AttributeError, ImportError, KeyError, RuntimeError, TypeError, ValueError,
        ZeroDivisionError,
    ) as error:  # fmt: skip
        raise_shortage(error)
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise InputError(
            f"{path} describes an encoder that can't be used: {reason}\n"
            "Correct the file, or use another encoder"
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' warnings, of weights that are missing: load_pretrained checks that."""
    level = get_verbosity()
    set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        set_verbosity(level)
