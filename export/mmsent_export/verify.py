"""Compare the bundle with PyTorch, before the bundle is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import nn

from mmsent.bundle.info import OUTPUTS, Precision
from mmsent.errors import MmsentError
from mmsent.files.progress import Progress
from mmsent_export.rewrite import Floats
from mmsent_export.session import Feed, make_feed, open_session
from mmsent_training.evaluation.metrics import macro_f1

BATCH_SIZE = 16
FP32_LOGITS = 1e-4
"""The largest allowed difference of a logit in fp32."""

ACCEPTED_LOSS = 1.0
"""Percent of the labels that fp16 and int8 may change, and points of accuracy to lose."""

ALONE: dict[Precision, float] = {"fp32": 1e-6, "fp16": 1e-4, "int8": 1e-3}
"""How much a batch may change a probability: by rounding in attention, or one step of int8."""


@dataclass(frozen=True)
class Samples:
    """Pairs for the verification; ``source`` describes them.

    ``ids``: token ids. ``pixels``: uint8 [pairs, size, size, 3]. ``labels``: int64 [pairs] or None.
    """

    source: str
    ids: Sequence[Sequence[int]]
    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64] | None

    @classmethod
    def random(cls, vocabulary: int, max_length: int, size: int) -> Samples:
        """Random ids of various lengths and random pixels; always the same."""
        generator = np.random.default_rng(0)
        lengths = generator.integers(1, max_length + 1, 16)
        ids = [generator.integers(0, vocabulary, length).tolist() for length in lengths]
        pixels = generator.integers(0, 256, (len(ids), size, size, 3), dtype=np.uint8)
        return cls("random inputs (the run's dataset is gone or has changed)", ids, pixels, None)


@dataclass(frozen=True)
class Verification:
    """The differences between the bundle in ONNX Runtime and PyTorch fp32 on ``pairs`` pairs.

    ``alone_difference``: the largest difference of a pair's probabilities alone and in its batch.
    ``accuracy``, ``macro_f1``: of PyTorch and of the bundle, or None without labels.
    ``accepted_loss``: percent. ``kept_in_fp32``: the share of linear layers' inputs kept in fp32.
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

    @property
    def changed(self) -> float:
        """The labels that differ, in percent."""
        return 100 * self.changed_labels / self.pairs

    @property
    def loss(self) -> float:
        """Percent of the labels changed or points of accuracy lost, whichever is more."""
        lost = self.accuracy[0] - self.accuracy[1] if self.accuracy else 0.0
        return max(self.changed, 100 * lost)

    def __str__(self) -> str:
        """A table."""
        kept = f", {self.kept_in_fp32:.0%} of the inputs in fp32" if self.kept_in_fp32 else ""
        largest, mean = self.probabilities_difference, self.mean_probabilities_difference
        rows = [
            ("labels that differ", f"{self.changed_labels} ({self.changed:.2f} %)"),
            ("logits, largest difference", f"{self.logits_difference:.1e}"),
            ("probabilities, largest, mean", f"{largest:.1e}, {mean:.1e}"),
            ("a pair alone and in a batch, largest", f"{self.alone_difference:.1e}"),
        ]
        for name, both in (("accuracy", self.accuracy), ("macro F1", self.macro_f1)):
            if both:
                rows.append((f"{name}, PyTorch and bundle", "{:.4f}, {:.4f}".format(*both)))
        title = f"PyTorch fp32 against the bundle, {self.pairs} {self.source}{kept}:"
        return "\n".join([title, *(f"  {name:<38} {value}" for name, value in rows)])


def reference_logits(model: nn.Module, samples: Samples) -> Floats:
    """The logits of ``model``, PyTorch in fp32, for ``samples``: float32 [pairs, labels]."""

    @torch.inference_mode()
    def run(feed: Feed) -> list[Floats]:
        return [model(*map(torch.from_numpy, feed.values())).numpy()]

    return _answers("predicting with PyTorch", run, samples)[0]


def _answers(name: str, run: Callable[[Feed], list[Floats]], samples: Samples) -> list[Floats]:
    """The outputs of ``run`` for all ``samples``, in batches of BATCH_SIZE."""
    outputs = []
    with Progress(name, len(samples.ids), "pairs") as progress:
        for start in range(0, len(samples.ids), BATCH_SIZE):
            ids = samples.ids[start : start + BATCH_SIZE]
            outputs.append(run(make_feed(ids, samples.pixels[start : start + BATCH_SIZE])))
            progress.update(len(ids))
    return [np.concatenate(batches) for batches in zip(*outputs)]


def verify(
    reference: Floats,
    graph: onnx.ModelProto,
    samples: Samples,
    precision: Precision,
    accepted_loss: float,
    kept: float,
) -> Verification:
    """Compare ``graph``, of a ``precision``, with the ``reference`` logits of the same samples.

    Raises MmsentError if an fp32 graph gives other results, or if any graph returns NaN or lets a
    pair depend on its batch. The caller decides whether fp16 or int8 loses too much.
    """
    run = partial(open_session(graph).run, OUTPUTS)
    logits, probabilities = _answers("verifying", run, samples)
    firsts = zip(samples.ids[::BATCH_SIZE], samples.pixels[::BATCH_SIZE])
    alone = np.concatenate([run(make_feed([ids], pixels[None]))[1] for ids, pixels in firsts])
    wanted = torch.softmax(torch.from_numpy(reference), dim=1).numpy()
    difference = np.abs(probabilities - wanted)
    labels, wanted_labels = logits.argmax(1), reference.argmax(1)
    accuracy = f1 = None
    if (true := samples.labels) is not None:
        accuracy = float(np.mean(true == wanted_labels)), float(np.mean(true == labels))
        classes = reference.shape[1]
        f1 = macro_f1(true, wanted_labels, classes), macro_f1(true, labels, classes)
    result = Verification(
        pairs=len(labels),
        source=samples.source,
        changed_labels=int(np.sum(labels != wanted_labels)),
        logits_difference=float(np.abs(logits - reference).max()),
        probabilities_difference=float(difference.max()),
        mean_probabilities_difference=float(difference.mean()),
        alone_difference=float(np.abs(alone - probabilities[::BATCH_SIZE]).max()),
        accuracy=accuracy,
        macro_f1=f1,
        accepted_loss=0.0 if precision == "fp32" else accepted_loss,
        kept_in_fp32=kept,
    )
    right = result.alone_difference <= ALONE[precision]  # comparisons with NaN are false
    if precision == "fp32":
        right &= result.changed_labels == 0 and result.logits_difference <= FP32_LOGITS
    if not right or not np.isfinite(result.probabilities_difference):
        raise MmsentError(
            f"the {precision} graph does not agree with PyTorch; no bundle was written.\n"
            f"{result}\nThis is a bug in mmsent or in this version of torch or "
            "onnxruntime: please report it with the versions in run.json"
        )
    return result
