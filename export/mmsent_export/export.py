"""From a run to a verified bundle."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from torch import nn

from mmsent.bundle.info import EMBEDDING, INFO_KEY, TOKENIZER_KEY, BundleInfo, Precision
from mmsent.bundle.seal import SEAL_KEY, UNSEALED, seal
from mmsent.bundle.session import open_bundle
from mmsent.data.pair import Pair
from mmsent.data.training import TrainingSource
from mmsent.errors import InputError, MmsentError
from mmsent.files.atomic import atomic_path
from mmsent.files.destination import find_file
from mmsent.files.progress import Progress
from mmsent.inputs.text import tokenize
from mmsent.predict.infer import check_output_file
from mmsent_export.fp16 import to_fp16
from mmsent_export.graph import WithOutputs, to_onnx
from mmsent_export.quantize import calibrate, linear_ranges, to_int8
from mmsent_export.session import Feed, make_feed
from mmsent_export.simplify import simplify
from mmsent_export.verify import ACCEPTED_LOSS, Samples, Verification, reference_outputs, verify
from mmsent_training.examples import decode_images, divide, read_examples
from mmsent_training.runs.run import Run, read_run

CALIBRATION_PAIRS = 128
KEPT_IN_FP32 = (0.0, 0.25, 0.5, 1.0)
"""Shares of the linear layers' inputs that int8 keeps in fp32, tried in this order."""

logger = logging.getLogger(__name__)


def export_run(
    run_folder: Path,
    output: Path,
    *,
    data: Path | None = None,
    validation: Path | None = None,
    images: Path | None = None,
    precision: Precision = "fp32",
    accepted_loss: float = ACCEPTED_LOSS,
    embeddings: bool = False,
) -> Verification:
    """Export a run to the bundle ``output`` of a ``precision``, verified against PyTorch fp32.

    It is verified on the run's validation pairs if the dataset still exists and is unchanged,
    otherwise on random inputs. ``data``, ``validation`` and ``images``: the dataset's location now,
    by default where it was during training. ``embeddings``: whether the bundle also gives them.
    Raises InputError if the run or a given dataset can't be used, if the model has no embeddings,
    or if int8 has no training pairs for calibration. Raises MmsentError if the bundle does not
    agree with PyTorch, to ``accepted_loss`` percent in fp16 and int8. Then ``output`` stays
    unchanged.
    """
    find_file(output)  # check that it can be written before the work begins
    run = read_run(run_folder)
    moved = (data, validation, images)
    source = run.record.source.move(*moved)
    check_output_file(output, *run.files(), source.path, source.validation or source.path)
    model, record, tokenizer = run.load_model(), run.record, run.tokenizer
    WithOutputs(model, embeddings=embeddings)  # check that it has them before the work begins
    max_length = tokenizer.truncation["max_length"]
    train: Sequence[Pair] | InputError  # or why there are none
    try:
        train, samples = _read_dataset(run, source)
    except InputError as error:
        if any(moved):
            raise
        train = error
        samples = Samples.random(tokenizer.get_vocab_size(), max_length, record.image.size)
    feeds = _calibration_feeds(run, train)
    size = record.image.size
    graph = simplify(to_onnx(model, image_size=size, embeddings=embeddings))
    graph, verification = convert(model, graph, precision, feeds, samples, accepted_loss)
    info = BundleInfo(
        model=record.model["name"],
        labels=record.labels,
        image=record.image,
        max_length=max_length,
        optional=record.optional,
        precision=precision,
        provenance=_provenance(run),
        metrics=asdict(record.metrics),
        verification=asdict(verification),
        digests=run.digests,
    )
    metadata = {INFO_KEY: info.to_json(), TOKENIZER_KEY: tokenizer.to_str(), SEAL_KEY: UNSEALED}
    onnx.helper.set_model_props(graph, metadata)
    with atomic_path(output) as part:
        onnx.save(graph, str(part))
        seal(part)
        open_bundle(part, threads=1)
    return verification


