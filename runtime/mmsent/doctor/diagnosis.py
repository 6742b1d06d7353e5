"""The complete diagnosis: start all probes at once, and yield the groups in a fixed order."""

from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from mmsent.doctor import probes
from mmsent.doctor.bundle import check_bundle
from mmsent.doctor.clip import check_clip, weights_address
from mmsent.doctor.finding import Group
from mmsent.doctor.hardware import check_hardware
from mmsent.doctor.installed import TRAINING, installed_parts, modules
from mmsent.doctor.libraries import check_libraries
from mmsent.doctor.nvidia import check_nvidia, nvidia_smi
from mmsent.doctor.onnx_runtime import check_onnxruntime
from mmsent.doctor.openmp import check_openmp
from mmsent.doctor.probes import Probe
from mmsent.doctor.process import ProbeResult, kill, probe_result, start_probe
from mmsent.doctor.python import check_python
from mmsent.doctor.pytorch import check_torch
from mmsent.doctor.summary import check_required_gpu
from mmsent.doctor.system import System

HUB_LIMIT = 10.0  # seconds in which the hub must answer


def diagnose(
    *, model: Path | None, online: bool, gpu_required: bool, limit: float, system: System
) -> Generator[Group, None, None]:
    """Check the machine; yield each group as soon as it is complete.

    ``model``: a bundle to check. ``online``: whether to contact the hub. ``limit``: the time limit
    of a child process, in seconds. Ctrl-C and closing the generator kill the child processes.
    """
    with ThreadPoolExecutor(8) as pool, ExitStack() as running:

        def start(probe: Probe, *arguments: str, limit: float = limit) -> Future[ProbeResult]:
            process = start_probe(probe, *arguments)
            running.callback(kill, process)
            return pool.submit(probe_result, process, limit)

        parts = installed_parts()
        training = TRAINING in parts
        libraries = start(probes.probe_libraries, *modules(parts))  # it takes longest
        program = nvidia_smi(system)
        smi = start(probes.probe_nvidia_smi, program) if program else None
        torch = start(probes.probe_torch) if training else None
        onnxruntime = start(probes.probe_onnxruntime)
        bundle = start(probes.probe_bundle, str(model)) if model else None
        hub = start(probes.probe_hub, weights_address(), limit=HUB_LIMIT) if online else None

        yield check_python(system)
        yield check_hardware(system)
        nvidia, driver = check_nvidia(smi.result() if smi else None, system)
        yield nvidia
        pytorch = check_torch(torch.result() if torch else None, libraries.result(), driver, system)
        yield pytorch
        yield check_openmp(libraries.result(), system.shell)
        yield check_onnxruntime(onnxruntime.result(), driver, system.shell)
        yield check_libraries(libraries.result(), system.shell)
        yield check_clip(training, hub.result() if hub else None, system.shell)
        yield check_bundle(model, bundle.result() if bundle else None)
        if gpu_required:
            yield check_required_gpu([*nvidia.findings, *pytorch.findings])
