"""The NVIDIA driver, with programs that print what the real nvidia-smi does."""

from __future__ import annotations

from doctor_machine import Machine, NvidiaSmi


def test_two_gpus_are_listed_with_memory_and_compute_capability(
    machine: Machine, nvidia_smi: NvidiaSmi
) -> None:
    nvidia_smi()
    report = machine.doctor().report
    lines = [found["what"] for found in report["findings"] if found["group"] == "NVIDIA"]
    assert lines == [
        "driver 535.161.08, for CUDA up to 12.2",
        "GPU 0: NVIDIA A100-SXM4-80GB, 80 GiB, compute capability 8.0",
        "GPU 1: NVIDIA A100-SXM4-80GB, 80 GiB, compute capability 8.0",
    ]


def test_a_driver_that_does_not_know_compute_cap_still_lists_its_gpus(machine: Machine) -> None:
    machine.program(
        "nvidia-smi",
        """case "$*" in
        *compute_cap*) echo 'Field "compute_cap" is not a valid field to query.'; exit 2;;
        *--query-gpu*) echo '0, Tesla T4, 15109, 470.82.01';;
        *) echo '| NVIDIA-SMI 470.82.01    Driver Version: 470.82.01    CUDA Version: 11.4 |';;
        esac""",
    )
    assert machine.doctor().finding("nvidia-gpu")["what"] == "GPU 0: Tesla T4, 15 GiB"


def test_driver_library_mismatch_names_both_versions_and_asks_for_a_reboot(
    machine: Machine,
) -> None:
    machine.file(
        "proc/driver/nvidia/version",
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.127.05  Tue Oct  8 03:22:07 UTC 2024",
    )
    machine.program(
        "nvidia-smi",
        "echo 'Failed to initialize NVML: Driver/library version mismatch'\n"
        "echo 'NVML library version: 550.144'\nexit 18",
    )
    result = machine.doctor()
    found = result.finding("nvidia-driver-mismatch")
    assert found["what"] == (
        "the kernel runs the NVIDIA driver 550.127.05, not the one that is installed, 550.144"
    )
    assert found["fix"].startswith("sudo reboot")
    assert result.code == 0  # training uses the CPU


def test_no_devices_were_found(machine: Machine) -> None:
    machine.program("nvidia-smi", "echo 'No devices were found'; exit 6")
    found = machine.doctor().finding("nvidia-no-devices")
    assert found["status"] == "warning"
    assert "dmesg" in found["fix"]


def test_a_driver_whose_module_is_not_loaded(machine: Machine) -> None:
    machine.program(
        "nvidia-smi",
        "echo \"NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "
        'Make sure that the latest NVIDIA driver is installed and running."; exit 9',
    )
    assert "sudo modprobe nvidia" in machine.doctor().finding("nvidia-driver-not-loaded")["fix"]


def test_a_container_that_has_lost_its_gpus(machine: Machine) -> None:
    machine.file(".dockerenv", "")
    machine.program("nvidia-smi", "echo 'Failed to initialize NVML: Unknown Error'; exit 255")
    assert "--device" in machine.doctor().finding("nvidia-lost-in-container")["fix"]


def test_unknown_output_is_quoted(machine: Machine) -> None:
    machine.program("nvidia-smi", "echo 'Segmentation violation in the flux capacitor'; exit 3")
    assert "flux capacitor" in machine.doctor().finding("nvidia-smi-fails")["what"]


def test_nvidia_smi_that_cannot_be_started(machine: Machine) -> None:
    machine.program("nvidia-smi", "")
    (machine.programs / "nvidia-smi").write_bytes(b"\x7fELF, for another processor")
    assert "Exec format error" in machine.doctor().finding("nvidia-smi-fails")["what"]


def test_nvidia_smi_that_hangs_is_ended_with_its_children(machine: Machine) -> None:
    machine.program("nvidia-smi", "sleep 321 & sleep 321")  # the first keeps its output open
    found = machine.doctor("--time-limit", "2").finding("nvidia-smi-hangs")
    assert "sudo reboot" in found["fix"]


def test_a_container_without_gpus_all(machine: Machine) -> None:
    machine.file(".dockerenv", "")
    machine.file("sys/bus/pci/devices/0000:3b:00.0/vendor", "0x10de\n")
    machine.file("sys/bus/pci/devices/0000:3b:00.0/class", "0x030200\n")
    found = machine.doctor().finding("nvidia-gpu-not-in-container")
    assert "docker run --gpus all" in found["fix"]


def test_a_gpu_without_a_driver_gets_the_distributions_command(machine: Machine) -> None:
    machine.file("etc/os-release", 'NAME="Ubuntu"\nID=ubuntu\n')
    machine.file("sys/bus/pci/devices/0000:3b:00.0/vendor", "0x10de\n")
    machine.file("sys/bus/pci/devices/0000:3b:00.0/class", "0x030000\n")
    found = machine.doctor().finding("nvidia-driver-missing")
    assert found["fix"] == "sudo ubuntu-drivers install && sudo reboot"


def test_a_driver_without_nvidia_smi_in_a_container(machine: Machine) -> None:
    machine.file(".dockerenv", "")
    machine.file("proc/driver/nvidia/version", "NVRM version: … Kernel Module  550.127.05  Tue")
    found = machine.doctor().finding("nvidia-smi-missing")
    assert "550.127.05" in found["what"]
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in found["fix"]


def test_no_gpu_is_no_problem(machine: Machine) -> None:
    result = machine.doctor()
    assert result.finding("nvidia-none")["status"] == "not applicable"
    assert result.code == 0
