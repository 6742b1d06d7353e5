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

from mmsent.bundle.info import EMBEDDING, OUTPUTS, Precision
from mmsent.errors import MmsentError
from mmsent.files.progress import Progress
from mmsent_export.graph import WithOutputs
from mmsent_export.rewrite import Floats
from mmsent_export.session import Feed, make_feed, open_session
from mmsent_training.evaluation.metrics import macro_f1

BATCH_SIZE = 16
FP32_LOGITS = 1e-4
"""The largest allowed difference of a logit in fp32."""

ACCEPTED_LOSS = 1.0
"""Percent of the labels that fp16 and int8 may change, and points of accuracy to lose."""

EMBEDDINGS: dict[Precision, float] = {"fp32": 1e-4, "fp16": 2e-2, "int8": 0.5}
"""The largest allowed distance of an embedding from PyTorch's, relative to its length. It is to
reveal a wrong graph: the rounding of fp16 and int8 is judged by the labels that it changes."""

EMBEDDINGS_ALONE: dict[Precision, float] = {"fp32": 1e-5, "fp16": 2e-3, "int8": 5e-2}
"""How much a batch may change an embedding, relative to its length."""

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
class Distances:
    """The largest distances of embeddings, relative to their length.

    ``pytorch``: from PyTorch's. ``alone``: of a pair's embedding alone from that in its batch.
    """

    pytorch: float
    alone: float


@dataclass(frozen=True)
class Verification:
    """The differences between the bundle in ONNX Runtime and PyTorch fp32 on ``pairs`` pairs.

    ``alone_difference``: the largest difference of a pair's probabilities alone and in its batch.
    ``embeddings``: None if the bundle gives none.
    ``accuracy``, ``macro_f1``: of PyTorch and of the bundle, or None without labels.
    ``accepted_loss``: percent. ``kept_in_fp32``: the share of linear layers' inputs kept in fp32.
    ``int8_convolutions``: whether convolutions are computed in int8.
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
    embeddings: Distances | None = None
    int8_convolutions: bool = False

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
        kept += ", convolutions in int8" if self.int8_convolutions else ""
        largest, mean = self.probabilities_difference, self.mean_probabilities_difference
        rows = [
            ("labels that differ", f"{self.changed_labels} ({self.changed:.2f} %)"),
            ("logits, largest difference", f"{self.logits_difference:.1e}"),
            ("probabilities, largest, mean", f"{largest:.1e}, {mean:.1e}"),
            ("a pair alone and in a batch, largest", f"{self.alone_difference:.1e}"),
        ]
        if self.embeddings:
            rows += [
                ("embeddings, largest relative distance", f"{self.embeddings.pytorch:.1e}"),
                ("the same, alone and in a batch", f"{self.embeddings.alone:.1e}"),
            ]
        for name, both in (("accuracy", self.accuracy), ("macro F1", self.macro_f1)):
            if both:
                rows.append((f"{name}, PyTorch and bundle", "{:.4f}, {:.4f}".format(*both)))
        title = f"PyTorch fp32 against the bundle, {self.pairs} {self.source}{kept}:"
        return "\n".join([title, *(f"  {name:<38} {value}" for name, value in rows)])


def reference_outputs(
    model: nn.Module, samples: Samples, *, embeddings: bool = False
) -> list[Floats]:
    """The outputs of ``model``, PyTorch in fp32, for ``samples``: see `WithOutputs`."""
    complete = WithOutputs(model, embeddings=embeddings).eval()

    @torch.inference_mode()
    def run(feed: Feed) -> list[Floats]:
        return [output.numpy() for output in complete(*map(torch.from_numpy, feed.values()))]

    return _answers("predicting with PyTorch", run, samples)


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
    reference: Sequence[Floats],
    graph: onnx.ModelProto,
    samples: Samples,
    precision: Precision,
    accepted_loss: float,
    kept: float,
    int8_convolutions: bool = False,
) -> Verification:
    """Compare ``graph``, of a ``precision``, with `reference_outputs` of the same samples.

    Raises MmsentError if an fp32 graph gives other results, or if any graph returns NaN or lets a
    pair depend on its batch. The caller decides whether fp16 or int8 loses too much.
    """
    run = partial(open_session(graph).run, (*OUTPUTS, EMBEDDING)[: len(reference)])
    outputs = _answers("verifying", run, samples)
    (logits, probabilities), (wanted_logits, wanted) = outputs[:2], reference[:2]
    firsts = zip(samples.ids[::BATCH_SIZE], samples.pixels[::BATCH_SIZE])
    alone = [*map(np.concatenate, zip(*(run(make_feed([x], y[None])) for x, y in firsts)))]
    difference = np.abs(probabilities - wanted)
    labels, wanted_labels = logits.argmax(1), wanted_logits.argmax(1)
    accuracy = f1 = None
    if (true := samples.labels) is not None:
        accuracy = float(np.mean(true == wanted_labels)), float(np.mean(true == labels))
        classes = wanted.shape[1]
        f1 = macro_f1(true, wanted_labels, classes), macro_f1(true, labels, classes)
    result = Verification(
        pairs=len(labels),
        source=samples.source,
        changed_labels=int(np.sum(labels != wanted_labels)),
        logits_difference=float(np.abs(logits - wanted_logits).max()),
        probabilities_difference=float(difference.max()),
        mean_probabilities_difference=float(difference.mean()),
        alone_difference=float(np.abs(alone[1] - probabilities[::BATCH_SIZE]).max()),
        accuracy=accuracy,
        macro_f1=f1,
        accepted_loss=0.0 if precision == "fp32" else accepted_loss,
        kept_in_fp32=kept,
        int8_convolutions=int8_convolutions,
        embeddings=_distances(outputs[2], reference[2], alone[2]) if len(reference) > 2 else None,
    )
    right = result.alone_difference <= ALONE[precision]  # comparisons with NaN are false
    if result.embeddings:
        right &= result.embeddings.pytorch <= EMBEDDINGS[precision]
        right &= result.embeddings.alone <= EMBEDDINGS_ALONE[precision]
    if precision == "fp32":
        right &= result.changed_labels == 0 and result.logits_difference <= FP32_LOGITS
    if not right or not np.isfinite(result.probabilities_difference):
        raise MmsentError(
            f"the {precision} graph does not agree with PyTorch; no bundle was written.\n"
            f"{result}\nThis is a bug in mmsent or in this version of torch or "
            "onnxruntime: please report it with the versions in run.json"
        )
    return result


def _distances(embeddings: Floats, wanted: Floats, alone: Floats) -> Distances:
    """Of float32 [pairs, features]; ``alone`` are those of the first pair of each batch."""

    def largest(one: Floats, other: Floats) -> float:
        lengths = np.maximum(np.linalg.norm(other, axis=1), 1e-6)
        return float((np.linalg.norm(one - other, axis=1) / lengths).max())

    return Distances(largest(embeddings, wanted), largest(alone, embeddings[::BATCH_SIZE]))
