"""Hardware: limits and sizes of various machines."""

from __future__ import annotations

from pathlib import Path

import pytest
from doctor_machine import Machine

GIB = 1 << 30


@pytest.mark.parametrize(
    ("cgroup", "file"),
    [
        ("0::/", "sys/fs/cgroup/memory.max"),
        ("0::/user.slice/job", "sys/fs/cgroup/user.slice/memory.max"),
        ("4:memory:/docker/1a2b", "sys/fs/cgroup/memory/memory.limit_in_bytes"),
    ],
)
def test_a_memory_limit_of_a_cgroup(machine: Machine, cgroup: str, file: str) -> None:
    machine.file(".dockerenv", "")
    machine.file("proc/self/cgroup", f"{cgroup}\n")
    machine.file(file, f"{2 * GIB}\n")
    found = machine.doctor().finding("memory-small")
    assert found["what"].startswith("16.0 GiB of memory")
    assert "limits this process to 2.0" in found["what"]
    assert "docker run --memory 8g" in found["fix"]


def test_a_cgroup_without_a_limit(machine: Machine) -> None:
    machine.file("proc/self/cgroup", "0::/\n")
    machine.file("sys/fs/cgroup/memory.max", "max\n")
    assert "limits" not in machine.doctor().finding("memory")["what"]


def test_dockers_64_mb_of_shared_memory(machine: Machine) -> None:
    machine.file(".dockerenv", "")
    machine.sizes["dev/shm"] = (64 << 20, 64 << 20)
    found = machine.doctor().finding("shared-memory-small")
    assert found["what"] == "/dev/shm has 64 MiB free of 64"
    assert "--shm-size 1g" in found["fix"]


def test_a_full_disk(machine: Machine, elsewhere: Path) -> None:
    machine.sizes[elsewhere.name] = (100 * GIB, GIB // 2)
    assert machine.doctor().finding("disk-full")["what"].startswith("0.5 GiB free")


def test_the_instruction_sets_that_matter(machine: Machine) -> None:
    flags = "fpu avx2 avx512f avx512_vnni avx512_bf16 amx_tile amx_int8 amx_bf16"
    machine.file("proc/cpuinfo", f"processor : 0\nflags\t\t: {flags}\n")
    assert machine.doctor().finding("cpu")["what"] == (
        "the processor has avx2, avx512f, avx512_vnni, avx512_bf16, amx_tile, amx_int8 and amx_bf16"
    )


def test_a_processor_without_avx2(machine: Machine) -> None:
    machine.file("proc/cpuinfo", "flags : fpu sse4_2 avx\n")
    assert "-cpu host" in machine.doctor().finding("cpu-without-avx2")["fix"]


def test_an_arm_processor(machine: Machine) -> None:
    machine.file("proc/cpuinfo", "Features : fp asimd asimddp i8mm bf16\n")
    what = machine.doctor().finding("cpu")["what"]
    assert what == "the processor has asimd, asimddp, i8mm and bf16"
