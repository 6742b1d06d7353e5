"""The runtime in an environment without the other distributions."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run(
        [folder / "bin" / "python", "-m", "pip", "install", "--quiet",
         "--constraint", ROOT / "requirements.lock", ROOT / "runtime"],
        check=True,
    )  # fmt: skip
    return folder


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)  # it may contain the other distributions


@pytest.mark.installs
def test_it_is_small_and_installs_no_training_library(environment):
    site = next((environment / "lib").glob("python3*")) / "site-packages"
    names = {path.name for path in site.iterdir()}
    assert not names & {"torch", "pandas", "sklearn", "transformers", "scipy"}
    size = sum(path.stat().st_size for path in environment.rglob("*") if path.is_file())
    assert size < 300e6


@pytest.mark.installs
def test_it_predicts(environment, sample, bundle, tmp_path):
    program = environment / "bin" / "mmsent-infer"
    arguments = [sample / "test_without_label.txt", "--model", bundle]
    done = subprocess.run([program, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "submission.csv").read_text().splitlines()) == 11


@pytest.mark.installs
def test_it_says_what_to_install_for_training(environment, tmp_path):
    program = environment / "bin" / "mmsent"
    assert subprocess.run([program, "--help"], capture_output=True).returncode == 0
    done = subprocess.run([program, "train"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install ./training" in done.stderr
