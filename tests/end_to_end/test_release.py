"""The parts of a release agree: versions, addresses, dates, and make's targets."""

import json
import re
import subprocess
import sys
from glob import glob
from pathlib import Path

import pytest
import tomllib
import yaml

from mmsent import __version__

ROOT = Path(__file__).parents[2]
PARTS = ("runtime", "training", "export")
ADDRESS = re.compile(r"https://github\.com/(\w[\w-]*/mmsent)\b")


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def project(part):
    return tomllib.loads(read(f"{part}/pyproject.toml"))["project"]


PACKAGE = json.loads(read("web/package.json"))
LOCK = json.loads(read("web/package-lock.json"))
CITATION = yaml.safe_load(read("CITATION.cff"))


@pytest.mark.parametrize(
    ("where", "found"),
    [
        *((f"{part}/pyproject.toml", [project(part)["version"]]) for part in PARTS),
        ("training requires", re.findall(r'"mmsent==(.*)"', read("training/pyproject.toml"))),
        ("export requires", re.findall(r'"mmsent-training==(.*)"', read("export/pyproject.toml"))),
        ("web/package.json", [PACKAGE["version"]]),
        ("web/package-lock.json", [LOCK["version"], LOCK["packages"][""]["version"]]),
        ("CITATION.cff", [CITATION["version"]]),
        ("Dockerfile.cpu", re.findall(r'image.version="(.*)"', read("Dockerfile.cpu"))),
        ("Dockerfile.cuda", re.findall(r'image.version="(.*)"', read("Dockerfile.cuda"))),
    ],
)
def test_the_version_is_the_same_everywhere(where, found):
    """`make version` writes it."""
    assert set(found) == {__version__}, where


@pytest.mark.skipif(sys.platform == "win32", reason="releases are made on Linux or macOS")
def test_make_version_changes_every_place(tmp_path):
    """On copies; npm itself changes package.json."""
    names = (
        "Makefile", "runtime/mmsent/__init__.py", "CITATION.cff", "Dockerfile.cpu",
        "Dockerfile.cuda", *(f"{part}/pyproject.toml" for part in PARTS),
    )  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(read(name))
    (tmp_path / "web").mkdir()
    (tmp_path / "npm").write_text("#!/bin/sh\n")
    (tmp_path / "npm").chmod(0o755)
    command = f'PATH="{tmp_path}:$PATH" make version VERSION=7.8.9'
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in set(names) - {"Makefile"}:
        pairs = zip(
            read(name).splitlines(), (tmp_path / name).read_text().splitlines(), strict=True
        )
        changed = [new for old, new in pairs if new != old]
        assert changed, name
        assert all("7.8.9" in line for line in changed)
    refused = subprocess.run(
        ["make", "version", "VERSION=next"], cwd=tmp_path, capture_output=True, text=True
    )
    assert refused.returncode != 0


def test_the_changelog_begins_with_this_version():
    """As keepachangelog.com says: versions with dates, newest first, standard headings."""
    text = read("CHANGELOG.md")
    versions = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})$", text, re.MULTILINE)
    assert versions[0] == (__version__, str(CITATION["date-released"]))
    numbers = [tuple(map(int, version.split("."))) for version, _ in versions]
    assert numbers == sorted(numbers, reverse=True)
    headings = set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    known = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Breaking"}
    assert headings <= known
    names = set(re.findall(r"^## \[(.*?)\]", text, re.MULTILINE))
    assert names == set(re.findall(r"^\[(.*?)\]: https:", text, re.MULTILINE))


@pytest.mark.parametrize("part", PARTS)
def test_a_distribution_describes_itself(part):
    found = project(part)
    assert found["authors"]
    assert {"Homepage", "Documentation", "Changelog", "Issues"} <= found["urls"].keys()
    assert found["license"] == "Apache-2.0"
    assert not any(name.startswith("License ::") for name in found["classifiers"])  # PEP 639
    least = found["requires-python"].removeprefix(">=")
    assert f"Programming Language :: Python :: {least}" in found["classifiers"]
    assert (ROOT / part / found["readme"]).is_file()


@pytest.mark.parametrize("part", PARTS)
def test_a_wheel_has_every_file_of_the_package(part):
    settings = tomllib.loads(read(f"{part}/pyproject.toml"))["tool"]["setuptools"]
    [(name, patterns)] = settings["package-data"].items()
    package = ROOT / part / name
    shipped = {path for each in patterns for path in glob(str(package / each), recursive=True)}
    other = {str(path) for path in package.rglob("*.*") if path.suffix not in (".py", ".pyc")}
    assert other <= shipped


def test_there_is_one_owner():
    """RELEASE.md says to replace it everywhere."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--", "*.md", "*.toml", "*.yml", "*.cff", "*.py", "web/*.json"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    owners = {name for path in tracked if path for name in ADDRESS.findall(read(path))}
    assert len(owners) == 1, owners


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_names_targets_and_scripts_that_exist(path):
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    steps = [step for job in content["jobs"].values() for step in job["steps"]]
    commands = [step["run"] for step in steps if "run" in step]
    for target in re.findall(r"\bmake ([a-z-]+)", "\n".join(commands)):
        assert re.search(rf"^{target}:", read("Makefile"), re.MULTILINE), target
    for script in re.findall(r"(?:^|\s)(\.ci/\w+)", "\n".join(commands)):
        assert (ROOT / script).is_file()


@pytest.mark.parametrize("name", ["bug.yml", "feature.yml"])
def test_issue_forms_ask_for_the_doctor(name):
    form = yaml.safe_load(read(f".github/ISSUE_TEMPLATE/{name}"))
    labels = [field["attributes"].get("label", "") for field in form["body"]]
    assert any("mmsent doctor --verbose" in label for label in labels)
    assert "mmsent doctor --verbose" in read(".github/pull_request_template.md")


def test_pre_commit_runs_what_make_check_runs():
    hooks = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"][0]["hooks"]
    entries = {hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in hooks}
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", read("Makefile"), re.MULTILINE)[1]
    assert entries - {"codespell"} == set(re.findall(r"\$\(BIN\)/([\w-]+)", recipe))
