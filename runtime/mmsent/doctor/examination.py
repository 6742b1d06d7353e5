"""The whole examination: everything slow begins at once, and the groups come in their order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, TypeVar

from mmsent.doctor.bundle import examine_bundle
from mmsent.doctor.child import Told, consult, end_all
from mmsent.doctor.clip import examine_clip, weights_address
from mmsent.doctor.finding import Finding, Group
from mmsent.doctor.hardware import examine_hardware
from mmsent.doctor.installed import TRAINING, installed_parts, modules
from mmsent.doctor.libraries import examine_libraries
from mmsent.doctor.nvidia import examine_nvidia
from mmsent.doctor.onnx_runtime import examine_onnxruntime
from mmsent.doctor.openmp import examine_openmp
from mmsent.doctor.python import examine_python
from mmsent.doctor.pytorch import examine_torch, usable_gpus
from mmsent.doctor.summary import Abilities, judge, require_gpu
from mmsent.doctor.system import System

T = TypeVar("T")

HUB_LIMIT = 10.0
"""Seconds in which the hub must answer."""

END_LIMIT = 2.0
"""Seconds in which a killed process is expected to be gone; a driver may hold it in the kernel."""


class Examination:
    """Examines the machine: iterate over it for the groups, then ask it for the rest.

    A context: when it is left, by Ctrl-C too, nothing that still runs is waited for.
    ``model`` is a bundle to check, ``online`` asks the hub, ``limit`` is the number of seconds
    that a child process may take.
    """

    def __init__(
        self,
        *,
        model: Path | None = None,
        online: bool = False,
        gpu_required: bool = False,
        limit: float = 60.0,
        system: System | None = None,
    ) -> None:
        self.model, self.online, self.gpu_required = model, online, gpu_required
        self.limit, self.system = limit, system or System()
        self.groups: list[Group] = []
        self.gpus = 0
        self.training = False
        self._pool = ThreadPoolExecutor(8)  # all wait at once, whatever the number of cores
        self._begun: list[Future[Any]] = []

    def __enter__(self) -> Examination:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        give_up = time.monotonic() + END_LIMIT
        # Again and again: a thread may be about to start a program that is not to be found yet.
        while not all(future.done() for future in self._begun) and time.monotonic() < give_up:
            end_all()
            time.sleep(0.02)

    def __iter__(self) -> Iterator[Group]:
        for group in self._examine():
            self.groups.append(group)
            yield group

    @property
    def findings(self) -> list[Finding]:
        """All findings so far."""
        return [finding for group in self.groups for finding in group.findings]

    @property
    def failed(self) -> bool:
        """Whether something that the installed parts need has failed."""
        return any(finding.mark == "failure" for finding in self.findings)

    @property
    def abilities(self) -> Abilities:
        """What this machine can do."""
        return judge(self.findings, training=self.training, gpus=self.gpus)

    def _begin(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        future = self._pool.submit(work, *arguments)
        self._begun.append(future)
        return future

    def _examine(self) -> Iterator[Group]:
        def begin(probe: str, *arguments: str, limit: float = self.limit) -> Future[Told]:
            return self._begin(consult, f"{probe}_probe", limit, *arguments)

        parts = installed_parts()
        self.training = TRAINING in parts
        libraries = begin("libraries", *modules(parts))  # it takes longest
        torch = begin("torch") if self.training else None
        nvidia = self._begin(examine_nvidia, self.system, self.limit)
        onnxruntime = begin("onnxruntime")
        bundle = begin("bundle", str(self.model)) if self.model else None
        hub = begin("hub", weights_address(), limit=HUB_LIMIT) if self.online else None

        yield examine_python()
        yield examine_hardware(self.system)
        nvidia_group, driver = _result(nvidia)
        yield nvidia_group
        told = _result(torch) if torch else None
        self.gpus = usable_gpus(told)
        yield examine_torch(told, _result(libraries), driver)
        yield examine_openmp(_result(libraries))
        yield examine_onnxruntime(_result(onnxruntime), driver)
        yield examine_libraries(_result(libraries))
        yield examine_clip(self.training, _result(hub) if hub else None)
        yield examine_bundle(self.model, _result(bundle) if bundle else None)
        if self.gpu_required:
            yield Group("Required", [require_gpu(self.findings, self.gpus)])


def _result(future: Future[T]) -> T:
    """The result of ``future``, awaited so that Ctrl-C ends it.

    A signal that comes just before a wait without a limit would not end that wait.
    """
    while wait([future], timeout=0.2).not_done:
        pass
    return future.result()
