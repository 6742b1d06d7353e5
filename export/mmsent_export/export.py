"""From a run to a verified bundle."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from torch import nn

from mmsent.bundle.info import INFO_KEY, INPUTS, TOKENIZER_KEY, BundleInfo
from mmsent.bundle.seal import SEAL_KEY, UNSEALED, seal
from mmsent.bundle.session import open_bundle
from mmsent.data.dataset import LABELS, TRAIN_LIST, Row, training_list
from mmsent.errors import InputError
from mmsent.files.atomic import atomic_path
from mmsent.files.progress import Progress
from mmsent.inputs.text import encode_texts, pad_ids
from mmsent_export.fp16 import to_fp16
from mmsent_export.graph import to_onnx
from mmsent_export.quantize import Feed, calibrate, to_int8
from mmsent_export.simplify import simplify
from mmsent_export.verify import (
    ACCEPTED_LOSS,
    Samples,
    TooMuchLost,
    Verification,
    random_samples,
    reference_logits,
    verify,
)
from mmsent_training.data import Pairs, decode_images, read_pairs, read_rows, split
from mmsent_training.runs.run import Run, read_run

PRECISIONS = ("fp32", "fp16", "int8")
CALIBRATION_PAIRS = 128
KEPT_IN_FP32 = (0.0, 0.25, 0.5, 1.0)
"""Shares of the linear layers' inputs that int8 leaves in fp32, tried in this order."""
PROVENANCE = ("created", "settings", "environment", "calibration")


def export_run(
    run_folder: Path,
    output: Path,
    *,
    data: Path | None = None,
    precision: str = "fp32",
    accepted_loss: float = ACCEPTED_LOSS,
) -> Verification:
    """Export a run to the bundle ``output`` of a ``precision``, verified against PyTorch fp32.

    It is verified on the run's validation pairs where the dataset (``data``, default: the folder
    that the run was trained on) is still what it was, else on random inputs.
    Raises InputError where the run, or a ``data`` asked for, can't be used, or int8 has no training
    pairs to be calibrated on; and MmsentError where the bundle would not answer as PyTorch does,
    to ``accepted_loss`` percent in fp16 and int8. Then ``output`` is left as it was.
    """
    run = read_run(run_folder)
    model = run.load_model()
    max_length = run.tokenizer.truncation["max_length"]
    try:
        dataset = _Dataset.of(run, data)
    except InputError as error:
        if data is not None:
            raise
        dataset, reason = None, error
    if dataset is None:
        samples = random_samples(run.tokenizer.get_vocab_size(), max_length, run.image.size)
    else:
        samples = dataset.validation(run)

    def calibration() -> Iterator[Feed]:
        if dataset is None:
            raise InputError(
                f"int8 is calibrated on the run's training pairs, and {reason}; name the dataset "
                "with --data, or export with --precision fp32"
            )
        return dataset.calibration(run)

    graph, verification = convert(
        model,
        simplify(to_onnx(model, image_size=run.image.size)),
        precision,
        calibration,
        samples,
        accepted_loss,
    )
    info = BundleInfo(
        model=run.description["name"],
        labels=LABELS,
        image=run.image,
        max_length=max_length,
        optional=run.optional,
        precision=precision,
        provenance={key: run.record[key] for key in PROVENANCE}
        | {"dataset": {k: v for k, v in run.record["dataset"].items() if k != "folder"}}
        | {"weights": _public(run.record["weights"])}
        | {"exporter": {name: version(name) for name in ("mmsent-export", "torch", "onnx")}},
        metrics=run.record["metrics"],
        verification=asdict(verification),
    )
    onnx.helper.set_model_props(
        graph,
        {INFO_KEY: info.to_json(), TOKENIZER_KEY: run.tokenizer.to_str(), SEAL_KEY: UNSEALED},
    )
    with atomic_path(output) as part:
        onnx.save(graph, str(part))
        seal(part)
        open_bundle(part, threads=1)
    return verification


