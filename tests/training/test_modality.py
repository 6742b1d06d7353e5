"""Training only on texts or only on images, on data with nothing else, to predictions."""

import json
import os
import shutil

import pytest
from safetensors.numpy import load_file

from mmsent import SentimentModel
from mmsent.data.dataset import TRAINING, open_dataset
from mmsent.data.folder import TRAIN_LIST, image_file, text_file

from ..layouts import write_rows
from .clip_checkpoint import write_checkpoint

OTHER = {"text": "image", "image": "text"}
MODALITIES = [*OTHER]


def rows_of(sample):
    return [*open_dataset(sample).select(TRAINING).rows()]


def train(run_command, data, output, modality, *options, model="light", **how):
    return run_command(
        "mmsent", "train", "--model", model, "--epochs", 1, "--modality", modality,
        "--data", data, "--output", output, *options, cwd=output.parent, **how,
    )  # fmt: skip


def export(run_command, run, *options):
    """Export a run; return the bundle and the output."""
    bundle = run.with_name(f"{run.name}.onnx")
    result = run_command("mmsent-export", "onnx", run, "--output", bundle, *options, cwd=run.parent)
    assert result.code == 0, result.err
    return bundle, result.err


def predictions(run_command, source, bundle, output, *options):
    result = run_command(
        "mmsent-infer", source, "--model", bundle, "--output", output, "--probabilities", *options,
        cwd=output.parent,
    )  # fmt: skip
    assert result.code == 0, result.err
    return output.read_bytes()


def scores(run_command, data, bundle, *options):
    result = run_command(
        "mmsent", "evaluate", "--model", bundle, "--data", data, "--json", *options,
        cwd=bundle.parent,
    )  # fmt: skip
    assert result.code == 0, result.err
    return json.loads(result.out)


@pytest.fixture(scope="module", params=MODALITIES)
def alone(request, run_command, sample, make_once):
    """Lists with only one part of the sample's pairs, and a run on one of them."""
    part = request.param

    def fill(folder):
        rows = [
            {
                "guid": pair.guid,
                part: pair.read_text() if part == "text" else f"pictures/{pair.guid}.jpg",
                "label": pair.label,
            }
            for pair in rows_of(sample)
        ]
        if part == "image":
            shutil.copytree(sample / "data", folder / "pictures")
        for name in ("list.csv", "list.jsonl", "list.parquet"):
            write_rows(folder / name, rows)
        result = train(run_command, folder / "list.csv", folder / "run", part)
        assert result.code == 0, result.err
        _, said = export(run_command, folder / "run")
        assert "8 validation pairs" in said

    return part, make_once(f"{part} alone", fill)


def test_a_list_of_one_part_gives_the_same_run_as_the_folder(run_command, sample, alone, tmp_path):
    """The same weights, probabilities and scores, with every format."""
    part, folder = alone
    bundle = folder / "run.onnx"
    assert train(run_command, sample, tmp_path / "run", part).code == 0
    one, other = (run / "checkpoint.safetensors" for run in (folder / "run", tmp_path / "run"))
    assert one.read_bytes() == other.read_bytes()
    wanted = predictions(run_command, sample / TRAIN_LIST, bundle, tmp_path / "wanted.csv")
    scored = scores(run_command, sample, bundle)
    for name in ("list.csv", "list.jsonl", "list.parquet"):
        found = predictions(run_command, folder / name, bundle, tmp_path / f"{name}.csv")
        assert found == wanted
        assert scores(run_command, folder / name, bundle) == scored


def test_the_bundle_says_what_a_pair_may_lack(sample, alone):
    part, folder = alone
    model = SentimentModel(folder / "run.onnx")
    assert model.info.optional == (OTHER[part],)
    pair = rows_of(sample)[0]
    text, image = pair.read_text(), image_file(sample, pair.guid)
    both = model.predict(text, image)
    assert model.predict(*((text, None) if part == "text" else (None, image))) == both


def test_the_model_has_one_encoder(alone):
    part, folder = alone
    names = " ".join(load_file(folder / "run" / "checkpoint.safetensors"))
    assert ("gru" in names, "image_statistics" in names) == (part == "text", part == "image")


