"""Prints Python's results on a dataset with a bundle as JSON, for exactness.mjs.

    python bench/reference.py DATA MODEL PAIRS THREADS

DATA is a folder in the task's layout. The results are the token ids of all texts and, for PAIRS of
the unlabelled pairs, the SHA-256 of the pixels, the label, the probabilities and the logits, and
the seconds that the predictions took.
"""

import hashlib
import json
import sys
import time
from pathlib import Path

from mmsent import SentimentModel
from mmsent.data.dataset import open_dataset
from mmsent.data.folder import TEST_LIST, TRAIN_LIST, image_file
from mmsent.data.pair import Pair
from mmsent.inputs.image import load_image


def main() -> None:
    """Print the reference."""
    data, path, (count, threads) = Path(sys.argv[1]), sys.argv[2], map(int, sys.argv[3:])
    model = SentimentModel(path, threads=threads, device="cpu")
    rows = [*rows_of(data / TEST_LIST), *rows_of(data / TRAIN_LIST)]
    texts = [row.read_text() for row in rows]
    images = [image_file(data, row.guid) for row in rows_of(data / TEST_LIST)[:count]]
    pixels = [
        hashlib.sha256(load_image(image, model.info.image).tobytes()).hexdigest()
        for image in images
    ]
    begin = time.perf_counter()
    predictions = model.predict(texts[: len(images)], images)
    seconds = time.perf_counter() - begin
    reference = {
        "labels": model.labels,
        "texts": texts,
        "ids": model.tokenize(texts),
        "images": [str(Path(image).absolute().relative_to(data.absolute())) for image in images],
        "pixels": pixels,
        "seconds": seconds,
        "predictions": [
            {"label": p.label, "probabilities": p.probabilities, "logits": p.logits}
            for p in predictions
        ],
    }
    sys.stdout.write(json.dumps(reference))


def rows_of(path: Path) -> list[Pair]:
    """The complete rows of a list."""
    return [row for row in open_dataset(path).rows() if isinstance(row, Pair)]


if __name__ == "__main__":
    main()
