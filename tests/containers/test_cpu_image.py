"""Dockerfile.cpu, unchanged: each command in a new container, on sample data.

No network, no root, no writable file system except the mounted folder, an unknown user id.
"""

import json
import socket
import time

import pandas as pd
import pytest

from tests.containers.engine import ROOT, USER, torch_index
from tests.training.clip_checkpoint import write_checkpoint
from tests.training.weights.hub import Hub

pytestmark = pytest.mark.containers

SERVICES = ("test_without_label.txt", "--probabilities")


@pytest.fixture(scope="module")
def run(engine, cpu_image, work):
    def run(*arguments):
        return engine.run(cpu_image, *arguments, work=work)

    return run


@pytest.fixture(scope="module")
def trained(run, work):
    """A run, its bundle and the bundle's predictions, all made in containers."""
    for arguments in (
        ("train", "--model", "light", "--epochs", 2, "--output", "run"),
        ("export", "onnx", "run"),
        ("infer", *SERVICES),
    ):
        result = run(*arguments)
        assert result.code == 0, result.err
    return work


def test_doctor(run):
    result = run("doctor", "--json")
    assert result.code == 0, result.out + result.err
    report = json.loads(result.out)
    assert report["can"]["train"] == "cpu"
    assert report["can"]["predict"] == "cpu"
    found = {finding["id"]: finding for finding in report["findings"]}
    assert found["nvidia-none"]["fix"] == "docker run --gpus all …"
    assert found["shared-memory-small"]["fix"].startswith("docker run --shm-size 1g")
    # The image sets KMP_DUPLICATE_LIB_OK, but has no second OpenMP runtime that would need it.
    assert found["openmp-duplicates-allowed"]["status"] == "ok"
    warnings = {id for id, finding in found.items() if finding["status"] == "warning"}
    assert warnings <= {"shared-memory-small", "clip-weights-missing", "disk-full", "memory-small"}


def test_doctor_with_a_required_gpu(run):
    result = run("doctor", "--require", "gpu")
    assert result.code == 1
    assert "docker run --gpus all" in result.out


def test_check_data(run):
    result = run("check-data")
    assert result.code == 0, result.err
    assert "nothing is wrong" in result.out


def test_predictions_are_the_same_outside(trained, run_command, tmp_path):
    """The bundle is the one that the container exported."""
    arguments = (trained / "test_without_label.txt", "--model", trained / "model.onnx")
    result = run_command("mmsent-infer", *arguments, "--probabilities", cwd=tmp_path)
    assert result.code == 0, result.err
    inside = pd.read_csv(trained / "submission.csv")
    outside = pd.read_csv(tmp_path / "submission.csv")
    pd.testing.assert_frame_equal(inside, outside, rtol=0, atol=1e-6)
    assert len(inside) == 10


