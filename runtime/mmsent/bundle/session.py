"""Open a bundle: its session, its metadata, and whether they match.

**Fork.** A child process of os.fork does not inherit ONNX Runtime's threads. If the child uses or
deletes a session of its parent, it may wait for them forever. So `Bundle.process` records which
process opened a bundle (a child opens it again), and a child never deletes its parent's sessions.
A child that ends with sys.exit instead of os._exit, unlike multiprocessing's, still hangs at exit,
even if it only imported onnxruntime 1.32. "spawn" has none of these problems.
"""

import ctypes
import logging
import os
import re
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import Any
from weakref import WeakSet

import onnxruntime as ort
from tokenizers import Tokenizer

from mmsent.bundle.info import (
    EMBEDDING,
    INFO_KEY,
    INPUTS,
    MAX_FEATURES,
    OUTPUTS,
    TOKENIZER_KEY,
    BundleInfo,
    Device,
)
from mmsent.bundle.seal import SEAL_KEY
from mmsent.bundle.structure import check_structure
from mmsent.errors import InputError, MmsentError
from mmsent.files.shortage import raise_shortage
from mmsent.files.utf8 import utf8_path
from mmsent.inputs.text import read_tokenizer

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bundle:
    """An opened bundle. ``features``: the size of its embeddings; None if it gives none."""

    info: BundleInfo
    tokenizer: Tokenizer
    session: ort.InferenceSession
    seal: str
    features: int | None
    process: int = field(default_factory=os.getpid)

    @property
    def on_gpu(self) -> bool:
        """Whether the session runs on a GPU."""
        return bool(self.session.get_providers()[0] == CUDA)


def open_bundle(source: Path | bytes, *, threads: int, device: Device = "cpu") -> Bundle:
    """Open a bundle, from a file or its bytes, on ``threads`` CPU threads or on a GPU.

    ``device``: "cpu", "cuda", or "auto", which uses CUDA if it works and the bundle is not int8,
    which only CPUs compute.
    Raises InputError if ``source`` is not a bundle that this version reads, or if ``device`` is
    "cuda" and CUDA does not work.
    """
    name = "the bundle" if isinstance(source, bytes) else str(source)
    if isinstance(source, Path) and not source.exists():
        raise InputError(f"{name} does not exist; `mmsent-export onnx` writes a bundle")
    check_structure(source, name)
    if _wants_gpu(device):
        session = _open_on_gpu(source, name, threads, device)
    else:
        session = _open_session(source, name, threads, CPU)
    bundle = _read_metadata(name, session)
    if device == "auto" and bundle.info.precision == "int8" and bundle.on_gpu:
        logger.info("computing on the CPU: the bundle is int8, which is for CPUs")
        return replace(bundle, session=_open_session(source, name, threads, CPU))
    return bundle


def available_providers() -> list[str]:
    """The execution providers of this build of ONNX Runtime."""
    names: list[str] = ort.get_available_providers()
    return names


def _wants_gpu(device: Device) -> bool:
    """Whether to try CUDA. Raises InputError if it is requested and this build lacks it."""
    if device == "cpu" or CUDA in available_providers():
        return device != "cpu"
    if device == "cuda":
        raise InputError(
            "--device cuda: this ONNX Runtime supports only CPUs\n"
            "Install the GPU build: "
            "pip uninstall -y onnxruntime && pip install 'onnxruntime-gpu[cuda,cudnn]'"
        )
    return False


def _open_on_gpu(
    source: Path | bytes, name: str, threads: int, device: Device
) -> ort.InferenceSession:
    """A session on a GPU. If no GPU works, "auto" logs that and uses the CPU.

    Raises InputError if the bundle can't be opened, or if ``device`` is "cuda" and does not work.
    """
    if hasattr(ort, "preload_dlls"):
        with redirect_stdout(StringIO()):  # it prints the missing files
            ort.preload_dlls()  # CUDA and cuDNN from pip's packages
    reason = "ONNX Runtime can't load its CUDA provider"
    try:
        session = _open_session(source, name, threads, CUDA)
        if session.get_providers()[0] == CUDA:
            return session
    except MmsentError as error:
        session = _open_session(source, name, threads, CPU)  # raises if the GPU is not the cause
        found = re.search(r"CUDA (?:failure|error) [^;\n]*\w", str(error.__cause__ or error))
        reason = f"ONNX Runtime finds no working GPU ({found[0] if found else error})"
    reason += "; `mmsent doctor` says why"
    if device == "cuda":
        raise InputError(f"--device cuda: {reason}")
    logger.warning("computing on the CPU: %s", reason)
    return session


