"""How good predictions are: accuracy, macro F1 and the figures of each class."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import classification_report, confusion_matrix

from mmsent.data.dataset import LABELS


def score(labels: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Accuracy, macro F1, and per class precision, recall, F1 and support; plain numbers.

    ``labels`` and ``predicted`` are int64 [pairs], indices into LABELS. A class without a
    prediction has precision 0, and one without a pair counts in macro F1 with 0.
    """
    report = classification_report(
        labels,
        predicted,
        labels=range(len(LABELS)),
        target_names=LABELS,
        output_dict=True,
        zero_division=0,
    )
    return {
        "pairs": len(labels),
        "accuracy": float(np.mean(labels == predicted)),
        "macro_f1": float(report["macro avg"]["f1-score"]),
        "classes": {
            name: {
                "precision": float(report[name]["precision"]),
                "recall": float(report[name]["recall"]),
                "f1": float(report[name]["f1-score"]),
                "support": int(report[name]["support"]),
            }
            for name in LABELS
        },
        "confusion": confusion_matrix(labels, predicted, labels=range(len(LABELS))).tolist(),
    }


def describe(scores: dict[str, Any]) -> str:
    """The scores as a table of text."""
    lines = [f"{'':>10}  precision  recall      f1  support"]
    for name, row in scores["classes"].items():
        lines.append(
            f"{name:>10}  {row['precision']:9.3f}  {row['recall']:6.3f}  {row['f1']:6.3f}"
            f"  {row['support']:7d}"
        )
    lines.append(
        f"\naccuracy {scores['accuracy']:.3f}, macro F1 {scores['macro_f1']:.3f}, "
        f"{scores['pairs']} pairs"
    )
    if "intervals" in scores:
        accuracy, macro_f1 = (scores["intervals"][name] for name in ("accuracy", "macro_f1"))
        lines.append(
            f"95 % intervals: accuracy {accuracy[0]:.3f} to {accuracy[1]:.3f}, "
            f"macro F1 {macro_f1[0]:.3f} to {macro_f1[1]:.3f}"
        )
    if "calibration_error" in scores:
        lines.append(f"expected calibration error {scores['calibration_error']:.3f}")
    return "\n".join(lines)