def convert(
    model: nn.Module,
    graph: onnx.ModelProto,
    precision: str,
    calibration: Callable[[], Iterator[Feed]],
    samples: Samples,
    accepted_loss: float,
) -> tuple[onnx.ModelProto, Verification]:
    """The graph in a ``precision``, and how it compares with ``model``, PyTorch in fp32.

    Where int8 loses too much, the layers that it hurts most stay in fp32, and that is said.
    """
    wanted = reference_logits(model, samples)
    if precision == "fp32":
        return graph, verify(wanted, graph, samples, precision)
    if precision == "fp16":
        half = to_fp16(graph)
        return half, verify(wanted, half, samples, precision, accepted_loss)
    ranges = calibrate(graph, calibration)
    shares = KEPT_IN_FP32 if ranges else (0.0,)
    for share, following in zip(shares, (*shares[1:], None)):
        quantized = to_int8(graph, ranges, kept=share)
        try:
            return quantized, verify(
                wanted, quantized, samples, precision, accepted_loss, kept=share
            )
        except TooMuchLost as error:
            if following is None:
                raise
            print(
                f"int8 with {share:.0%} of the linear layers' inputs in fp32 changes "
                f"{error.changed:.1f} % of the labels and costs {error.lost:.1f} points of "
                f"accuracy; trying {following:.0%}",
                file=sys.stderr,
            )
    raise AssertionError("the last share either returns or raises")


def _public(weights: dict[str, Any] | None) -> dict[str, Any] | None:
    """What a bundle says of pretrained weights: the name of a local folder stays at home."""
    if weights is None or weights["revision"] is not None:
        return weights
    return weights | {"name": None}


@dataclass(frozen=True)
class _Dataset:
    """The dataset that a run was trained on, and its split."""

    folder: Path
    rows: list[Row]
    train: list[int]
    held_out: Pairs

    @classmethod
    def of(cls, run: Run, data: Path | None) -> _Dataset:
        """Read it, from ``data`` or from where the run says. Raises InputError if it is another."""
        record = run.record["dataset"]
        folder = data or Path(record["folder"])
        if not training_list(folder)[0].is_file():
            raise InputError(f"{folder} holds no {TRAIN_LIST}")
        rows = read_rows(folder)
        train, part = split(
            [LABELS.index(str(row.label)) for row in rows],
            share=run.settings.validation_share,
            seed=run.settings.split_seed,
        )
        pairs = read_pairs(folder, [rows[index] for index in part])
        if pairs.fingerprint() != record["validation_fingerprint"]:
            raise InputError(f"{folder} is not the dataset that {run.folder} was trained on")
        return cls(folder, rows, train, pairs)

    def validation(self, run: Run) -> Samples:
        """The validation pairs, by length: batches then hold little padding."""
        ids = encode_texts(run.tokenizer, self.held_out.texts)
        by_length = sorted(range(len(ids)), key=lambda index: len(ids[index]))
        pixels = _decode(self.held_out, by_length, run)
        labels = self.held_out.labels[by_length]
        return Samples("validation pairs", [ids[index] for index in by_length], pixels, labels)

    def calibration(self, run: Run) -> Iterator[Feed]:
        """CALIBRATION_PAIRS of the training pairs, one at a time: without padding."""
        chosen = [self.rows[index] for index in self.train[:CALIBRATION_PAIRS]]
        pairs = read_pairs(self.folder, chosen)
        pixels = _decode(pairs, range(len(chosen)), run)
        ids = encode_texts(run.tokenizer, pairs.texts)
        with Progress("calibrating", len(ids), "pairs") as progress:
            for index, tokens in enumerate(ids):
                yield dict(zip(INPUTS, (*pad_ids([tokens]), pixels[index : index + 1])))
                progress.update()


def _decode(pairs: Pairs, indices: Sequence[int], run: Run) -> npt.NDArray[np.uint8]:
    with Progress("decoding", len(indices), "images", summary=False) as progress:
        return decode_images(pairs, indices, run.image, progress=progress)