def convert(
    model: nn.Module,
    graph: onnx.ModelProto,
    precision: Precision,
    feeds: Iterable[Feed],
    samples: Samples,
    accepted_loss: float,
) -> tuple[onnx.ModelProto, Verification]:
    """Convert ``graph`` to a ``precision``, and compare it with ``model``, PyTorch in fp32.

    If int8 loses too much, the layers that lose most stay in fp32, first linear ones, then all
    convolutions, and the log says so.
    Raises MmsentError if the graph is wrong, or still loses more than ``accepted_loss`` percent.
    """
    embeddings = any(output.name == EMBEDDING for output in graph.graph.output)
    reference = reference_outputs(model, samples, embeddings=embeddings)
    ranges = calibrate(graph, feeds) if precision == "int8" else {}
    attempts = [(ranges, share) for share in (KEPT_IN_FP32 if ranges else (0.0,))]
    linear = linear_ranges(graph, ranges) if precision == "int8" else ranges
    if len(linear) < len(ranges):
        attempts += [(linear, share) for share in (KEPT_IN_FP32 if linear else (0.0,))]
    converted, convolutions = graph, False
    for measured, share in attempts:
        if precision == "int8":
            converted, convolutions = to_int8(graph, measured, share), len(measured) > len(linear)
        elif precision == "fp16":
            converted = to_fp16(graph)
        result = verify(
            reference, converted, samples, precision, accepted_loss, share, convolutions
        )
        if result.loss <= result.accepted_loss + 1e-9:
            return converted, result
        logger.info(
            f"{precision} loses {result.loss:.1f} % with {share:.0%} of the inputs in fp32"
            + (", convolutions in int8" if convolutions else "")
        )
    accept = np.ceil(10 * result.loss) / 10
    raise MmsentError(
        f"{precision} changes over {accepted_loss:g} % of the labels, or costs more than "
        f"{accepted_loss:g} points of accuracy; no bundle was written.\n{result}\nExport with "
        f"--precision fp32, or accept the loss with --accept-loss {accept:g}"
    )


def _provenance(run: Run) -> dict[str, Any]:
    """The bundle's record of its training, without the paths of this machine."""
    facts = asdict(run.record)
    for name in ("path", "validation", "reading"):
        del facts["dataset"][name]
    if facts["weights"] and facts["weights"]["revision"] is None:
        facts["weights"]["name"] = None  # a local folder
    said = ("created", "settings", "environment", "calibration", "dataset", "weights")
    versions = {name: version(name) for name in ("mmsent-export", "torch", "onnx")}
    return {name: facts[name] for name in said} | {"exporter": versions}


def _read_dataset(run: Run, source: TrainingSource) -> tuple[list[Pair], Samples]:
    """The training pairs of a run, and its validation pairs sorted by length, to save padding.

    Raises InputError if the dataset is not the run's, or can't be read.
    """
    record, fraction = run.record, run.record.settings.validation_fraction
    data = source.read(record.settings.parts, fraction=fraction)
    pairs, train, validation = divide(data, fraction=fraction, seed=record.settings.split_seed)
    examples = read_examples([pairs[index] for index in validation], record.labels)
    if examples.fingerprint() != record.dataset.validation_fingerprint:
        path = source.validation or source.path
        raise InputError(f"{path} is not the dataset that {run.folder} was trained on")
    ids = tokenize(run.tokenizer, examples.texts)
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    pixels = _decode([examples.pairs[index] for index in order], run)
    by_length = [ids[index] for index in order]
    samples = Samples("validation pairs", by_length, pixels, examples.labels[order])
    return [pairs[index] for index in train], samples


def _calibration_feeds(run: Run, train: Sequence[Pair] | InputError) -> Iterator[Feed]:
    """The inputs of some training pairs, one by one, unpadded. Raises InputError without any."""
    if isinstance(train, InputError):
        raise InputError(
            f"int8 is calibrated on the run's training pairs, and {train}\n"
            "Name the dataset with --data, or export with --precision fp32"
        )
    pairs = train[:CALIBRATION_PAIRS]
    pixels = _decode(pairs, run)
    ids = tokenize(run.tokenizer, [pair.read_text() for pair in pairs])
    with Progress("calibrating", len(ids), "pairs") as progress:
        for index, tokens in enumerate(ids):
            yield make_feed([tokens], pixels[index : index + 1])
            progress.update()


def _decode(pairs: Sequence[Pair], run: Run) -> npt.NDArray[np.uint8]:
    with Progress("decoding", len(pairs), "images", summary=False) as progress:
        return decode_images(pairs, run.record.image, progress=progress)
