"""What this machine can do, according to the findings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mmsent.doctor.finding import ALL_WORK, Finding, Group, Work, listed
from mmsent.files.machine import available_cores

Device = Literal["gpu", "cpu"]


@dataclass(frozen=True, slots=True)
class Abilities:
    """The device for each kind of work; None if it is impossible. ``gpus``: how many can train."""

    train: Device | None
    train_clip: Device | None
    predict: Device | None
    gpus: int


def judge(findings: Sequence[Finding]) -> Abilities:
    """What can be done, according to all findings of a report."""
    gpus = usable_gpus(findings)
    device: Device = "gpu" if gpus else "cpu"
    train = None if _obstacles("train", findings) else device
    clip = train if any(finding.id == "clip-weights" for finding in findings) else None
    with_cuda = any(finding.id == "onnxruntime-gpu" for finding in findings)
    predict: Device | None = "gpu" if with_cuda else "cpu"
    predict = None if _obstacles("predict", findings) else predict
    return Abilities(train, clip, predict, gpus)


def usable_gpus(findings: Sequence[Finding]) -> int:
    """The number of GPUs on which PyTorch computes correctly in single precision."""
    ids = [finding.id for finding in findings]
    if "torch-crashes" in ids or "torch-hangs" in ids:
        return 0
    return ids.count("torch-gpu") + ids.count("torch-half-precision")


def sentence(can: Abilities, findings: Sequence[Finding]) -> str:
    """What can be done, and what can't, with the reason."""
    cores = available_cores()
    on_cpu = f" on the CPU ({cores} {'core' if cores == 1 else 'cores'})"
    on_gpu = " on the GPU" if can.gpus == 1 else f" on {can.gpus} GPUs"
    models = "every model" if can.train_clip else "every model but CLIP (see its weights)"
    trains, predicts = (on_cpu if device == "cpu" else "" for device in (can.train, can.predict))
    if trains and predicts:
        trains = ""  # do not repeat it
    possible = [f"train {models}{on_gpu if can.gpus else trains}"] if can.train else []
    possible += [f"predict{predicts or ' on the GPU'}"] if can.predict else []
    parts = [f"can {listed(possible)}"] if possible else []
    causes = {work: listed(_obstacles(work, findings)) for work in ALL_WORK}
    impossible = [f"{work} ({cause})" for work, cause in causes.items() if cause]
    parts += [f"can't {listed(impossible, 'or')}"] if impossible else []
    return f"This machine {', but '.join(parts)}."


def _obstacles(work: Work, findings: Sequence[Finding]) -> list[str]:
    """The ids of the findings that prevent ``work``."""
    missing = "training-not-installed" if work == "train" else None
    stops = (finding.id for finding in findings if work in finding.stops or finding.id == missing)
    return list(dict.fromkeys(stops))


def check_required_gpu(findings: Sequence[Finding]) -> Group:
    """The finding for `--require gpu`, from those about the driver and PyTorch."""
    group = Group("Required")  # prevents nothing: what needs no GPU still works
    if gpus := usable_gpus(findings):
        group.ok("gpu-required", f"a GPU is required, and {gpus} can be used")
        return group
    causes = [each for each in findings if each.status != "ok" and each.id != "torch-no-gpu"]
    why = f"see {listed(cause.id for cause in causes)}" if causes else "PyTorch sees none"
    fixes = [cause.fix for cause in causes if cause.fix]
    fix = fixes[0] if fixes else "run this on a machine with an NVIDIA GPU"
    group.failure("gpu-required", "a GPU is required, but none can be used", why, fix)
    return group