def test_the_report_shows_the_images_that_the_model_saw(alone):
    part, folder = alone
    report = (folder / "run" / "report.md").read_text()
    assert "## Most confident mistakes" in report
    assert "| guid | text |" in report  # there are mistakes
    assert (folder / "run" / "mistakes.png").exists() == (part == "image")
    assert ("mistakes.png" in report) == (part == "image")


@pytest.fixture(scope="module")
def model_options(tmp_path_factory):
    """The options with which tests train each model."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMSENT_CACHE", str(folder / "cache"))
        checkpoint = write_checkpoint(folder / "clip")
        yield {
            "light": [],
            "compact": ["--no-pretraining-texts"],
            "clip": ["--clip", checkpoint, "--freeze"],
        }


@pytest.fixture
def spoiled(sample, tmp_path):
    """Damage one part in a copy of the sample: half of its files are deleted, half unreadable."""

    def spoil(part):
        folder = shutil.copytree(sample, tmp_path / "dataset")
        for number, pair in enumerate(rows_of(folder)):
            path = (text_file if part == "text" else image_file)(folder, pair.guid)
            os.remove(path)
            if number % 2:
                with open(path, "wb") as file:
                    file.write(b"caf\xe9")  # no image, and neither UTF-8 nor GB18030
        return folder

    return spoil


@pytest.mark.parametrize(
    "model",
    ["light", *(pytest.param(name, marks=pytest.mark.slow) for name in ("compact", "clip"))],
)
@pytest.mark.parametrize("part", MODALITIES)
def test_the_other_part_is_never_read(
    run_command, sample, spoiled, model_options, tmp_path, model, part
):
    """From training to evaluation; it is also not part of the dataset's fingerprint."""
    folder, options = spoiled(OTHER[part]), model_options[model]
    result = train(run_command, folder, tmp_path / "run", part, *options, model=model)
    assert result.code == 0, result.err
    bundle, said = export(run_command, tmp_path / "run")
    assert "8 validation pairs" in said
    assert SentimentModel(bundle).info.optional == (OTHER[part],)
    assert scores(run_command, folder, bundle) == scores(run_command, sample, bundle)
    _, said = export(run_command, tmp_path / "run", "--data", sample)  # else another dataset
    assert "8 validation pairs" in said


def test_missing_files_are_allowed_at_inference_with_the_option(
    run_command, sample, alone, spoiled, tmp_path
):
    part, folder = alone
    data, bundle = spoiled(OTHER[part]), folder / "run.onnx"
    for number, pair in enumerate(rows_of(data)):
        if number % 2:
            os.remove((text_file if OTHER[part] == "text" else image_file)(data, pair.guid))
    result = run_command("mmsent-infer", data / TRAIN_LIST, "--model", bundle, cwd=tmp_path)
    assert result.code == 2
    assert f"the {OTHER[part]} does not exist" in result.err
    assert "--allow-missing" in result.err
    wanted = predictions(run_command, sample / TRAIN_LIST, bundle, tmp_path / "wanted.csv")
    found = predictions(
        run_command, data / TRAIN_LIST, bundle, tmp_path / "found.csv", "--allow-missing"
    )
    assert found == wanted


@pytest.mark.parametrize("part", MODALITIES)
def test_parts_that_a_model_uses_are_required_in_training(run_command, sample, tmp_path, part):
    shutil.copytree(sample / "data", tmp_path / "data")
    rows = [
        {
            "guid": pair.guid,
            "text": pair.read_text(),
            "image": f"data/{pair.guid}.jpg",
            "label": pair.label,
        }
        for pair in rows_of(sample)
    ]
    rows[3][part] = rows[5][OTHER[part]] = None
    write_rows(tmp_path / "list.jsonl", rows)
    result = train(run_command, tmp_path / "list.jsonl", tmp_path / "run", part)
    assert result.code == 2
    assert not (tmp_path / "run").exists()
    assert f"(guid {rows[3]['guid']!r}): the {part} is missing; " in result.err
    assert f"`mmsent train --modality {OTHER[part]}` does not need it" in result.err
    assert "1 problem" in result.err


def test_one_part_in_int8(run_command, alone, tmp_path):
    """It is calibrated on the pairs as the model sees them."""
    part, folder = alone
    shutil.copytree(folder / "run", tmp_path / "run")
    bundle, _ = export(run_command, tmp_path / "run", "--precision", "int8", "--accept-loss", 100)
    info = SentimentModel(bundle).info
    assert (info.precision, info.optional) == ("int8", (OTHER[part],))
