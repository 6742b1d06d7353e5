"""The doctor on Windows, imitated in part: its fixes are PowerShell commands."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from doctor_machine import GPUS, Machine, NvidiaSmi

import mmsent.doctor
from mmsent.clip_pin import REPOSITORY, REVISION, WEIGHTS
from mmsent.doctor.process import probe_result
from mmsent.doctor.shell import Shell

SOURCES = Path(mmsent.doctor.__file__).parent
POSIX = re.compile(
    r"(?<![\w-])(sudo|unset|export|rm|grep|modprobe|rmmod|dmesg|systemctl|apt-get|du|mount|tail)\s"
    r"|&&|LD_LIBRARY_PATH|\.so\b"
)
RTX_5090 = "0, NVIDIA GeForce RTX 5090, 32607, {driver}, 12.0"

Break = Callable[[Machine, NvidiaSmi], None]


def cpu_build(cuda: str, gpu: str = "0, NVIDIA RTX 4090, 24564, {driver}, 8.9") -> Break:
    def break_it(machine: Machine, nvidia_smi: NvidiaSmi) -> None:
        nvidia_smi(driver="566.36", cuda=cuda, gpus=[gpu])
        machine.torch(version="2.4.1+cpu", cuda=None)
        machine.torchvision("0.19.1+cpu", torch="2.4.1")

    return break_it


def hidden(machine: Machine, nvidia_smi: NvidiaSmi) -> None:
    nvidia_smi()
    machine.torch(devices=GPUS)
    machine.set(CUDA_VISIBLE_DEVICES="")


def old_driver(machine: Machine, nvidia_smi: NvidiaSmi) -> None:
    nvidia_smi(driver="472.12", cuda="11.4", gpus=["0, Tesla T4, 15360, {driver}, 7.5"])
    machine.torch(warning="The NVIDIA driver on your system is too old")


def unavailable(machine: Machine, nvidia_smi: NvidiaSmi) -> None:
    nvidia_smi()
    machine.torch(init_error="CUDA unknown error. Error 999: unknown error")


def smi(script: str) -> Break:
    return lambda machine, _: machine.program("nvidia-smi", script)


def torch_that(**settings: Any) -> Break:
    return lambda machine, _: machine.torch(**settings)


def no_weights(machine: Machine, _: NvidiaSmi) -> None:
    machine.set(HF_HUB_OFFLINE="1")


def cut_weights(machine: Machine, _: NvidiaSmi) -> None:
    folder = machine.folder / "a user's cache"
    machine.set(HF_HOME=str(folder))
    snapshot = folder / "hub" / f"models--{REPOSITORY.replace('/', '--')}" / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    (snapshot / WEIGHTS).write_bytes(b"cut")


def environment(*programs: str) -> Break:
    def break_it(machine: Machine, _: NvidiaSmi) -> None:
        folder = machine.folder / "an environment"
        for program in programs:
            (folder / program).parent.mkdir(parents=True, exist_ok=True)
            (folder / program).touch()
        machine.set(CONDA_PREFIX=str(folder))

    return break_it


def openmp(machine: Machine, _: NvidiaSmi) -> None:
    machine.set(KMP_DUPLICATE_LIB_OK="TRUE", CONDA_PREFIX="C:\\conda")
    machine.library(
        "pandas",
        "import os; os.write(2, b'OMP: Error #15: already initialized.\\n'); os.abort()",
        version="3.1.1",
    )


def both_runtimes(machine: Machine, _: NvidiaSmi) -> None:
    machine.distribution("onnxruntime-gpu", "1.26.0")


def old_pandas(machine: Machine, _: NvidiaSmi) -> None:
    machine.library("pandas", version="1.5.3")


CU = "torch==2.4.1 torchvision==0.19.1 --index-url https://download.pytorch.org/whl"
NEW = "torch torchvision --index-url https://download.pytorch.org/whl"
AGAIN = "-m pip install --force-reinstall"
NO_DEVICES = "echo 'No devices were found'; exit 6"
MISMATCH = "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18"
NOT_ACTIVE = "python-not-the-active-environment"
NOT_LOADED = 'echo "NVIDIA-SMI couldn\'t communicate with the NVIDIA driver."'


@pytest.mark.parametrize(
    ("break_it", "id", "fix"),
    [
        # For Windows, the default index has only CPU builds.
        (cpu_build("12.6"), "torch-cpu-build", f"{AGAIN} {CU}/cu121"),
        (hidden, "torch-gpus-hidden", "Remove-Item Env:CUDA_VISIBLE_DEVICES"),
        (torch_that(before="os.kill(os.getpid(), 4)"), "torch-crashes", "/whl/cu121"),
        (smi(MISMATCH), "nvidia-driver-mismatch", "Restart-Computer"),
        (no_weights, "clip-weights-missing", "Remove-Item Env:HF_HUB_OFFLINE; mmsent download"),
        (cut_weights, "clip-weights-truncated", "Remove-Item -LiteralPath '"),
        (environment("python.exe"), NOT_ACTIVE, "python.exe' -m pip inst"),
        (openmp, "openmp-abort", "conda list | Select-String openmp, mkl"),
        (both_runtimes, "onnxruntime-twice", "uninstall -y onnxruntime onnxruntime-gpu; "),
        *(
            pytest.param(*row, marks=pytest.mark.slow)
            for row in [
                (cpu_build("11.8"), "torch-cpu-build", f"{AGAIN} {CU}/cu118"),
                (cpu_build("13.0"), "torch-cpu-build", f"{AGAIN} {NEW}/cu130"),
                (cpu_build("12.8", RTX_5090), "torch-cpu-build", f"{AGAIN} {NEW}/cu128"),
                (old_driver, "torch-driver-too-old", f"{CU}/cu118"),
                (unavailable, "torch-gpu-unavailable", "Restart-Computer  # if"),
                (torch_that(before="raise ImportError('DLL')"), "torch-import-fails", "cu121"),
                (smi("sleep 321"), "nvidia-smi-hangs", "Restart-Computer  # before that, `Get-"),
                (smi(NO_DEVICES), "nvidia-no-devices", "Get-WinEvent System"),
                (smi(f"{NOT_LOADED}; exit 9"), "nvidia-driver-not-loaded", "install NVIDIA's dr"),
                (smi("exit 3"), "nvidia-smi-fails", "Restart-Computer"),
                (smi("exit 3"), "clip-weights-missing", "mmsent download-clip"),
                (environment("Scripts/mmsent.exe"), NOT_ACTIVE, "mmsent.exe' doc"),
                (environment("nothing"), NOT_ACTIVE, "Remove-Item Env:CONDA_PREF"),
                (openmp, "openmp-duplicates-allowed", "Remove-Item Env:KMP_DUPLICATE_LIB_OK"),
                (old_pandas, "library-version", "-m pip install 'pandas>=2.2'"),
            ]
        ),
    ],
)  # fmt: skip
def test_fixes_are_powershell(
    machine: Machine, nvidia_smi: NvidiaSmi, break_it: Break, id: str, fix: str
) -> None:
    machine.windows = True
    (machine.root / "dev/shm").rmdir()  # Windows has none
    machine.torchvision("0.19.1+cu121", torch="2.4.1")
    break_it(machine, nvidia_smi)
    result = machine.doctor("--time-limit", "6")
    assert fix in result.finding(id)["fix"]
    for found in result.report["findings"]:
        assert not POSIX.search(found["fix"]), found
    assert "GPU in this machine" not in str(result.report)  # which Windows does not provide


def test_a_full_disk(machine: Machine) -> None:
    machine.windows = True
    machine.monkeypatch.setattr(machine, "usage", lambda _: (100 << 30, 99 << 30, 1 << 20))
    fixes = [f["fix"] for f in machine.doctor().report["findings"] if f["id"] == "disk-full"]
    assert fixes[0].startswith("start ms-settings:")
    assert fixes[1].startswith("$env:HF_HOME = 'FOLDER'")


@pytest.mark.parametrize(
    ("words", "written"),
    [
        (["C:\\Python311\\python.exe", "-m", "pip"], "C:\\Python311\\python.exe -m pip"),
        (["C:\\Program Files\\py.exe", "-m"], "& 'C:\\Program Files\\py.exe' -m"),
        (["C:\\O'Neil\\py.exe"], "& 'C:\\O''Neil\\py.exe'"),
        (["py", "torch>=2.4", "x[a,b]"], "py 'torch>=2.4' 'x[a,b]'"),
        (["py", "$(calc)", "a;b", "`x", "@y"], "py '$(calc)' 'a;b' '`x' '@y'"),
    ],
)
def test_powershells_quotes(words: list[str], written: str) -> None:
    """Within '…' every character is literal, and ' is doubled (about_Quoting_Rules)."""
    assert Shell(powershell=True).command(*words) == written


