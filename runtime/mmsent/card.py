# ruff: noqa: RUF001
"""The model card of a bundle: a README.md for the Hugging Face hub.

The format: https://huggingface.co/docs/hub/model-cards. Everything comes from the bundle; what it
can't know is a line to fill in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tokenizers import Tokenizer

from mmsent.bundle.info import BundleInfo
from mmsent.errors import InputError
from mmsent.files.progress import counted
from mmsent.inputs.coverage import Coverage
from mmsent.inputs.text import tokenize
from mmsent.markdown import escape

TO_FILL_IN = "FILL IN"
"""Marks what only the author knows."""

# The beginning of article 1 of the Universal Declaration of Human Rights.
SCRIPTS = {
    "Latin": "All human beings are born free and equal in dignity and rights.",
    "Cyrillic": "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "Greek": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια.",
    "Arabic": "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق.",
    "Hebrew": "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.",
    "Devanagari": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता प्राप्त है।",
    "Thai": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "Han (simplified)": "人人生而自由，在尊严和权利上一律平等。",
    "Kana and Han": "すべての人間は、生まれながらにして自由であり、尊厳と権利について平等である。",
    "Hangul": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
}

Facts = Mapping[str, Any]


def write_card(info: BundleInfo, tokenizer: Tokenizer) -> str:
    """The card of a bundle, as Markdown with YAML in front.

    Raises InputError if the bundle does not say how it was trained.
    """
    try:
        sections = {
            "Use": _use(info),
            "Data": _data(info.provenance),
            "Scores": _scores(info.metrics, info.verification, info.precision),
            "Calibration": _calibration(info.metrics, info.provenance["calibration"]),
            "Limits": _limits(info),
            "Languages": _languages(tokenizer),
            "Training": _training(info.provenance),
            "Licence": f"{TO_FILL_IN}: the licence of the weights, which also depends on the data "
            "and on the pretrained weights.",
        }
        head = f"---\n{_front_matter(info)}\n---\n\n# {TO_FILL_IN}: the name of the model\n"
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(
            f"the bundle does not say how it was trained ({error!r}); export its run again with "
            "`mmsent-export onnx`"
        ) from None
    body = "".join(f"\n## {heading}\n\n{text}\n" for heading, text in sections.items())
    return f"{head}\n{_summary(info)}\n{body}"


def _front_matter(info: BundleInfo) -> str:
    """The metadata, as YAML; a string in JSON is also one in YAML."""
    modality = info.provenance["settings"]["modality"]
    weights = info.provenance["weights"]
    tags = ["mmsent", "onnx", *(["multimodal"] if modality == "both" else [])]
    task = "image-classification" if modality == "image" else "text-classification"
    lines = [
        f"# {TO_FILL_IN}: license, from https://huggingface.co/docs/hub/repositories-licenses",
        "license: unknown",
        f"# {TO_FILL_IN}: language, such as en; datasets, if they are on the hub",
        "library_name: mmsent",
        f"pipeline_tag: {task}",
        f"tags: [{', '.join(tags)}]",
    ]
    if weights and "/" in str(weights["name"]):
        lines.append(f"base_model: {_quoted(weights['name'])}")
    metrics = info.metrics
    lines += [
        "model-index:",
        f"- name: {_quoted(info.model)}",
        "  results:",
        f"  - task: {{type: {task}}}",
        f"    dataset: {{type: validation, name: {_quoted(_pairs(metrics) + ' of its data')}}}",
        "    metrics:",
        f"    - {{type: accuracy, value: {float(metrics['accuracy']):.4f}}}",
        f"    - {{type: f1, name: macro F1, value: {float(metrics['macro_f1']):.4f}}}",
    ]
    return "\n".join(lines)


def _quoted(value: object) -> str:
    return json.dumps(str(value), ensure_ascii=False)


def _pairs(metrics: Facts) -> str:
    return f"the {counted(int(metrics['pairs']), 'validation pairs')}"


def _summary(info: BundleInfo) -> str:
    labels = ", ".join(map(escape, info.labels))
    subject = {"both": "a text and an image", "text": "a text", "image": "an image"}
    seen = subject[info.provenance["settings"]["modality"]]
    return f"Classifies posts of {seen}. The labels are {labels}."


def _use(info: BundleInfo) -> str:
    return f"""```python
from mmsent import SentimentModel

model = SentimentModel("model.onnx")
print(model.predict(text="what a day", image="photo.jpg"))
```

The file is one ONNX model in {info.precision}; tokenizer and image settings are in its metadata.

{TO_FILL_IN}: what the model is meant for, and what it must not be used for."""


def _data(facts: Facts) -> str:
    dataset, settings = facts["dataset"], facts["settings"]
    chosen = (
        "The best epoch and the temperature were chosen on the validation pairs, so the scores are "
        "slightly too good."
        if settings["keep"] == "best"
        else "Only the temperature of the probabilities was fitted on the validation pairs."
    )
    return f"""{TO_FILL_IN}: where the pairs come from, who labelled them, and their licence.

