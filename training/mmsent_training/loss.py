"""The loss: cross-entropy, shaped for rare classes."""

import torch
from torch import Tensor, nn

from mmsent_training.settings import Settings


class Criterion(nn.Module):
    """Cross-entropy as ``settings`` have it, for the classes' frequencies in ``labels``.

    ``labels``: of the training pairs, int64 [pairs], each below ``classes``. With
    ``class_weights`` each class weighs as much as any other. ``logit_adjustment`` adds that share
    of the classes' log-frequencies to the logits while they are trained (Menon et al., Long-tail
    learning via logit adjustment, 2021): without them, a rare class is predicted more often; 1
    aims at balanced accuracy, 0 at accuracy, and macro F1 lies between them.
    """

    def __init__(self, labels: Tensor, classes: int, settings: Settings) -> None:
        super().__init__()
        # A class without a pair counts as one with a single pair: it can't weigh infinitely much.
        counts = torch.bincount(labels, minlength=classes).clamp(min=1).float()
        weights = (1 / counts) / (1 / counts).mean()
        self.register_buffer("weights", weights if settings.class_weights else None)
        shift = settings.logit_adjustment * (counts / counts.sum()).log()
        self.register_buffer("shift", shift)
        self.label_smoothing = settings.label_smoothing

    def forward(self, logits: Tensor, labels: Tensor, whole: Tensor | None = None) -> Tensor:
        """The mean loss of float logits [batch, labels] for int64 labels [batch].

        Where they are a part of a step, with the labels ``whole``: its share of the step's mean.
        """
        loss = nn.functional.cross_entropy(
            logits.float() + self.shift,
            labels,
            weight=self.weights,
            label_smoothing=self.label_smoothing,
        )
        return loss if whole is None else loss * (self._weigh(labels) / self._weigh(whole))

    def _weigh(self, labels: Tensor) -> Tensor:
        """What a mean over ``labels`` is divided by."""
        weights = torch.ones_like(self.shift) if self.weights is None else self.weights
        return weights[labels].sum()
