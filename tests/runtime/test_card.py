"""The model card, as the Hugging Face hub's library reads it."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from mmsent.bundle.session import open_bundle
from mmsent.card import SCRIPTS, TO_FILL_IN, write_card
from mmsent.errors import InputError

from ..small_bundle import write_small_bundle

hub = pytest.importorskip("huggingface_hub", reason="the runtime alone is installed")


@pytest.fixture(scope="module")
def opened(bundle):
    return open_bundle(bundle, threads=1)


def section(text, heading):
    return re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[1]


def test_the_hub_reads_the_scores_and_the_task(run_command, bundle, opened, tmp_path):
    result = run_command("mmsent", "card", "--model", bundle, cwd=tmp_path)
    assert result.code == 0, result.err
    card = hub.ModelCard.load(tmp_path / "card.md")
    metrics = opened.info.metrics
    values = {each.metric_type: each.metric_value for each in card.data.eval_results}
    assert values == pytest.approx(
        {"accuracy": metrics["accuracy"], "f1": metrics["macro_f1"]}, abs=1e-4
    )
    assert card.data.pipeline_tag == "text-classification"
    assert card.data.library_name == "mmsent"
    assert card.data.tags == ["mmsent", "onnx", "multimodal"]
    assert hub.ModelCardData(**card.data.to_dict())  # it accepts every field


def test_sections_show_the_bundles_metadata(opened):
    info = opened.info
    text = write_card(info, opened.tokenizer)
    low, high = info.metrics["intervals"]["accuracy"]
    assert f"| accuracy | {info.metrics['accuracy']:.3f} | {low:.3f} to {high:.3f} |" in section(
        text, "Scores"
    )
    assert f"| training | {info.provenance['dataset']['train_pairs']} |" in section(text, "Data")
    for value in info.provenance["calibration"].values():
        assert f"{value:.3f}" in section(text, "Calibration") or f"{value:.4g}" in text
    assert f"{info.max_length} tokens" in section(text, "Limits")
    assert "may lack its image" in section(text, "Limits")
    assert "| epochs | 2 |" in section(text, "Training")
    for heading in ("Use", "Data", "Limits", "Languages", "Licence"):
        assert TO_FILL_IN in section(text, heading)


def test_languages_are_the_scripts_that_the_tokenizer_knows(opened):
    letters = set(SCRIPTS["Cyrillic"] + SCRIPTS["Hangul"])
    vocabulary = {"[UNK]": 0} | {letter: place for place, letter in enumerate(sorted(letters), 1)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    known, others = re.search(r"knows: (.*)\. Others.*tested: (.*)\. The", write_card(
        opened.info, tokenizer
    )).groups()  # fmt: skip
    assert known == "Cyrillic, Hangul"
    assert {*others.split(", ")} == SCRIPTS.keys() - {"Cyrillic", "Hangul"}


def test_int8_shows_what_it_changed(opened):
    verification = opened.info.verification | {"accuracy": [0.75, 0.5], "changed_labels": 2}
    info = replace(opened.info, precision="int8", verification=verification)
    assert "changes 2 labels" in write_card(info, opened.tokenizer)
    assert "accuracy is 0.500 instead of 0.750" in write_card(info, opened.tokenizer)


@pytest.mark.parametrize("name", ["a|b", "<b>", "# x", "中性", "```", "two\nlines"])
def test_names_from_the_data_are_escaped(opened, name):
    """They are shown literally, and end neither the table nor the front matter."""
    classes = dict(zip([name, "b", "c"], opened.info.metrics["classes"].values()))
    info = replace(
        opened.info, model=name, labels=(name, "b", "c"),
        metrics=opened.info.metrics | {"classes": classes},
    )  # fmt: skip
    card = hub.ModelCard(write_card(info, opened.tokenizer))
    assert card.data.model_name == name
    rows = [line for line in section(card.text, "Scores").splitlines() if line.startswith("|")]
    assert len(rows) == 4 + 5
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 6 for row in rows[4:])
    assert card.text.count("\n## ") == 8


def test_an_existing_card_is_not_overwritten(run_command, bundle, tmp_path):
    (tmp_path / "card.md").write_text("filled in")
    result = run_command("mmsent", "card", "--model", bundle, cwd=tmp_path)
    assert (result.code, (tmp_path / "card.md").read_text()) == (2, "filled in")
    assert "card.md exists" in result.err


@pytest.mark.parametrize("output", ["/dev/stdout", "/dev/null", "-"])
def test_nobody_is_told_to_remove_a_device(run_command, bundle, tmp_path, output):
    result = run_command("mmsent", "card", "--model", bundle, "--output", output, cwd=tmp_path)
    assert result.code == 2
    assert "must be a file" in result.err or "not a regular file" in result.err
    assert "remove" not in result.err


def test_a_bundle_of_unknown_origin_is_refused(run_command, tmp_path):
    write_small_bundle(Path(tmp_path / "model.onnx"))
    result = run_command("mmsent", "card", cwd=tmp_path)
    assert result.code == 2
    assert "does not say how it was trained" in result.err
    assert not (tmp_path / "card.md").exists()


@pytest.mark.parametrize(
    ("name", "number"),
    [("pairs", float("inf")), ("pairs", float("nan")), ("pairs", None), ("accuracy", 10**400)],
    ids=range(4),
)
def test_scores_that_are_no_numbers_are_refused(opened, name, number):
    info = replace(opened.info, metrics=opened.info.metrics | {name: number})
    with pytest.raises(InputError, match="does not say how it was trained"):
        write_card(info, opened.tokenizer)
