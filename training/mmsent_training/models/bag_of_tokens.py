"""A linear model of the tokens in a text, beside a network.

On few texts, a fine-tuned encoder misjudges words that logistic regression gets right. It is fitted
apart from the network, and a share of its logits is added to the network's in prediction alone:
trained together, the network would leave to it what it knows by heart of the training texts.
"""

from collections.abc import Collection, Sequence

import numpy as np
import torch
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

SHARE = 0.2
"""Of the logits that are added: by cross-validation of compact, docs/experiments.md."""
INVERSE_PENALTY = 3.0
"""scikit-learn's C, by the same."""


class BagOfTokens(nn.Module):
    """Logits of texts from the tokens in them. They are 0 until `fit` is called."""

    def __init__(self, vocabulary: int, labels: int) -> None:
        super().__init__()
        # No buffer: the loop shares the changes of buffers among processes in every step.
        self.weight = nn.Parameter(torch.zeros(vocabulary, labels), requires_grad=False)

    def fit(self, ids: Sequence[Sequence[int]], labels: Tensor, ignored: Collection[int]) -> None:
        """Fit a logistic regression on texts, the ``ids`` of their tokens, and keep SHARE of it.

        ``labels``: int64 [texts], each label at least once. ``ignored``: tokens that every text
        has. A token that only one text has is ignored, too.
        """
        lengths = [len(text) for text in ids]
        values = np.repeat(1 / np.sqrt(lengths), lengths)
        tokens = np.concatenate([np.asarray(text, np.int64) for text in ids])
        starts = np.cumsum([0, *lengths])
        counts = csr_matrix((values, tokens, starts), shape=(len(ids), len(self.weight)))
        counts.sum_duplicates()
        known = np.flatnonzero(counts.getnnz(0) > 1)
        known = known[~np.isin(known, [*ignored])]
        if not len(known):
            return
        model = LogisticRegression(C=INVERSE_PENALTY, max_iter=500)
        found = model.fit(counts[:, known], labels.numpy()).coef_
        if len(found) == 1:  # of two labels, it has the second one's logit alone
            found = np.concatenate([-found, found]) / 2
        self.weight[torch.from_numpy(known)] = SHARE * torch.from_numpy(found.T).float()

    def forward(self, input_ids: Tensor) -> Tensor:
        """What each token adds to the logits, before `pool`: float [batch, tokens, labels]."""
        return self.weight[input_ids]


def pool(scores: Tensor, attention_mask: Tensor) -> Tensor:
    """Logits of texts, [batch, labels], from those of their tokens, [batch, tokens, labels].

    Their sum is divided by the root of the number of tokens.
    """
    mask = attention_mask.unsqueeze(-1).to(scores.dtype)
    return (scores * mask).sum(1) / mask.sum(1).sqrt()