| split | pairs |
| --- | --- |
| training | {int(dataset["train_pairs"])} |
| validation | {int(dataset["validation_pairs"])} |

{chosen} The SHA-256 of all pairs is `{escape(str(dataset["fingerprint"]))}`."""


def _scores(metrics: Facts, verification: Facts, precision: str) -> str:
    both = "\n".join(
        f"| {name} | {metrics[key]:.3f} | {low:.3f} to {high:.3f} |"
        for name, key in (("accuracy", "accuracy"), ("macro F1", "macro_f1"))
        for low, high in [metrics["intervals"][key]]
    )
    classes = _table(
        ("label", "precision", "recall", "F1", "pairs"),
        (
            (escape(label), f"{row['precision']:.3f}", f"{row['recall']:.3f}", f"{row['f1']:.3f}",
             str(int(row["support"])))
            for label, row in metrics["classes"].items()
        ),
    )  # fmt: skip
    label, most = max(metrics["classes"].items(), key=lambda item: item[1]["support"])
    text = f"""On {_pairs(metrics)}; the intervals are 95 % intervals of the bootstrap over pairs.

| score | value | interval |
| --- | --- | --- |
{both}

Always predicting {escape(label)} has an accuracy of {most["support"] / metrics["pairs"]:.3f}.

{classes}"""
    if precision != "fp32" and verification.get("accuracy"):
        before, after = verification["accuracy"]
        text += (
            f"\n\nThese are the scores in fp32. The bundle, in {precision}, changes "
            f"{int(verification['changed_labels'])} labels of {int(verification['pairs'])}; its "
            f"accuracy is {after:.3f} instead of {before:.3f}."
        )
    return text


def _calibration(metrics: Facts, calibration: Facts) -> str:
    text = (
        f"The logits are divided by a temperature of {calibration['temperature']:.4g}, fitted on "
        "the validation pairs. On the same pairs, the expected calibration error is "
        f"{calibration['error_after']:.3f}; without the temperature it is "
        f"{calibration['error_before']:.3f}."
    )
    if bins := [each for each in metrics.get("reliability", ()) if each["pairs"]]:
        rows = (
            (f"{each['confidence']:.2f}", f"{each['accuracy']:.2f}", str(int(each["pairs"])))
            for each in bins
        )
        text += f"\n\n{_table(('mean probability', 'share correct', 'pairs'), rows)}"
    return text


def _limits(info: BundleInfo) -> str:
    rarest, row = min(info.metrics["classes"].items(), key=lambda item: item[1]["support"])
    parts = info.provenance["settings"]["modality"]
    lines = [
        "It always predicts one of its labels, even if none fits.",
        "The scores apply to pairs like the validation pairs. The model was not tested on others.",
        f"The scores of {escape(rarest)}, the rarest label, are the least certain: it has "
        f"{counted(int(row['support']), 'validation pairs')}.",
    ]
    if parts != "image":
        lines.append(f"Texts are truncated to {info.max_length} tokens.")
    if parts != "text":
        how = "stretched to" if info.image.resize == "stretch" else "scaled and cropped to"
        lines.append(f"Images are {how} {info.image.size} x {info.image.size} pixels.")
    if parts == "both":
        lines.append(
            {
                (): "Every pair needs its text and its image.",
                ("text",): "A pair may lack its text, but not its image.",
                ("image",): "A pair may lack its image, but not its text.",
            }.get(info.optional, "A pair may lack its text or its image.")
        )
    lines.append(f"{TO_FILL_IN}: known biases and risks.")
    return "\n".join(f"- {line}" for line in lines)


def _languages(tokenizer: Tokenizer) -> str:
    known = []
    for script, text in SCRIPTS.items():
        coverage = Coverage(tokenizer)
        if coverage.add(tokenize(tokenizer, [text])) == [False]:
            known.append(script)
    unknown = [script for script in SCRIPTS if script not in known]
    return (
        f"{TO_FILL_IN}: the languages of the training texts.\n\n"
        f"Scripts that the tokenizer knows: {', '.join(known) or 'none of those tested'}. Others "
        f"that were tested: {', '.join(unknown) or 'none'}. The tokenizer may know a script "
        "even if the model has not learnt any of its languages."
    )


def _training(facts: Facts) -> str:
    settings = {**facts["settings"], **facts["settings"].get("options", {})}
    settings.pop("options", None)
    rows = ((name, escape(str(value))) for name, value in sorted(settings.items()))
    weights = facts["weights"]
    start = "It starts from no pretrained encoder."
    if weights:
        name, digest = (escape(str(weights[key])) for key in ("name", "sha256"))
        name = name if weights["name"] else "a local folder"
        start = f"It starts from pretrained weights: {name}, SHA-256 `{digest}`."
    where = facts["environment"]["gpu"] or "a CPU"
    return (
        f"Trained on {escape(str(where))}, {escape(str(facts['created']))}. {start}\n\n"
        f"{_table(('setting', 'value'), rows)}"
    )


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
