"""`mmsent-export onnx --embeddings`: the features that PyTorch's classifier reads, in a bundle."""

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from mmsent import InputError, SentimentModel
from mmsent.bundle.info import EMBEDDING, OUTPUTS
from mmsent.data.dataset import open_dataset
from mmsent.data.folder import TEST_LIST
from mmsent.errors import MmsentError
from mmsent.inputs.text import pad_ids
from mmsent_export import export as exporting
from mmsent_export.fp16 import to_fp16
from mmsent_export.graph import to_onnx
from mmsent_export.quantize import calibrate, to_int8
from mmsent_export.simplify import simplify
from mmsent_training.models import clip, compact
from mmsent_training.models.light import LightModel
from mmsent_training.runs.run import read_run

from ..command import Command
from ..training.clip_checkpoint import write_checkpoint
from ..training.tasks import clip_task, make_task

VOCABULARY = 300
Network = tuple[nn.Module, nn.Module, int]
"""A network, its classifier, which reads the fused features, and the size of its images."""


def light(modality: str, folder: Path, patch: pytest.MonkeyPatch) -> Network:
    model = LightModel(VOCABULARY, 3, modality, 24, ngrams=101, dropout=0.5, image_dropout=0.5)
    return model, model.head, 40


def compact_stand_in(modality: str, folder: Path, patch: pytest.MonkeyPatch) -> Network:
    """MiniLM's architecture, narrower, and EfficientNet's, with random weights."""
    inputs = compact.read_inputs(task := make_task("compact", compact.find_weights({})))
    description, _ = compact.create(task, inputs, [])
    narrow = {"vocab_size": VOCABULARY, "hidden_size": 48, "intermediate_size": 64}
    own = {"text": description["text"] | narrow, "modality": modality}
    model = compact.build(**description | own)
    return model, model.head.classifier, 32


def clip_stand_in(modality: str, folder: Path, patch: pytest.MonkeyPatch) -> Network:
    task = clip_task(write_checkpoint(folder / "checkpoint"), modality=modality)
    _, model = clip.create(task, clip.read_inputs(task), [])
    return model, model.head, 32


@pytest.fixture(
    scope="module",
    params=[
        (light, "both"), (compact_stand_in, "text"), (clip_stand_in, "both"),
        *(
            pytest.param(network, marks=pytest.mark.slow)
            for network in [
                (light, "text"), (light, "image"), (compact_stand_in, "both"),
                (clip_stand_in, "image"),
            ]
        ),
    ],
    ids=lambda param: f"{param[0].__name__}-{param[1]}",
)  # fmt: skip
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Network:
    build, modality = request.param
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        model, classifier, size = build(modality, tmp_path_factory.mktemp("clip"), patch)
    for module in model.modules():  # so that its effect is visible
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
    return model.eval(), classifier, size


@pytest.fixture(scope="module")
def graph(network: Network) -> onnx.ModelProto:
    model, _, size = network
    return simplify(to_onnx(model, image_size=size, embeddings=True))


def feed(size: int, lengths: list[int], seed: int = 0) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    ids, mask = pad_ids([generator.integers(1, 200, length).tolist() for length in lengths])
    pixels = generator.integers(0, 256, (len(lengths), size, size, 3), dtype=np.uint8)
    return {"input_ids": ids, "attention_mask": mask, "pixels": pixels}


def read_by_classifier(network: Network, inputs: dict[str, Any]) -> np.ndarray:
    """The input of PyTorch's classifier."""
    model, classifier, _ = network
    found = []
    hook = classifier.register_forward_pre_hook(lambda module, given: found.append(given[0]))
    with torch.no_grad():
        model(*map(torch.from_numpy, inputs.values()))
    hook.remove()
    return found[0].numpy()


def embed(graph: onnx.ModelProto, inputs: dict[str, Any]) -> np.ndarray:
    (found,) = ort.InferenceSession(graph.SerializeToString()).run([EMBEDDING], inputs)
    return found


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """The largest distance between two rows, relative to the length of the second."""
    return (np.linalg.norm(one - other, axis=1) / np.linalg.norm(other, axis=1)).max()


def test_the_output_is_what_the_classifier_reads(network: Network, graph: onnx.ModelProto) -> None:
    inputs = feed(network[2], [1, 9, 4])
    wanted, found = read_by_classifier(network, inputs), embed(graph, inputs)
    assert found.dtype == np.float32
    assert distance(found, wanted) < 1e-5
    names = [(value.name, value.type, value.shape) for value in
             ort.InferenceSession(graph.SerializeToString()).get_outputs()]  # fmt: skip
    assert [name for name, _, _ in names] == [*OUTPUTS, EMBEDDING]
    assert names[2][1:] == ("tensor(float)", ["batch", wanted.shape[1]])


def test_embeddings_in_fp16_and_int8(network: Network, graph: onnx.ModelProto) -> None:
    inputs = feed(network[2], [1, 9, 4], seed=1)
    wanted = read_by_classifier(network, inputs)
    ranges = calibrate(graph, [feed(network[2], [length], length) for length in (3, 5, 9, 12)])
    assert distance(embed(to_fp16(graph), inputs), wanted) < 1e-2
    assert distance(embed(to_int8(graph, ranges), inputs), wanted) < 0.2


def test_the_other_outputs_do_not_change(network: Network, graph: onnx.ModelProto) -> None:
    model, _, size = network
    inputs = feed(size, [7, 1, 3], seed=2)
    plain = simplify(to_onnx(model, image_size=size))
    assert [output.name for output in plain.graph.output] == [*OUTPUTS]
    runs = [ort.InferenceSession(item.SerializeToString()).run(OUTPUTS, inputs)
            for item in (plain, graph)]  # fmt: skip
    for one, other in zip(*runs):
        np.testing.assert_allclose(one, other, atol=1e-6)
        assert (one.argmax(1) == other.argmax(1)).all()


