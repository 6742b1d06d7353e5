"""What this machine can do, from what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mmsent.doctor.finding import Finding, Work, failure, listed, ok
from mmsent.files.machine import available_cores

Device = Literal["gpu", "cpu"]


@dataclass(frozen=True, slots=True)
class Abilities:
    """Where each kind of work can be done; None where it can't. ``gpus``: those fit to train on."""

    train: Device | None
    train_clip: Device | None
    predict: Device | None
    gpus: int
    sentence: str


def judge(findings: Sequence[Finding], *, training: bool, gpus: int) -> Abilities:
    """Say what can be done. ``training``: it is installed; ``gpus``: the number that computes."""
    device: Device = "gpu" if gpus else "cpu"
    stopped = {work for finding in findings for work in finding.stops}
    train = device if training and "train" not in stopped else None
    weights = any(finding.id == "clip-weights" for finding in findings)
    train_clip = train if weights and "train CLIP" not in stopped else None
    predict: Device | None = "cpu" if "predict" not in stopped else None
    cores = available_cores()
    on = {
        "gpu": "on the GPU" if gpus == 1 else f"on {gpus} GPUs",
        "cpu": f"on the CPU ({cores} {'core' if cores == 1 else 'cores'})",
    }
    can, cannot = [], []
    task = "train every model" if train_clip else "train every model but CLIP (see its weights)"
    if train and train == predict:
        can.append(f"{task} and predict {on[train]}")
    else:
        can += [f"{task} {on[train]}"] if train else []
        can += [f"predict {on[predict]}"] if predict else []
    if not training:
        cannot.append("train (mmsent-training is not installed)")
    elif not train:
        cannot.append(_cannot("train", findings))
    if not predict:
        cannot.append(_cannot("predict", findings))
    parts = [f"can {listed(can)}"] if can else []
    parts += [f"can't {listed(cannot, 'or')}"] if cannot else []
    sentence = f"This machine {', but '.join(parts)}."
    return Abilities(train, train_clip, predict, gpus, sentence)


def _cannot(work: Work, findings: Sequence[Finding]) -> str:
    causes = dict.fromkeys(finding.id for finding in findings if work in finding.stops)
    return f"{work} ({listed(causes)})"


def require_gpu(findings: Sequence[Finding], gpus: int) -> Finding:
    """The finding of `--require gpu`."""
    if gpus:
        return ok("gpu-required", f"a GPU is required, and {gpus} can be used")
    about_gpus = ("nvidia-", "torch-", "training-")
    causes = [
        finding
        for finding in findings
        if finding.id.startswith(about_gpus)
        and finding.mark != "ok"
        and finding.id != "torch-no-gpu"
    ]
    mends = [finding.mend for finding in causes if finding.mend]
    return failure(
        "gpu-required",
        "a GPU is required, and none can be used",
        why=f"see {listed(finding.id for finding in causes)}" if causes else "PyTorch sees none",
        mend=mends[0] if mends else "run this on a machine with an NVIDIA GPU",
        stops=[],  # what can be done without it, can be done
    )
