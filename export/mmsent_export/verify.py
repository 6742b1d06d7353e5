"""Does the bundle answer as PyTorch does? Asked before the bundle is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from torch import nn

from mmsent.bundle.info import INPUTS, OUTPUTS
from mmsent.errors import MmsentError
from mmsent.files.progress import Progress
from mmsent.inputs.text import pad_ids
from mmsent_training.evaluation.metrics import score

BATCH_SIZE = 16
FP32_LOGITS = 1e-4
"""The largest difference of a logit that is allowed in fp32."""

ACCEPTED_LOSS = 1.0
"""Percent of the labels that fp16 and int8 may change, and points of accuracy they may lose."""

ALONE = {"fp32": 1e-6, "fp16": 1e-4, "int8": 1e-3}
"""How far a probability may move when a pair has others beside it: the rounding of the attention's
sums, which int8 can turn into a step of its own."""


@dataclass(frozen=True)
class Samples:
    """Encoded pairs to verify on; ``source`` says what they are, in words.

    ``ids``: token ids of each text. ``pixels``: uint8 [pairs, size, size, 3]. ``labels``: int64
    [pairs], or None where they have none.
    """

    source: str
    ids: Sequence[Sequence[int]]
    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64] | None

    def batches(self) -> Iterator[tuple[Sequence[Sequence[int]], npt.NDArray[np.uint8]]]:
        """The pairs in batches of BATCH_SIZE, in their order."""
        for start in range(0, len(self.ids), BATCH_SIZE):
            part = slice(start, start + BATCH_SIZE)
            yield self.ids[part], self.pixels[part]


@dataclass(frozen=True)
class Verification:
    """How far ONNX Runtime, with the bundle, is from PyTorch fp32 over ``pairs`` pairs.

    ``alone_difference`` is the largest difference of a probability between a pair alone and the
    same pair in its batch. Accuracies and macro F1, PyTorch's and the bundle's, are None without
    labels. ``accepted_loss`` is the limit that it was held to, in percent; ``kept_in_fp32`` the
    share of the linear layers' inputs that an int8 bundle leaves in fp32.
    """

    pairs: int
    source: str
    changed_labels: int
    logits_difference: float
    probabilities_difference: float
    mean_probabilities_difference: float
    alone_difference: float
    accuracy: tuple[float, float] | None
    macro_f1: tuple[float, float] | None
    accepted_loss: float
    kept_in_fp32: float


class TooMuchLost(MmsentError):
    """``changed`` percent of the labels, and ``lost`` points of accuracy, are too many."""

    def __init__(self, message: str, changed: float, lost: float) -> None:
        super().__init__(message)
        self.changed, self.lost = changed, lost


def random_samples(vocabulary: int, max_length: int, size: int) -> Samples:
    """Random ids and pixels of many lengths; always the same ones."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, max_length + 1, 16)
    ids = [generator.integers(0, vocabulary, length).tolist() for length in lengths]
    pixels = generator.integers(0, 256, (len(ids), size, size, 3), dtype=np.uint8)
    return Samples(
        "random inputs (the run's dataset is not there any more, or has changed)", ids, pixels, None
    )


def reference_logits(model: nn.Module, samples: Samples) -> npt.NDArray[np.float32]:
    """What ``model``, PyTorch in fp32, answers to ``samples``: float32 [pairs, labels]."""
    rows = []
    with Progress("answering with PyTorch", len(samples.ids), "pairs") as progress:
        for ids, pixels in samples.batches():
            feed = (*pad_ids(ids), pixels)
            with torch.inference_mode():
                rows.append(model(*map(torch.from_numpy, feed)).numpy())
            progress.update(len(ids))
    return np.concatenate(rows)