def test_evaluate(trained, run):
    result = run("evaluate", "--split", "all", "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["pairs"] == 80


def test_files_belong_to_the_user(trained, engine, cpu_image):
    """Checked inside, since a rootless engine maps user ids."""
    find = "find run model.onnx submission.csv -type f"
    made = engine.shell(cpu_image, find, trained).splitlines()
    assert {"run/run.json", "model.onnx", "submission.csv"} <= set(made)
    assert engine.shell(cpu_image, f"{find} -user {USER}", trained).splitlines() == made


def test_a_bundle_is_served_without_pytorch(trained, engine, runtime_image, tmp_path):
    result = engine.run(runtime_image, "infer", *SERVICES, "--output", "served.csv", work=trained)
    assert result.code == 0, result.err
    assert (trained / "served.csv").read_bytes() == (trained / "submission.csv").read_bytes()


ASK = """
import json, urllib.request as u
body = json.dumps({"text": "what a day"}).encode()
request = u.Request("http://127.0.0.1:8001/predict", body, {"Content-Type": "application/json"})
print(json.load(u.urlopen(request))["label"])
"""


def test_it_answers_over_http(trained, engine, runtime_image):
    """Requested inside, since it has no network. It is healthy, and exits with 0 on SIGTERM."""
    arguments = engine.run_arguments(trained, "--detach")
    name = engine.tell(*arguments, runtime_image, "serve", "--port", "8001")
    try:
        for _ in range(300):
            health = engine.ask("exec", name, "/opt/mmsent/bin/healthcheck")
            if health.code == 0:
                break
            time.sleep(0.2)
        else:
            pytest.fail(f"it is not ready: {health.err}{engine.ask('logs', name)}")
        assert engine.tell("exec", name, "python", "-c", ASK) in ("negative", "neutral", "positive")
        engine.tell("stop", "--time=60", name)
        assert engine.tell("inspect", "--format={{.State.ExitCode}}", name) == "0"
    finally:
        engine.ask("rm", "--force", name)


def test_contents_of_the_runtime_image(engine, runtime_image, empty):
    site = engine.shell(runtime_image, "ls /opt/mmsent/lib/python3.11/site-packages", empty)
    names = set(site.split())
    assert {"mmsent", "onnxruntime"} <= names
    assert not names & {"torch", "transformers", "pandas", "sklearn", "scipy", "mmsent_training"}
    size, base = (
        int(engine.tell("image", "inspect", "--format", "{{.Size}}", image))
        for image in (runtime_image, "debian:bookworm-slim")
    )
    # Debian's image has 75 MB on the registry, and more if it was built locally.
    assert size - base + 75e6 < 350e6
    result = engine.run(runtime_image, "train", work=empty)
    assert result.code == 2
    assert "mmsent-training" in result.err


@pytest.mark.parametrize("image", ["cpu_image", "runtime_image"])
def test_no_root_no_compiler_no_pip(image, engine, empty, request):
    image = request.getfixturevalue(image)
    tools = "for tool in pip pip3 gcc cc g++ make git curl; do command -v $tool; done; true"
    assert engine.shell(image, tools, empty) == ""
    modules = "python -c 'import importlib.util as u; print(u.find_spec(\"pip\"))'"
    assert engine.shell(image, modules, empty) == "None"
    leftovers = "find / -xdev \\( -path '*cache/pip' -o -name '*.whl' -o -name '*.deb' \\)"
    assert engine.shell(image, f"{leftovers} 2>/dev/null; true", empty) == ""
    settings = json.loads(engine.tell("image", "inspect", image))[0]["Config"]
    assert settings["User"].split(":")[0] not in ("", "0", "root")
    labels = settings["Labels"]
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    version = (ROOT / "runtime" / "pyproject.toml").read_text().split('version = "')[1]
    assert labels["org.opencontainers.image.version"] == version.split('"')[0]


def test_sigterm_ends_it(engine, cpu_image, run_command, empty):
    """128 + 15 is SIGTERM; the engine's SIGKILL, a minute later, would give 137."""
    result = run_command("mmsent", "sample-data", empty, "--pairs", 1000, cwd=empty)
    assert result.code == 0
    arguments = engine.run_arguments(empty, "--detach")
    name = engine.tell(*arguments, cpu_image, "train", "--model", "light", "--epochs", 1000)
    try:
        for _ in range(1500):
            said = engine.ask("logs", name)
            if "training the light model" in said.err + said.out:
                break
            time.sleep(0.2)
        else:
            pytest.fail(f"it does not begin to train: {said}")
        engine.tell("stop", "--time=60", name)
        assert engine.tell("inspect", "--format={{.State.ExitCode}}", name) == "143"
    finally:
        engine.ask("rm", "--force", name)


def test_without_a_mounted_folder(engine, cpu_image, empty):
    for command in (["train", "--model", "light"], ["check-data"], ["infer", "list.txt"]):
        result = engine.run(cpu_image, *command, work=empty)
        assert result.code == 2
        assert "no dataset is mounted" in result.err
        assert 'docker run -v "$PWD:/work"' in result.err
    result = engine.run(cpu_image, "--help", work=empty)
    assert result.code == 0
    assert result.err == ""


# CLIP's weights in the image


def build_with_clip(engine, name, endpoint, tag):
    """Build with CLIP's weights; all layers but the last are shared with the image."""
    options = (f"--build-arg=WITH_CLIP={name}", f"--build-arg=HF_ENDPOINT={endpoint}")
    return engine.ask(
        *engine.build_arguments("Dockerfile.cpu", tag, *options, *torch_index(), "--network=host")
    )


def test_the_build_fails_without_the_weights(engine, cpu_image):
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = f"http://127.0.0.1:{server.getsockname()[1]}"
    result = build_with_clip(engine, "1", closed, "mmsent-clip:none")
    assert result.code != 0
    assert f"{closed} can't be reached" in result.out + result.err


def test_weights_in_the_image_need_no_network(engine, cpu_image, work, tmp_path):
    folder = write_checkpoint(tmp_path / "clip")
    hub = Hub({path.name: path.read_bytes() for path in folder.iterdir()})
    try:
        result = build_with_clip(engine, hub.name, hub.endpoint, "mmsent-clip:test")
    finally:
        hub.close()
    assert result.code == 0, result.err
    try:
        cache = tmp_path / "cache"
        cache.mkdir()
        cache.chmod(0o777)
        arguments = ("train", "--model", "clip", "--clip", hub.name, "--epochs", 1)
        for output, volumes in (("clip", ()), ("clip2", (f"--volume={cache}:/cache/mmsent",))):
            result = engine.run(
                "mmsent-clip:test", *arguments, "--output", output, work=work, options=volumes
            )
            assert result.code == 0, result.err
            weights = json.loads((work / output / "run.json").read_text())["weights"]
            assert weights["name"] == hub.name
        assert list(cache.glob("embeddings-*"))
    finally:
        engine.ask("rmi", "--force", "mmsent-clip:test")
