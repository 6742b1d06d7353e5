"""The Dockerfiles and the lock files, without a build."""

import importlib.util
import re
import runpy
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import tomllib
from packaging.requirements import Requirement

from tests.containers.engine import ROOT

DOCKER = ROOT / "docker"
FILES = ("Dockerfile.cpu", "Dockerfile.cuda")
CUDA = ("cuda-12.1", "cuda-12.8")
LOCKS = ("build", "runtime", "training", *CUDA)
# Libraries whose versions in the CUDA images differ from those that the tests use.
BUILT_FOR_CUDA = re.compile(r"torch|torchvision|triton|onnxruntime-gpu|cuda-.+|nvidia-.+")


def read(file):
    return (ROOT / file).read_text(encoding="utf-8")


def pins(file, machine="x86_64"):
    """The versions of a lock on Python 3.11 on Linux, by name."""
    lines = re.findall(r"^[a-z0-9][^\n]*==[^\n]*", read(file), re.MULTILINE)
    requirements = [Requirement(line.split("--hash")[0].rstrip(" \\")) for line in lines]
    here = {"python_full_version": "3.11.2", "python_version": "3.11", "sys_platform": "linux"}
    here["platform_machine"] = machine
    return {
        each.name: str(each.specifier).removeprefix("==")
        for each in requirements
        if each.marker is None or each.marker.evaluate(here)
    }


def test_dockerfiles_differ_only_in_torch_and_gpus():
    heads, bodies = zip(*(read(file).split("\n\n", 1) for file in FILES))
    lines = zip(*(body.splitlines() for body in bodies), strict=True)
    assert [pair for pair in lines if pair[0] != pair[1]] == [
        ("ENV NVIDIA_VISIBLE_DEVICES=void", "ENV NVIDIA_VISIBLE_DEVICES=all")
    ]
    for head in heads:
        rest = [line for line in head.splitlines() if not line.startswith("#")]
        names = [line.split("=")[0].removeprefix("ARG ") for line in rest]
        assert [name for name in names if name != "CUDA"] == ["BASE", "LOCK", "TORCH_INDEX_URL"]


@pytest.mark.parametrize(
    ("process", "command"),
    [
        ("tini -s -- /opt/mmsent/bin/entrypoint serve --port 8001", "serve"),
        ("tini -s -- /opt/mmsent/bin/entrypoint predict --text serve", "predict"),
        ("/opt/mmsent/bin/python /opt/mmsent/bin/mmsent serve", "serve"),
        ("tini -s -- /opt/mmsent/bin/entrypoint", ""),
        ("sh -c mmsent-serve", ""),
    ],
)
def test_the_health_check_finds_the_command(process, command):
    """As /proc/1/cmdline has it, with a zero byte after every word."""
    check = runpy.run_path(str(DOCKER / "healthcheck"))
    assert check["command"]([*process.split(), ""]) == command


def test_the_health_check_uses_no_proxy(index, monkeypatch):
    """Docker sets its configuration's proxies in every container."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    index.pages["/readyz"] = "ready"
    port = index.server_port
    command = f"/opt/mmsent/bin/python\0/opt/mmsent/bin/mmsent\0serve\0--port\0{port}\0"
    monkeypatch.setattr(Path, "read_text", lambda _: command)
    runpy.run_path(str(DOCKER / "healthcheck"))["main"]()


@pytest.mark.parametrize("file", FILES)
def test_hadolint_finds_nothing(file):
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([program, ROOT / file], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_library_is_pinned_by_hash(lock):
    entries = re.split(r"^(?=\S)", read(f"docker/{lock}.lock"), flags=re.MULTILINE)[1:]
    assert entries
    for entry in entries:
        assert re.match(r"[a-z0-9-]+==\S+", entry), entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry), entry


@pytest.mark.parametrize("file", [*LOCKS, "torch-cpu", "../requirements"])
def test_a_lock_names_no_index(file):
    """The images' build arguments choose the index, not the machine that made the lock."""
    assert "://" not in read(f"docker/{file}.lock")
    assert "--index" not in read(f"docker/{file}.lock")


def test_images_have_the_versions_that_the_tests_use():
    tested = pins("requirements.lock")
    for lock in ("runtime", "training"):
        for name, version in pins(f"docker/{lock}.lock").items():
            assert version == tested[name], f"{name}: make lock"
    for name, version in pins("docker/torch-cpu.lock").items():
        assert version.removesuffix("+cpu") == tested[name], f"{name}: make lock"
    assert pins("docker/cuda-12.1.lock")["torch"] == tested["torch"]
    for lock in CUDA:
        for name, version in pins(f"docker/{lock}.lock").items():
            assert version == tested.get(name) or BUILT_FOR_CUDA.fullmatch(name), (
                f"{name}: make lock"
            )


@pytest.mark.parametrize("lock", CUDA)
def test_pytorch_and_onnx_runtime_share_one_cuda(lock):
    """ONNX Runtime 1.26 computes with the CUDA 12 and cuDNN 9 that torch brings; 1.27 needs 13."""
    locked = pins(f"docker/{lock}.lock")
    assert "onnxruntime" not in locked  # it would overwrite the module of onnxruntime-gpu
    assert locked["onnxruntime-gpu"] == "1.26.0"
    assert locked["nvidia-cuda-runtime-cu12"].startswith(lock.removeprefix("cuda-"))
    assert locked["nvidia-cudnn-cu12"].startswith("9.")
    assert not [name for name in locked if name.endswith("-cu13")]
    on_arm = pins(f"docker/{lock}.lock", machine="aarch64")  # it has no build there
    assert "onnxruntime" in on_arm
    assert "onnxruntime-gpu" not in on_arm


