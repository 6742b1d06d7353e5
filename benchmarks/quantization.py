"""ONNX Runtime's own static quantisation of a bundle, as a baseline of mmsent's int8.

    python benchmarks/quantization.py --run RUN --bundle fp32.onnx --output FOLDER

Quantises Conv, MatMul and Gemm of an fp32 bundle by onnxruntime.quantization.quantize_static: per
channel, activations in uint8 from the minimum to the maximum over 128 of the run's training pairs,
with and without reduce_range. Compares the results with the fp32 bundle on the run's validation
pairs; the exporter has compared that one with PyTorch. inference.py measures their speed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from mmsent import SentimentModel
from mmsent.data.pair import Pair
from mmsent.inputs.text import pad_ids
from mmsent_training.evaluation.metrics import macro_f1
from mmsent_training.examples import divide, read_examples
from mmsent_training.runs.run import read_run
from result import write_result

CALIBRATION_PAIRS = 128
BATCH_SIZE = 16
NAMES = {"quantize_static": False, "quantize_static_reduced": True}
"""The files that are written, and their reduce_range."""


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """The inputs of pairs, one at a time."""

    def __init__(self, model: SentimentModel, pairs: Sequence[Pair]) -> None:
        self.model, self.pairs = model, iter(pairs)

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        pair = next(self.pairs, None)
        if pair is None:
            return None
        ids, mask = pad_ids(self.model.tokenize([pair.read_text()]))
        pixels = pair.load_image(self.model.info.image)[None]
        return {"input_ids": ids, "attention_mask": mask, "pixels": pixels}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, required=True, help="the run's fp32 bundle")
    parser.add_argument("--output", type=Path, required=True, help="a folder for the results")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    record = read_run(options.run).record
    fraction = record.settings.validation_fraction
    data = record.source.read(record.settings.parts, fraction=fraction)
    pairs, train, chosen = divide(data, fraction=fraction, seed=record.settings.split_seed)
    validation = read_examples([pairs[index] for index in chosen], record.labels)
    model = SentimentModel(options.bundle)
    wanted, _ = outputs(model, validation.texts, validation.pairs)
    figures: dict[str, Any] = {"model": record.settings.model, "bundles": {}}
    for name, reduced in NAMES.items():
        file = options.output / f"{name}.onnx"
        quantize_static(
            options.bundle,
            file,
            Reader(model, [pairs[index] for index in train[:CALIBRATION_PAIRS]]),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "MatMul", "Gemm"],
            per_channel=True,
            reduce_range=reduced,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        logits, alone = outputs(SentimentModel(file), validation.texts, validation.pairs)
        labels, before = logits.argmax(1), wanted.argmax(1)
        figures["bundles"][name] = {
            "bytes": file.stat().st_size,
            "verification": {
                "pairs": len(labels),
                "changed_labels": int((labels != before).sum()),
                "logits_difference": float(np.abs(logits - wanted).max()),
                "alone_difference": alone,
                "accuracy": [
                    float((found == validation.labels).mean()) for found in (before, labels)
                ],
                "macro_f1": [
                    macro_f1(validation.labels, found, len(record.labels))
                    for found in (before, labels)
                ],
            },
        }
    print(json.dumps(figures, indent=2))
    write_result(options.json, figures)


def outputs(
    model: SentimentModel, texts: Sequence[str], pairs: Sequence[Pair]
) -> tuple[npt.NDArray[np.float32], float]:
    """The logits, float32 [pairs, labels].

    Also how much a probability changes at most if a pair is predicted alone, of the first pair of
    each batch.
    """
    logits, alone = [], 0.0
    for start in range(0, len(pairs), BATCH_SIZE):
        ids = model.tokenize(list(texts[start : start + BATCH_SIZE]))
        batch = pairs[start : start + BATCH_SIZE]
        pixels = np.stack([pair.load_image(model.info.image) for pair in batch])
        found, probabilities = model.run(ids, pixels)
        logits.append(found)
        single = model.run(ids[:1], pixels[:1])[1]
        alone = max(alone, float(np.abs(single - probabilities[:1]).max()))
    return np.concatenate(logits), alone


if __name__ == "__main__":
    main()
