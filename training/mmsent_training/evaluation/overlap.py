"""Which of the scored pairs the model has seen in training."""

from dataclasses import dataclass

import numpy as np

from mmsent_training.digests import Digests
from mmsent_training.evaluation.calibration import Floats
from mmsent_training.evaluation.metrics import Scores, score
from mmsent_training.examples import Examples


@dataclass(frozen=True)
class Overlap:
    """How many of the scored pairs have something in common with training pairs.

    ``pairs``: with text and image of one, ``images``: only with its image, ``texts``: only with its
    text. One in ``every`` training pairs is known. ``unseen``: the scores of the other pairs, or
    None if there are none or all are. ``validated``: pairs that the training validated on.
    """

    pairs: int
    images: int
    texts: int
    every: int
    validated: int
    unseen: Scores | None

    def __str__(self) -> str:
        """A few lines of text."""
        lines = ["none of these pairs shares its text or image with a training pair"]
        if self.pairs or self.images or self.texts:
            lines = [
                f"seen in training: {self.pairs} of these pairs, and of the others "
                f"{self.images} images and {self.texts} texts"
            ]
            rest = "there are no other pairs"
            if self.unseen:
                rest = (
                    f"accuracy {self.unseen.accuracy:.3f}, macro F1 {self.unseen.macro_f1:.3f}, "
                    f"{self.unseen.pairs} pairs"
                )
            lines.append(f"without those: {rest}")
        if self.every > 1:
            lines.append(f"only one in {self.every} training pairs is known: there may be more")
        if self.validated:
            lines.append(f"the model was validated on {self.validated} of these pairs")
        return "\n".join(lines)


def find_overlap(examples: Examples, probabilities: Floats, digests: Digests) -> Overlap:
    """Compare scored ``examples`` with the ``digests`` of training pairs.

    ``probabilities``, float32 [examples, labels], are the model's.
    """
    seen = digests.compare(examples, "training")
    unseen = np.array([each is None for each in seen])
    some = 0 < unseen.sum() < len(seen)
    return Overlap(
        pairs=seen.count("pair"),
        images=seen.count("image"),
        texts=seen.count("text"),
        every=digests.every,
        validated=digests.compare(examples, "validation").count("pair"),
        unseen=score(examples.labels[unseen], probabilities[unseen], examples.label_names)
        if some
        else None,
    )