@pytest.mark.parametrize("lock", ["runtime", "training", *CUDA])
def test_a_lock_has_everything_the_packages_require(lock):
    locked = pins(f"docker/{lock}.lock")
    locked["onnxruntime"] = locked.get("onnxruntime") or locked["onnxruntime-gpu"]
    source = "training" if lock in CUDA else lock
    parts = re.findall(r"^\./([a-z]+)(?:\[(.*)\])?$", read(f"docker/{source}.in"), re.MULTILINE)
    assert parts
    for part, extras in parts:
        project = tomllib.loads(read(f"{part}/pyproject.toml"))["project"]
        required = list(project["dependencies"])
        for extra in filter(None, extras.split(",")):
            required += project["optional-dependencies"][extra]
        for requirement in map(Requirement, required):
            if not requirement.name.startswith("mmsent"):
                assert requirement.specifier.contains(locked[requirement.name]), "make lock"


def test_the_runtime_needs_no_pytorch():
    heavy = {"torch", "torchvision", "transformers", "pandas", "scikit-learn", "scipy", "triton"}
    names = set(pins("docker/runtime.lock"))
    assert not names & heavy
    assert not any(name.startswith("nvidia") for name in names)
    assert heavy <= set(pins("docker/training.lock"))


def test_the_image_label_has_the_version():
    version = tomllib.loads(read("runtime/pyproject.toml"))["project"]["version"]
    labels = re.findall(r'image\.version="(.*)"', read("Dockerfile.cpu"))
    assert labels == [version, version]


# The lock of PyTorch's own index

MACHINES = {
    "torch": ("manylinux_2_17_aarch64.manylinux2014_aarch64", "linux_x86_64"),
    "torchvision": ("linux_aarch64", "linux_x86_64"),
}
VERSIONS = {"torch": "2.4.1", "torchvision": "0.19.1"}


def page(name, *, hashed=True):
    """PyTorch's index page of a library, also with older builds, other Pythons and systems."""
    links = []
    for version in ("1.0.0", VERSIONS[name]):
        for python in ("cp310", "cp311", "cp312"):
            for number, machine in enumerate((*MACHINES[name], "win_amd64")):
                local = "" if "aarch64" in machine else "%2Bcpu"
                digest = f"#sha256={python[2:]}{number}".ljust(72, "0") if hashed else ""
                wheel = f"{name}-{version}{local}-{python}-{python}-{machine}.whl"
                links.append(f'<a href="/whl/cpu/{wheel}{digest}">{wheel}</a><br/>')
    return "\n".join(links)


@pytest.fixture
def lock_torch():
    specification = importlib.util.spec_from_file_location("lock", DOCKER / "lock_torch_cpu.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.main


@pytest.fixture
def index():
    """A server of the pages in its dictionary ``pages``, at ``url``."""
    pages = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            content = pages.get(self.path)
            self.send_response(200 if content else 404)
            self.end_headers()
            self.wfile.write((content or "").encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    server.pages, server.url = pages, f"http://127.0.0.1:{server.server_port}/whl/cpu"
    yield server
    server.shutdown()
    server.server_close()


def test_cpu_builds_are_locked_from_their_index(lock_torch, index, tmp_path):
    index.pages["/whl/cpu/torch/"] = page("torch")
    index.pages["/whl/cpu/torchvision/"] = page("torchvision", hashed=False)
    output = tmp_path / "torch-cpu.lock"
    lock_torch(index.url, ROOT / "requirements.lock", output)
    assert output.read_text().splitlines()[1:] == [
        f'torch==2.4.1+cpu ; platform_machine == "x86_64" --hash=sha256:{"3111".ljust(64, "0")}',
        f'torch==2.4.1 ; platform_machine == "aarch64" --hash=sha256:{"3110".ljust(64, "0")}',
        'torchvision==0.19.1+cpu ; platform_machine == "x86_64"',
        'torchvision==0.19.1 ; platform_machine == "aarch64"',
    ]


def test_without_the_index_the_lock_is_kept_or_refused(lock_torch, index, tmp_path, capsys):
    output = tmp_path / "torch-cpu.lock"
    output.write_text(read("docker/torch-cpu.lock"))
    lock_torch(index.url, ROOT / "requirements.lock", output)
    assert "stays unchanged" in capsys.readouterr().err
    assert output.read_text() == read("docker/torch-cpu.lock")
    other = tmp_path / "requirements.lock"
    other.write_text("torch==2.5.0\ntorchvision==0.20.0\n")
    with pytest.raises(SystemExit, match="has other versions"):
        lock_torch(index.url, other, output)


def test_a_version_that_the_index_lacks_is_named(lock_torch, index, tmp_path):
    index.pages["/whl/cpu/torch/"] = "nothing"
    with pytest.raises(SystemExit, match=r"torch 2\.4\.1 has no wheel for Python 3\.11 on x86_64"):
        lock_torch(index.url, ROOT / "requirements.lock", tmp_path / "torch-cpu.lock")
