"""Calibration: a temperature for the probabilities, and the calibration error."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]
from torch import Tensor, nn

from mmsent_training.examples import Labels

BINS = 10

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Calibration:
    """A temperature, and the expected calibration error before and after dividing by it."""

    temperature: float
    error_before: float
    error_after: float


@dataclass(frozen=True)
class Bin:
    """Predictions of similar probability: their number, and their mean ``confidence``."""

    pairs: int
    confidence: float
    accuracy: float


class Calibrated(nn.Module):
    """A model that divides its logits by a temperature, so that their softmax is calibrated."""

    def __init__(self, model: nn.Module, temperature: float) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pixels: Tensor) -> Tensor:
        return self.model(input_ids, attention_mask, pixels) / self.temperature


def calibrate(logits: Floats, labels: Labels) -> Calibration:
    """The temperature that maximises the likelihood of ``labels``, and both calibration errors.

    ``logits``: float32 [pairs, labels]; ``labels``: int64 [pairs]. Guo et al., On Calibration of
    Modern Neural Networks, 2017. The predicted labels stay the same.
    """

    def loss(log_temperature: float) -> float:
        scaled = torch.from_numpy(logits).double() / np.exp(log_temperature)
        return float(nn.functional.cross_entropy(scaled, torch.from_numpy(labels)))

    found = minimize_scalar(loss, bounds=(np.log(0.1), np.log(10)), method="bounded")
    temperature = round(float(np.exp(found.x)), 4)
    return Calibration(
        temperature,
        error_before=calibration_error(softmax(logits), labels),
        error_after=calibration_error(softmax(logits / temperature), labels),
    )


def softmax(logits: Floats) -> Floats:
    """The softmax of each row of float32 [pairs, labels]."""
    return torch.softmax(torch.from_numpy(logits.astype(np.float32)), dim=1).numpy()


def reliability(probabilities: Floats, labels: Labels) -> list[Bin]:
    """How often the predicted label is correct, by its probability; of BINS bins, those in use."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        Bin(
            pairs=int(np.sum(bins == number)),
            confidence=float(confidence[bins == number].mean()),
            accuracy=float(right[bins == number].mean()),
        )
        for number in np.unique(bins)
    ]


def calibration_error(probabilities: Floats, labels: Labels) -> float:
    """The expected calibration error: the bins' mean |confidence - accuracy|, weighted by pairs."""
    bins = reliability(probabilities, labels)
    gaps = (row.pairs * abs(row.confidence - row.accuracy) for row in bins)
    return float(sum(gaps) / len(labels))
