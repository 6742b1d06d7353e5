"""The loss: cross-entropy with corrections for rare classes."""

import torch
from torch import Tensor, nn

from mmsent_training.settings import Settings


class Criterion(nn.Module):
    """Cross-entropy according to ``settings`` and the class frequencies in ``labels``.

    ``labels``: of the training pairs, int64 [pairs], each below ``classes``. With
    ``class_weights``, all classes have the same total weight. ``logit_adjustment`` adds that share
    of the classes' log-frequencies to the logits during training (Menon et al., Long-tail learning
    via logit adjustment, 2021). Without them at inference, rare classes are predicted more often: 1
    optimises balanced accuracy, 0 accuracy; macro F1 lies in between.
    """

    def __init__(self, labels: Tensor, classes: int, settings: Settings) -> None:
        super().__init__()
        # Count a class without pairs as one pair, to keep its weight finite.
        counts = torch.bincount(labels, minlength=classes).clamp(min=1).float()
        weights = (1 / counts) / (1 / counts).mean()
        self.register_buffer("weights", weights if settings.class_weights else None)
        shift = settings.logit_adjustment * (counts / counts.sum()).log()
        self.register_buffer("shift", shift)
        self.label_smoothing = settings.label_smoothing

    def forward(self, logits: Tensor, labels: Tensor, whole: Tensor | None = None) -> Tensor:
        """The mean loss of float logits [batch, labels] for int64 labels [batch].

        For a part of a step with the labels ``whole``: its share of the step's mean.
        """
        loss = nn.functional.cross_entropy(
            logits.float() + self.shift,
            labels,
            weight=self.weights,
            label_smoothing=self.label_smoothing,
        )
        return loss if whole is None else loss * (self._weigh(labels) / self._weigh(whole))

    def _weigh(self, labels: Tensor) -> Tensor:
        """The denominator of a mean over ``labels``."""
        weights = torch.ones_like(self.shift) if self.weights is None else self.weights
        return weights[labels].sum()