def verify(
    wanted: npt.NDArray[np.float32],
    graph: onnx.ModelProto,
    samples: Samples,
    precision: str,
    accepted_loss: float = ACCEPTED_LOSS,
    kept: float = 0.0,
) -> Verification:
    """Compare ``graph``, of a ``precision``, with ``wanted``, the reference_logits of ``samples``.

    Raises TooMuchLost where fp16 or int8 changes more than ``accepted_loss`` percent, and
    MmsentError where fp32 changes anything, or a pair depends on its batch.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    logits, probabilities, alone = [], [], 0.0
    with Progress("verifying", len(samples.ids), "pairs") as progress:
        for ids, pixels in samples.batches():
            feed = dict(zip(INPUTS, (*pad_ids(ids), pixels)))
            got = session.run(OUTPUTS, feed)
            logits.append(got[0])
            probabilities.append(got[1])
            single = dict(zip(INPUTS, (*pad_ids(ids[:1]), pixels[:1])))
            alone = max(alone, _largest(session.run(OUTPUTS, single)[1], got[1][:1]))
            progress.update(len(ids))
    wanted_probabilities = torch.softmax(torch.from_numpy(wanted), dim=1).numpy()
    difference = np.abs(np.concatenate(probabilities) - wanted_probabilities)
    labels, wanted_labels = np.concatenate(logits).argmax(1), wanted.argmax(1)
    scores = None
    if samples.labels is not None:
        scores = score(samples.labels, wanted_labels), score(samples.labels, labels)
    result = Verification(
        pairs=len(labels),
        source=samples.source,
        changed_labels=int(np.sum(labels != wanted_labels)),
        logits_difference=_largest(np.concatenate(logits), wanted),
        probabilities_difference=float(difference.max()),
        mean_probabilities_difference=float(difference.mean()),
        alone_difference=alone,
        accuracy=scores and (scores[0]["accuracy"], scores[1]["accuracy"]),
        macro_f1=scores and (scores[0]["macro_f1"], scores[1]["macro_f1"]),
        accepted_loss=0.0 if precision == "fp32" else accepted_loss,
        kept_in_fp32=kept,
    )
    _refuse(result, precision)
    return result


def _refuse(result: Verification, precision: str) -> None:
    """Raise MmsentError where a bundle of these results must not be written."""
    changed = 100 * result.changed_labels / result.pairs
    lost = 100 * (result.accuracy[0] - result.accuracy[1]) if result.accuracy else 0.0
    depends = not result.alone_difference <= ALONE[precision]
    if precision == "fp32":
        wrong = bool(result.changed_labels) or not result.logits_difference <= FP32_LOGITS
    else:
        wrong = not np.isfinite(result.probabilities_difference)
    if wrong or depends:
        raise MmsentError(
            f"the {precision} graph does not answer as PyTorch does; no bundle was written.\n"
            f"{describe(result)}\nThis is a fault of mmsent or of the versions of torch and "
            "onnxruntime here: please report it with the versions in run.json"
        )
    limit = result.accepted_loss + 1e-9
    if precision != "fp32" and (changed > limit or lost > limit):
        raise TooMuchLost(
            f"{precision} changes over {result.accepted_loss:g} % of the labels, or costs more "
            f"than {result.accepted_loss:g} points of accuracy; no bundle was written.\n"
            f"{describe(result)}\nExport with --precision fp32, or accept the loss with "
            f"--accept-loss {np.ceil(10 * max(changed, lost)) / 10:g}",
            changed,
            lost,
        )


def _largest(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    return float(np.abs(one - other).max())


def describe(result: Verification) -> str:
    """The verification as a table of text."""
    kept = f", {result.kept_in_fp32:.0%} of the inputs in fp32" if result.kept_in_fp32 else ""
    lines = [
        f"PyTorch fp32 against the bundle, {result.pairs} {result.source}{kept}:",
        f"  labels that differ                     {result.changed_labels}"
        f" ({100 * result.changed_labels / result.pairs:.2f} %)",
        f"  logits, largest difference             {result.logits_difference:.1e}",
        f"  probabilities, largest, mean           {result.probabilities_difference:.1e}, "
        f"{result.mean_probabilities_difference:.1e}",
        f"  a pair alone and in a batch, largest   {result.alone_difference:.1e}",
    ]
    if result.accuracy and result.macro_f1:
        lines += [
            f"  accuracy, PyTorch and bundle           {result.accuracy[0]:.4f}, "
            f"{result.accuracy[1]:.4f}",
            f"  macro F1, PyTorch and bundle           {result.macro_f1[0]:.4f}, "
            f"{result.macro_f1[1]:.4f}",
        ]
    return "\n".join(lines)