@pytest.fixture(scope="module")
def embedding_bundle(run_command: Command, trained: Path, tmp_path_factory: Any) -> Path:
    folder = tmp_path_factory.mktemp("embeddings")
    done = run_command("mmsent-export", "onnx", trained, "--embeddings", cwd=folder)
    assert done.code == 0, done.err
    assert "embeddings, largest relative distance" in done.err
    return folder / "model.onnx"


def test_predictions_are_identical_with_and_without(
    run_command: Command, sample: Path, bundle: Path, embedding_bundle: Path, tmp_path: Path
) -> None:
    outputs = [tmp_path / "without.csv", tmp_path / "with.csv"]
    for model, output in zip((bundle, embedding_bundle), outputs):
        done = run_command(
            "mmsent-infer", sample, "--split", "all", "--model", model, "--output", output,
            cwd=tmp_path,
        )  # fmt: skip
        assert done.code == 0, done.err
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_the_verification_is_in_the_bundle(bundle: Path, embedding_bundle: Path) -> None:
    verification = SentimentModel(embedding_bundle).info.verification["embeddings"]
    assert 0 <= verification["pytorch"] < 1e-4
    assert 0 <= verification["alone"] < 1e-5
    assert SentimentModel(bundle).info.verification["embeddings"] is None


def test_embed_returns_pytorchs_features(
    trained: Path, sample: Path, embedding_bundle: Path
) -> None:
    run = read_run(trained)
    model = run.load_model()
    network = model, model.model.head, 0
    served = SentimentModel(embedding_bundle)
    pairs = list(open_dataset(sample / TEST_LIST).rows())
    texts, images = [pair.read_text() for pair in pairs], [pair.read("image") for pair in pairs]
    found = served.embed(texts, images)
    assert found.shape == (len(pairs), 512)
    for row, text, pair in zip(found, texts, pairs):
        ids, mask = pad_ids([run.tokenizer.encode(text).ids])
        pixels = np.array(pair.load_image(run.record.image)[None])
        inputs = {"input_ids": ids, "attention_mask": mask, "pixels": pixels}
        assert distance(row[None], read_by_classifier(network, inputs)) < 1e-5


def test_a_missing_image_has_no_features(embedding_bundle: Path) -> None:
    """Light accepts pairs without an image; the image half of the embedding is then 0."""
    served = SentimentModel(embedding_bundle)
    (found,) = served.embed("so happy")
    assert found[:256].any()
    assert not found[256:].any()
    with pytest.raises(InputError, match="has no text"):
        served.embed(image=np.zeros((9, 9, 3), np.uint8))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.text("abc !happysad", max_size=60), min_size=1, max_size=9),
    threads=st.sampled_from([1, 2]),
)
def test_an_embedding_depends_on_its_pair_alone(
    embedding_bundle: Path, texts: list[str], threads: int
) -> None:
    served = SentimentModel(embedding_bundle, threads=threads)
    generator = np.random.default_rng(len(texts))
    images = [generator.integers(0, 256, (30, 40, 3), np.uint8) for _ in texts]
    together = served.embed(texts, images)
    alone = np.concatenate([served.embed(*pair) for pair in zip(texts, images)])
    assert distance(together, alone) < 1e-5


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_smaller_bundles_have_embeddings_too(
    run_command: Command, trained: Path, embedding_bundle: Path, tmp_path: Path, precision: str
) -> None:
    done = run_command(
        "mmsent-export", "onnx", trained, "--embeddings", "--precision", precision,
        "--accept-loss", 100, cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.err
    pair = "so happy", np.full((9, 9, 3), 40, np.uint8)
    served = SentimentModel(tmp_path / "model.onnx")
    assert distance(served.embed(*pair), SentimentModel(embedding_bundle).embed(*pair)) < 0.1


def scaled(model: nn.Module, **options: Any) -> onnx.ModelProto:
    """A graph whose embedding is too long by one thousandth."""
    graph = to_onnx(model, **options)
    (maker,) = (node for node in graph.graph.node if EMBEDDING in node.output)
    place = [*graph.graph.node].index(maker)
    for node in graph.graph.node:
        node.input[:] = ["real" if name == EMBEDDING else name for name in node.input]
    maker.output[:] = ["real" if name == EMBEDDING else name for name in maker.output]
    factor = onnx.numpy_helper.from_array(np.float32([1.001]), "factor")
    graph.graph.initializer.append(factor)
    graph.graph.node.insert(
        place + 1, onnx.helper.make_node("Mul", ["real", "factor"], [EMBEDDING])
    )
    return graph


def test_an_embedding_that_differs_from_pytorchs_is_refused(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "to_onnx", scaled)
    with pytest.raises(MmsentError, match="does not agree with PyTorch"):
        exporting.export_run(trained, tmp_path / "model.onnx", embeddings=True)
    assert [*tmp_path.iterdir()] == []


def test_a_model_that_marks_no_features_is_refused(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    load = type(read_run(run)).load_model

    def unmarked(self: Any) -> nn.Module:
        model = copy.deepcopy(load(self))
        model.model.fused = nn.Identity()
        return model

    monkeypatch.setattr(type(read_run(run)), "load_model", unmarked)
    with pytest.raises(InputError, match="has no embeddings"):
        exporting.export_run(run, tmp_path / "model.onnx", embeddings=True)
    assert not (tmp_path / "model.onnx").exists()
