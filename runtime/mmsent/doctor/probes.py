"""The code of the child processes: each probe tests one library or driver, and reports facts.

A probe does not judge. It reports each step before it begins, as ``doing``. If a library crashes
the process, that step is the last report.
"""

import base64
import importlib
import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

Report = Callable[..., None]
"""Reports its keyword arguments, which are plain values; ``doing`` is the next step."""

Probe = Callable[..., None]
"""A function of this module; its first argument is a `Report`, the others are strings."""

# y = x @ [[1, 0], [0, 1], [1, 1]], as the onnx package writes it; a test rebuilds it.
MODEL = base64.b64decode(
    "CAg6bAoRCgF4CgF3EgF5IgZNYXRNdWwSBmRvY3RvciojCAMIAhABQgF3ShgAAIA/AAAAAAAAAAAAAIA/AACA"
    "PwAAgD9aFAoBeBIPCg0IARIJCgMSAW4KAggDYhQKAXkSDwoNCAESCQoDEgFuCgIIAkIECgAQDQ=="
)
_INPUT = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
_OUTPUT = [[4.0, 5.0], [10.0, 11.0]]
_REMOTE = "AzureExecutionProvider"  # computes on a remote service

# What mmsent uses of libraries that import their modules lazily.
_LAZY = {"transformers": "CLIPModel"}

_OPENMP = re.compile(r"(libiomp5|libomp|libgomp)[^/]*\.(so|dylib)[^/]*")


def run(probe: Probe, *arguments: str) -> None:
    """The child process: run a probe, and write its reports as lines of JSON."""
    # Libraries may print: redirect that to stderr, so that stdout has only the reports.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)

        def report(**facts: Any) -> None:
            print(json.dumps(facts), file=out, flush=True)

        probe(report, *arguments)
        sys.stdout.flush()
        # Some libraries crash at exit, which does no harm.
        os._exit(0)


def probe_libraries(report: Report, *modules: str) -> None:
    """Import ``modules`` in this order into one process, as the commands do.

    After each import, report all errors so far, and the OpenMP runtimes with their modules.
    """
    errors: dict[str, str] = {}
    runtimes: dict[str, str] = {}
    for name in modules:
        report(doing=f"importing {name}", module=name)
        try:
            module = importlib.import_module(name)
            if name in _LAZY:
                getattr(module, _LAZY[name])
        except Exception as error:
            errors[name] = _described(error)
        for path in sorted(_loaded_files()):
            if _OPENMP.fullmatch(Path(path).name):
                runtimes.setdefault(path, name)
        report(openmp=runtimes, errors=errors)


def _loaded_files() -> set[str]:
    """The shared libraries in this process; empty on a system that can't list them."""
    if sys.platform == "linux":
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
        # address perms offset device inode path
        return {line.split(maxsplit=5)[5] for line in lines if "/" in line}
    if sys.platform == "darwin":
        import ctypes

        system = ctypes.CDLL(None)
        system._dyld_get_image_name.restype = ctypes.c_char_p
        names = (system._dyld_get_image_name(i) for i in range(system._dyld_image_count()))
        return {name.decode() for name in names}
    return set()


def probe_nvidia_smi(report: Report, program: str) -> None:
    """Get the GPUs from nvidia-smi, and its table, which is the only source of the CUDA version."""

    def ask(*options: str) -> tuple[int, str]:
        pipe, both = subprocess.PIPE, subprocess.STDOUT
        done = subprocess.run([program, *options], stdout=pipe, stderr=both)
        return done.returncode, done.stdout.decode(errors="replace").strip()

    report(nvidia_smi=program, doing="listing the GPUs")
    fields, layout = "index,name,memory.total,driver_version", "--format=csv,noheader,nounits"
    code, output = ask(f"--query-gpu={fields},compute_cap", layout)
    if code and "not a valid field" in output:  # drivers before 510
        code, output = ask(f"--query-gpu={fields}", layout)
    report(exit_status=code, output=output)
    if code == 0:
        report(table=ask()[1])


def probe_torch(report: Report) -> None:
    """Import torch, list the devices and compute on each."""
    report(doing="importing torch")
    try:
        torch: Any = importlib.import_module("torch")  # of any version, and untyped
    except Exception as error:
        report(import_error=_described(error))
        return
    report(version=torch.__version__, cuda=torch.version.cuda, file=torch.__file__)
    report(hip=getattr(torch.version, "hip", None), doing="computing on the CPU")
    report(cpu=_compute(torch, "cpu"), doing="looking for GPUs")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
        count = torch.cuda.device_count()
    report(available=available, count=count, complaints=[str(one.message) for one in caught])
    if not available:
        if torch.version.cuda:
            try:
                torch.cuda.init()
            except Exception as error:
                report(init_error=str(error))
        return
    report(architectures=torch.cuda.get_arch_list(), cudnn=torch.backends.cudnn.version())
    devices: list[dict[str, Any]] = []
    for index in range(count):
        report(doing=f"computing on GPU {index}")
        properties = torch.cuda.get_device_properties(index)
        major, minor = torch.cuda.get_device_capability(index)
        device = {"name": properties.name, "memory_mib": properties.total_memory >> 20}
        results = _compute(torch, f"cuda:{index}")
        devices.append(device | {"capability": f"{major}.{minor}", "results": results})
        report(devices=devices)


