"""Does the bundle answer as PyTorch does? Asked before the bundle is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import torch
from torch import nn

from mmsent.bundle import INPUTS, OUTPUTS
from mmsent.errors import MmsentError
from mmsent.text import pad_ids

LOGITS_TOLERANCE = 1e-4
ALONE_TOLERANCE = 1e-6

Encoded = tuple[Sequence[Sequence[int]], npt.NDArray[np.uint8]]
"""One batch: token ids of each text, and pixels uint8 [batch, size, size, 3]."""


@dataclass(frozen=True)
class Verification:
    """How far ONNX Runtime is from PyTorch over ``pairs`` pairs.

    ``alone_difference`` is the largest difference of a probability between a pair alone and the
    same pair in its batch.
    """

    pairs: int
    source: str
    changed_labels: int
    logits_difference: float
    probabilities_difference: float
    mean_probabilities_difference: float
    alone_difference: float


def random_batches(vocabulary: int, max_length: int, size: int) -> Iterator[Encoded]:
    """Batches of random ids and pixels of many lengths and batch sizes; always the same ones."""
    generator = np.random.default_rng(0)
    for batch in (1, 2, 5, 8):
        lengths = generator.integers(1, max_length + 1, batch)
        ids = [generator.integers(0, vocabulary, length).tolist() for length in lengths]
        yield ids, generator.integers(0, 256, (batch, size, size, 3), dtype=np.uint8)


def verify(
    model: nn.Module, session: ort.InferenceSession, batches: Iterator[Encoded], source: str
) -> Verification:
    """Compare ``session`` with ``model`` over ``batches``; ``source`` says what they are.

    Raises MmsentError where a label or a logit differs, or a pair depends on its batch.
    """
    logits, expected, probabilities, wanted, alone = [], [], [], [], 0.0
    for ids, pixels in batches:
        feed = dict(zip(INPUTS, (*pad_ids(ids), pixels)))
        got = session.run(OUTPUTS, feed)
        with torch.inference_mode():
            reference = model(*(torch.from_numpy(array) for array in feed.values()))
        logits.append(got[0])
        probabilities.append(got[1])
        expected.append(reference.numpy())
        wanted.append(torch.softmax(reference, dim=1).numpy())
        single = dict(zip(INPUTS, (*pad_ids(ids[:1]), pixels[:1])))
        alone = max(alone, _largest(session.run(OUTPUTS, single)[1], got[1][:1]))
    difference = np.abs(np.concatenate(probabilities) - np.concatenate(wanted))
    result = Verification(
        pairs=len(difference),
        source=source,
        changed_labels=int(
            np.sum(np.concatenate(logits).argmax(1) != np.concatenate(expected).argmax(1))
        ),
        logits_difference=_largest(np.concatenate(logits), np.concatenate(expected)),
        probabilities_difference=float(difference.max()),
        mean_probabilities_difference=float(difference.mean()),
        alone_difference=alone,
    )
    if (
        result.changed_labels
        or not result.logits_difference <= LOGITS_TOLERANCE
        or not result.alone_difference <= ALONE_TOLERANCE
    ):
        raise MmsentError(
            f"the ONNX graph does not answer as PyTorch does; no bundle was written.\n"
            f"{describe(result)}\nThis is a fault of mmsent or of the versions of torch and "
            "onnxruntime here: please report it with the versions in run.json"
        )
    return result


def _largest(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    return float(np.abs(one - other).max())


def describe(result: Verification) -> str:
    """The verification as lines of text."""
    return (
        f"PyTorch against ONNX Runtime on {result.pairs} {result.source}:\n"
        f"  labels that differ                       {result.changed_labels}\n"
        f"  logits, largest difference               {result.logits_difference:.1e}"
        f"  (allowed {LOGITS_TOLERANCE:.0e})\n"
        f"  probabilities, largest and mean          {result.probabilities_difference:.1e}"
        f"  {result.mean_probabilities_difference:.1e}\n"
        f"  a pair alone and in a batch, largest     {result.alone_difference:.1e}"
        f"  (allowed {ALONE_TOLERANCE:.0e})"
    )