def _open_session(
    source: Path | bytes, name: str, threads: int, provider: str
) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only; they are also raised
    # Spinning threads would take the cores that decode images.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # ONNX only. ONNX Runtime also detects its own format by name or content, which check_structure
    # can't read.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # The built-in fallback to the CPU prints. TensorFloat-32 keeps only 10 of float32's 23 bits.
    how: dict[str, Any] = {"providers": [CPU], "enable_fallback": False}
    if provider == CUDA:
        how["providers"].insert(0, (CUDA, {"use_tf32": "0"}))
    try:
        if isinstance(source, bytes):
            session = ort.InferenceSession(source, options, **how)
        else:
            with utf8_path(source) as path:
                session = ort.InferenceSession(str(path), options, **how)
    except Exception as error:  # ONNX Runtime's exceptions have no closer common base class
        raise_shortage(error)
        raise InputError(f"{name} can't be opened as an ONNX model ({error})") from None
    _sessions.add(session)
    return session


_sessions: WeakSet[ort.InferenceSession] = WeakSet()


def _keep_sessions() -> None:
    """In a forked child, leak a reference to the parent's sessions, so that none is deleted."""
    for session in list(_sessions):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))
    _sessions.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_sessions)


def _read_metadata(name: str, session: ort.InferenceSession) -> Bundle:
    try:
        metadata = session.get_modelmeta().custom_metadata_map
        if INFO_KEY not in metadata or TOKENIZER_KEY not in metadata:
            raise InputError(
                f"an ONNX model, but not an mmsent bundle: it lacks the metadata {INFO_KEY} and "
                f"{TOKENIZER_KEY}; `mmsent-export onnx` writes a bundle"
            )
        info = BundleInfo.from_json(metadata[INFO_KEY])
        features = _check_signature(session, info)
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: its names or metadata are not UTF-8 ({error})") from None
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    try:
        tokenizer = read_tokenizer(metadata[TOKENIZER_KEY], max_length=info.max_length)
    except ValueError as error:
        raise InputError(f"{name}: the metadata {TOKENIZER_KEY} is malformed ({error})") from None
    return Bundle(info, tokenizer, session, metadata.get(SEAL_KEY, ""), features)


def _check_signature(session: ort.InferenceSession, info: BundleInfo) -> int | None:
    """The number of the embedding's features, None if there is no such output.

    Raises InputError if the graph's inputs or outputs are not those of a bundle.
    """
    size = info.image.size
    inputs = {value.name: (value.type, value.shape) for value in session.get_inputs()}
    shapes = {value.name: value.shape for value in session.get_outputs()}
    outputs = {value.name: value.type for value in session.get_outputs()}
    widths = [shape[-1] for name, shape in shapes.items() if shape and name != EMBEDDING]
    wanted = (*OUTPUTS, EMBEDDING) if EMBEDDING in outputs else OUTPUTS
    types = {name: f"tensor({'uint8' if name == 'pixels' else 'int64'})" for name in INPUTS}
    if (
        {name: kind for name, (kind, _) in inputs.items()} != types
        or outputs != dict.fromkeys(wanted, "tensor(float)")
        or len(inputs["pixels"][1]) != 4
        or not all(
            isinstance(edge, str) or edge == wanted  # a string: a dynamic size
            for edge, wanted in zip(inputs["pixels"][1][1:], (size, size, 3))
        )
        or any(isinstance(n, int) and n != len(info.labels) for n in widths)
    ):
        raise InputError(
            f"its inputs {inputs} and outputs {outputs} are not those of a bundle with images of "
            f"{size} x {size} pixels and {len(info.labels)} labels"
        )
    if EMBEDDING not in shapes:
        return None
    shape = shapes[EMBEDDING]
    if len(shape) != 2 or not isinstance(shape[1], int) or not 1 <= shape[1] <= MAX_FEATURES:
        raise InputError(f"its output {EMBEDDING} has the shape {shape}, not [batch, features]")
    return shape[1]
