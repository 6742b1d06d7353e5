"""From a run to a verified bundle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort

from mmsent.atomic import atomic_path
from mmsent.bundle import INFO_KEY, TOKENIZER_KEY, BundleInfo, open_bundle
from mmsent.dataset import LABELS, TRAIN_LIST
from mmsent.errors import InputError
from mmsent.progress import Progress
from mmsent.seal import SEAL_KEY, UNSEALED, seal
from mmsent.text import encode_texts
from mmsent_export.graph import to_onnx
from mmsent_export.verify import Encoded, Verification, random_batches, verify
from mmsent_training.data import decode_images, read_pairs, read_rows, split
from mmsent_training.run import Run, read_run

BATCH_SIZE = 16
PROVENANCE = ("created", "settings", "environment", "calibration")


def export_run(run_folder: Path, output: Path, *, data: Path | None = None) -> Verification:
    """Export a run to the bundle ``output``, verified against PyTorch.

    It is verified on the run's validation pairs where the dataset (``data``, default: the folder
    that the run was trained on) is still what it was, else on random inputs.
    Raises InputError where the run, or a ``data`` asked for, can't be used, and MmsentError where
    the bundle would not answer as PyTorch does; then ``output`` is left as it was.
    """
    run = read_run(run_folder)
    model = run.load_model()
    max_length = run.tokenizer.truncation["max_length"]
    graph = to_onnx(model, image_size=run.image.size)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    batches = validation_batches(run, data)
    if batches is None:
        verification = verify(
            model,
            session,
            random_batches(run.tokenizer.get_vocab_size(), max_length, run.image.size),
            "random inputs (the run's dataset is not there any more, or has changed)",
        )
    else:
        verification = verify(model, session, batches, "validation pairs")
    info = BundleInfo(
        model=run.description["name"],
        labels=LABELS,
        image=run.image,
        max_length=max_length,
        optional=run.optional,
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


def _public(weights: dict[str, Any] | None) -> dict[str, Any] | None:
    """What a bundle says of pretrained weights: the name of a local folder stays at home."""
    if weights is None or weights["revision"] is not None:
        return weights
    return weights | {"name": None}


def validation_batches(run: Run, data: Path | None) -> Iterator[Encoded] | None:
    """The run's validation pairs, encoded; None where its dataset is gone or was changed.

    Raises InputError where ``data`` is given and is not the dataset that the run was trained on.
    """
    record = run.record["dataset"]
    folder = data or Path(record["folder"])
    try:
        if not (folder / TRAIN_LIST).is_file():
            raise InputError(f"{folder} holds no {TRAIN_LIST}")
        rows = read_rows(folder)
        _, part = split(
            [LABELS.index(str(row.label)) for row in rows],
            share=run.settings.validation_share,
            seed=run.settings.split_seed,
        )
        pairs = read_pairs(folder, [rows[index] for index in part])
        if pairs.fingerprint() != record["validation_fingerprint"]:
            raise InputError(f"{folder} is not the dataset that {run.folder} was trained on")
        ids = encode_texts(run.tokenizer, pairs.texts)
        by_length = sorted(range(len(ids)), key=lambda index: len(ids[index]))
        with Progress("decoding", len(ids), "images") as progress:
            pixels = decode_images(pairs, by_length, run.image, progress=progress)
    except InputError:
        if data is not None:
            raise
        return None
    return (
        (
            [ids[index] for index in by_length[start : start + BATCH_SIZE]],
            pixels[start : start + BATCH_SIZE],
        )
        for start in range(0, len(ids), BATCH_SIZE)
    )
