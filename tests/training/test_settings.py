"""`--set FIELD=VALUE`: any field of the settings, parsed by its type."""

import json
from dataclasses import fields

import pytest

from mmsent.errors import InputError
from mmsent_training.models.registry import default_settings
from mmsent_training.settings import SETTABLE, Settings, parse_assignments


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("epochs=3", 3),
        ("learning_rate=1e-3", 0.001),
        ("weight_decay=0", 0.0),
        ("logit_adjustment=-0.5", -0.5),
        ("digests=false", False),
        ("augment=True", True),
        ("keep=last", "last"),
        (" ema_decay = 0.5 ", 0.5),
        ("model=light", "light"),
    ],
)
def test_a_value_has_the_type_of_its_field(text, value):
    [(name, found)] = parse_assignments([text]).items()
    assert name == text.partition("=")[0].strip()
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("setting", Settings(model="light").__dict__.items(), ids=str)
def test_every_field_takes_its_default_as_text(setting):
    name, value = setting
    if name != "options":
        assert parse_assignments([f"{name}={value}"]) == {name: value}


def test_every_field_except_options_can_be_set():
    assert {field.name for field in fields(Settings)} - SETTABLE.keys() == {"options"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs", "write FIELD=VALUE"),
        ("epoch=3", "there is no setting 'epoch'; did you mean epochs?"),
        ("zzz=3", "there is no setting 'zzz'; the settings are model, preset, "),
        ("options={}", "there is no setting 'options'"),
        ("epochs=0", "epochs must be an integer from 1 to 2147483647"),
        ("epochs=2.5", "epochs must be an integer from 1 to 2147483647"),
        ("epochs=", "epochs must be an integer from 1 to 2147483647"),
        ("learning_rate=0", "learning_rate must be a number above 0, and at most 1e+30"),
        ("learning_rate=nan", "learning_rate must be a number above 0, and at most 1e+30"),
        ("weight_decay=inf", "weight_decay must be a number from 0 to 1e+30"),
        ("learning_rate=1e300", "learning_rate must be a number above 0, and at most 1e+30"),
        ("batch_size=99999999999999999999", "batch_size must be an integer from 1 to 2147483647"),
        ("max_length=2147483648", "max_length must be an integer from 1 to 2147483647"),
        ("seed=4294967296", "seed must be an integer from 0 to 4294967295"),
        ("split_seed=99999999999999999999", "split_seed must be an integer from 0 to 4294967295"),
        ("logit_adjustment=much", "logit_adjustment must be a number"),
        ("ema_decay=1.5", "ema_decay must be a number from 0 to 1"),
        ("validation_fraction=1", "validation_fraction must be a number between 0 and 1"),
        ("keep=first", "keep must be one of best, last"),
        ("digests=maybe", "digests must be true or false"),
    ],
)
def test_an_invalid_value_is_refused_with_the_valid_ones(text, message):
    with pytest.raises(InputError) as error:
        parse_assignments([text])
    assert str(error.value).startswith(f"--set {text}: ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    "option", [{"batch_size": 10**30}, {"epochs": 2**31}, {"learning_rate": 1e300}]
)
def test_an_option_has_the_same_limits(option):
    with pytest.raises(InputError, match=f"a setting can't be used: .*{next(iter(option))}"):
        default_settings("light", "cpu", **option)


def test_two_values_for_one_field_are_refused():
    assert parse_assignments(["epochs=3", "epochs=3"]) == {"epochs": 3}
    with pytest.raises(InputError, match="--set epochs is given twice: 3 and 4"):
        parse_assignments(["epochs=3", "epochs=4"])


def test_a_run_has_them_and_records_them(run_command, sample, tmp_path):
    chosen = ("--set", "epochs=1", "--set", "validation_fraction=0.25", "--set", "model=light")
    chosen += ("--set", "modality=text", "--set", "logit_adjustment=0.1")
    result = run_command(
        "mmsent", "train", "--data", sample, "--output", "run", *chosen, cwd=tmp_path
    )
    assert result.code == 0, result.err
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    settings = record["settings"]
    assert (settings["model"], settings["modality"], settings["epochs"]) == ("light", "text", 1)
    assert settings["logit_adjustment"] == 0.1
    assert record["dataset"]["validation_pairs"] == 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--epochs", 2, "--set", "epochs=3"), "--set epochs=3 contradicts --epochs 2; give one"),
        (("--model", "light", "--set", "model=clip"), "contradicts --model light"),
        (("--seed", 1, "--set", "seed=2"), "contradicts --seed 1"),
        (("--set", "model=heavy"), "unknown model 'heavy'"),
        (("--set", "epochs=x"), "epochs must be an integer"),
    ],
)
def test_it_must_not_contradict_an_option(run_command, sample, tmp_path, options, message):
    result = run_command("mmsent", "train", "--data", sample, *options, cwd=tmp_path)
    assert result.code == 2
    assert message in result.err
    assert not (tmp_path / "runs").exists()


def test_resuming_refuses_it(run_command, tmp_path):
    (tmp_path / "run").mkdir()
    result = run_command("mmsent", "train", "--resume", "run", "--set", "epochs=3", cwd=tmp_path)
    assert result.code == 2
    assert "--resume keeps the settings of the run; leave out --set" in result.err
