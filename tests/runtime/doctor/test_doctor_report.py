"""The command's output: for people, as JSON, and for a bug report."""

from __future__ import annotations

import ast
import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

from doctor_machine import Machine, NvidiaSmi

import mmsent.doctor

MAIN = "from mmsent.cli import main; main()"
SOURCES = Path(mmsent.doctor.__file__).parent
DOCUMENT = Path(__file__).parents[3] / "docs/doctor.md"


def test_one_line_per_check_with_cause_and_fix_below(machine: Machine) -> None:
    machine.set(VIRTUAL_ENV="/removed")
    lines = machine.run().output.splitlines()
    where = next(i for i, line in enumerate(lines) if "python-not-the-active" in line)
    assert lines[where].startswith("  [warning] VIRTUAL_ENV names the environment /removed")
    assert lines[where + 1].startswith("            why: what is installed in one of the two")
    assert lines[where + 2].startswith("            fix: unset VIRTUAL_ENV")


def test_a_long_fix_has_several_lines(machine: Machine) -> None:
    lines = machine.run().output.splitlines()
    where = next(i for i, line in enumerate(lines) if "clip-weights-missing" in line)
    assert lines[where + 2] == "            fix: mmsent download-clip"
    assert lines[where + 3].startswith("                 # if the hub is blocked: ")
    assert lines[where + 4].startswith("                 # without a network: ")


def test_the_last_line_says_what_the_machine_can_do(machine: Machine) -> None:
    last = machine.run().output.splitlines()[-1]
    assert last.startswith("This machine can train every model but CLIP")


def _on_a_terminal(environment: dict[str, str]) -> str:
    """The command's output on a terminal, without the checks of libraries."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-c", MAIN, "doctor", "--time-limit", "0.01"]
    subprocess.run(command, stdout=follower, env=os.environ | environment)
    os.close(follower)
    chunks = []
    while True:
        try:
            chunk = os.read(leader, 1 << 16)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        chunks.append(chunk)
    os.close(leader)
    return b"".join(chunks).decode()


def test_symbols_and_colours_on_a_terminal(machine: Machine) -> None:
    shown = _on_a_terminal({"PYTHONIOENCODING": "utf-8"})
    assert "✓" in shown
    assert "\x1b[" in shown


def test_words_without_colours(machine: Machine) -> None:
    shown = _on_a_terminal({"PYTHONIOENCODING": "utf-8", "NO_COLOR": "1"})
    assert "[ok]" in shown
    assert "\x1b[" not in shown


def test_the_keys_of_the_json_report(machine: Machine) -> None:
    report = machine.doctor().report
    assert list(report) == ["format", "mmsent", "ok", "summary", "can", "findings"]
    assert set(report["can"]) == {"train", "train_clip", "predict", "gpus"}
    keys = {"group", "id", "status", "what", "why", "fix", "stops"}
    assert all(set(found) == keys for found in report["findings"])
    assert "facts" in machine.doctor("--verbose").report


def test_a_verbose_report_has_no_personal_names(machine: Machine, tmp_path: Path) -> None:
    home = tmp_path / "home"
    machine.set(
        HOME=str(home),
        USER="annabel",
        HF_HOME=str(home / "cache"),
        HF_TOKEN="hf_AbCdEfGhIjKlMnOpQr",
        HF_ENDPOINT="https://annabel:geheim@mirror.example",
        LD_LIBRARY_PATH="/home/bertram/lib:/scratch/annabel/lib",
    )
    words = "cannot reach https://u:geheim@example, token=geheim, hf_AbCdEfGhIjKlMnOpQr"
    machine.library("pandas", f"raise OSError({words!r})", version="3.1.1")
    for arguments in (["--verbose"], ["--verbose", "--json"]):
        output = machine.run(*arguments).output
        assert "~/cache" in output
        assert "/scratch/USER/lib" in output
        for secret in (str(home), "annabel", "bertram", "geheim", "AbCdEfGh"):
            assert secret not in output


def test_the_doctor_itself_imports_no_library(machine: Machine) -> None:
    code = (
        f"import sys\ntry:\n    {MAIN}\nexcept SystemExit: pass\n"
        "heavy = {'numpy', 'torch', 'torchvision', 'transformers', 'onnxruntime', 'tokenizers'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "doctor", "--json", "--time-limit", "0.01"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_stdout_is_only_json_even_if_libraries_print(machine: Machine) -> None:
    machine.library("pandas", "import os; os.write(1, b'hello'); print('hello')", version="3.1.1")
    command = [sys.executable, "-c", MAIN, "doctor", "--json"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(machine.site), *sys.path])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    report = json.loads(done.stdout)
    assert "libraries-crash" not in [found["id"] for found in report["findings"]]


def test_an_interrupt_does_not_wait_for_a_hanging_check(machine: Machine) -> None:
    machine.library("torch", "import time; time.sleep(321)", version="2.4.1")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(machine.site), *sys.path])}
    command = [sys.executable, "-u", "-c", MAIN, "doctor"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    assert process.stdout is not None
    assert any("no NVIDIA GPU" in line for line in process.stdout)  # now it waits for torch
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 1
    process.stdout.close()


def test_a_gpu_can_be_required_in_a_script(machine: Machine, nvidia_smi: NvidiaSmi) -> None:
    assert machine.run("--require", "gpu").code == 1
    assert machine.run().code == 0


STATUSES = {name: name.replace("_", " ") for name in ("ok", "warning", "failure", "not_applicable")}


def _produced() -> dict[str, set[str]]:
    """The ids and statuses of all findings that the sources can produce."""
    found: dict[str, set[str]] = {}
    for file in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if ast.unparse(node.func.value) == "group":
                status = STATUSES[node.func.attr]
                id = node.args[0]
                for each in (id.body, id.orelse) if isinstance(id, ast.IfExp) else (id,):
                    assert isinstance(each, ast.Constant), f"{file}:{node.lineno}: spell it out"
                    found.setdefault(each.value, set()).add(status)
    return found


def test_the_page_lists_exactly_the_findings() -> None:
    row = re.compile(r"^\| `([a-z0-9-]+)` \| ([a-z, ]+) \| .+ \|(.*)\|$", re.MULTILINE)
    rows = row.findall(DOCUMENT.read_text())
    documented = {id: set(statuses.split(", ")) for id, statuses, _ in rows}
    assert len(documented) == len(rows)
    assert documented == _produced()
    for id, statuses, fix in rows:
        assert fix.strip() or not {"warning", "failure"} & set(statuses.split(", ")), id


def test_the_page_lists_every_key_of_the_report(machine: Machine) -> None:
    text = DOCUMENT.read_text()
    report = machine.doctor("--verbose").report
    for key in (*report, *report["can"], *report["findings"][0]):
        assert f"`{key}`" in text, key