def test_posix_commands_are_in_one_module() -> None:
    """Commands that differ between POSIX and PowerShell are in one module, or only for Linux."""
    on_linux_alone = re.compile(
        r"^sudo (modprobe|ubuntu-drivers|apt-get|mount|systemctl|rmmod|reboot  # the driver's)"
    )
    for file in SOURCES.glob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree) if file.name != "shell.py" else ():
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found = re.search(r"(?<![\w-])(sudo|unset|export|rm|grep)\s|&&", node.value)
                allowed = on_linux_alone.search(node.value) or "LD_LIBRARY_PATH" in node.value
                assert not found or allowed, f"{file.name}:{node.lineno}: {node.value}"


@pytest.mark.parametrize(
    ("code", "end", "reason"),
    [
        (0xC0000005, "dies with 0xC0000005 (importing torch)", "an access violation"),
        (0xC0000135, "dies with 0xC0000135 (importing torch)", "a DLL is missing"),
        (0xC0001234, "dies with 0xC0001234 (importing torch)", "last words"),
    ],
)
def test_a_crash_is_named(code: int, end: str, reason: str) -> None:
    """Windows has an exit code where POSIX has a signal."""

    class Crashed:
        returncode = code

        def communicate(self, timeout: float) -> tuple[bytes, bytes]:
            return b'{"doing": "importing torch"}\r\n', b"last words\r\n"

    result = probe_result(cast("subprocess.Popen[bytes]", Crashed()), 1)
    assert result.end == end
    assert result.reason.endswith(reason)
    assert not result.done