def _compute(torch: Any, device: str) -> dict[str, str]:
    """Multiply matrices and convolve an image in each precision: "right", "wrong" or the error.

    The numbers are small enough for every precision to represent every sum exactly.
    """
    left = (torch.arange(64 * 64) % 3).reshape(64, 64)
    right = (torch.arange(64 * 64) % 2).reshape(64, 64)
    product = left @ right  # integers, on the CPU: at most 64 * 2, exact in bfloat16, too
    image = (torch.arange(3 * 32 * 32) % 3).reshape(1, 3, 32, 32)
    kernel = torch.ones(4, 3, 3, 3)
    sums = torch.nn.functional.conv2d(image.double(), kernel.double())
    results = {}
    for name in ("float32", "bfloat16", "float16"):
        kind = getattr(torch, name)
        try:
            multiplied = left.to(device, kind) @ right.to(device, kind)
            convolved = torch.nn.functional.conv2d(image.to(device, kind), kernel.to(device, kind))
            same = torch.equal(multiplied.cpu().long(), product)
            same = same and torch.equal(convolved.cpu().double(), sums)
            results[name] = "right" if same else "wrong"
        except Exception as error:
            results[name] = _described(error).splitlines()[0]
    return results


def probe_onnxruntime(report: Report) -> None:
    """Import onnxruntime and run the small model on each available provider."""
    report(doing="importing onnxruntime")
    try:
        import numpy as np
        import onnxruntime as ort
    except Exception as error:
        report(import_error=_described(error))
        return
    providers = ort.get_available_providers()
    report(version=ort.__version__, providers=providers, file=ort.__file__)
    if cuda := getattr(ort, "cuda_version", ""):
        report(cuda=cuda, doing="loading CUDA and cuDNN")
        ort.preload_dlls()
    results: dict[str, str] = {}
    for provider in providers:
        if provider == _REMOTE:
            continue
        report(doing=f"computing with {provider}")
        try:
            # The built-in fallback would print the reason and hide it from this probe.
            session = ort.InferenceSession(MODEL, providers=[provider], enable_fallback=False)
            if provider not in session.get_providers():
                results[provider] = "not loaded"  # stderr says why; the CPU computes instead
            else:
                (output,) = session.run(None, {"x": np.asarray(_INPUT, np.float32)})
                results[provider] = "right" if output.tolist() == _OUTPUT else "wrong"
        except Exception as error:
            cause = re.search(r"CUDA failure [^;\n]*\w", str(error))
            results[provider] = cause[0] if cause else _described(error)
        report(results=results)


def probe_bundle(report: Report, path: str) -> None:
    """Open the bundle at ``path`` and predict a pair, alone and in a batch with another one."""
    report(doing="importing mmsent")
    import numpy as np

    from mmsent.bundle.seal import is_whole
    from mmsent.errors import InputError
    from mmsent.inputs.image import load_image
    from mmsent.predict.model import SentimentModel

    report(doing="opening the bundle")
    try:
        model = SentimentModel(path)
    except InputError as error:
        report(error=str(error))
        return
    info, labels = model.info, list(model.labels)
    report(model=info.model, precision=info.precision, labels=labels, provenance=info.provenance)
    report(doing="reading the whole bundle")
    report(whole=is_whole(Path(path)), doing="predicting")
    ramp = np.arange(96, dtype=np.uint8).reshape(8, 12, 1).repeat(3, axis=2)
    texts = ["what a day", "a much longer text, which pads the other one"]
    try:
        ids = model.tokenize(texts)
        pixels = np.stack([load_image(image, info.image) for image in (ramp, ramp[::-1])])
        _, alone = model.run(ids[:1], pixels[:1])
        _, together = model.run(ids, pixels)
    except Exception as error:  # a damaged graph can raise anything
        report(error=f"it can't predict ({_described(error)})")
        return
    probabilities = alone[0].tolist()
    report(label=labels[int(alone[0].argmax())], probabilities=probabilities)
    report(batched=together[0].tolist())


def probe_hub(report: Report, address: str) -> None:
    """Request the headers of a file at ``address``: any status shows that a server answers."""
    import urllib.error
    import urllib.request

    report(doing="asking the hub")
    for method in ("HEAD", "GET"):
        try:
            request = urllib.request.Request(address, method=method)
            with urllib.request.urlopen(request) as response:
                status = response.status
        except urllib.error.HTTPError as error:
            status = error.code
        except (OSError, ValueError) as error:  # no route, no name, no certificate, no URL
            report(error=str(getattr(error, "reason", error)))
            return
        if status not in (405, 501):  # a mirror may not answer HEAD
            break
    report(status=status)


def _described(error: BaseException) -> str:
    """An exception as text."""
    return f"{type(error).__name__}: {error}"
