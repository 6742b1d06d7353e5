"""A bundle of a few kilobytes, for tests that need many predictions or a bundle to modify."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from mmsent.bundle.info import EMBEDDING, INFO_KEY, TOKENIZER_KEY, BundleInfo
from mmsent.bundle.seal import SEAL_KEY, UNSEALED, seal
from mmsent.data.pair import Part
from mmsent.inputs.image import ImageSettings

SIZE = 8
LABELS = ("negative", "neutral", "positive")


def small_model(*, optional: tuple[Part, ...] = (), embeddings: bool = False) -> onnx.ModelProto:
    """Logits from an image's brightness and the sum of a text's ids; see BundleInfo.optional.

    ``embeddings``: also output these two as the embedding.
    """
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["brightness"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["input_ids", "attention_mask"], ["ids"]),
        helper.make_node("Cast", ["ids"], ["float_ids"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["float_ids", "second"], ["words"], keepdims=0),
        helper.make_node("Unsqueeze", ["brightness", "second"], ["left"]),
        helper.make_node("Unsqueeze", ["words", "second"], ["right"]),
        helper.make_node("Concat", ["left", "right"], ["features"], axis=1),
        helper.make_node("MatMul", ["features", "weight"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    weight = np.array([[-0.02, 0.0, 0.02], [0.3, -0.2, -0.5]], np.float32)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "small",
        [
            value("input_ids", TensorProto.INT64, ["batch", "tokens"]),
            value("attention_mask", TensorProto.INT64, ["batch", "tokens"]),
            value("pixels", TensorProto.UINT8, ["batch", SIZE, SIZE, 3]),
        ],
        [value(name, TensorProto.FLOAT, ["batch", 3]) for name in ("logits", "probabilities")],
        [
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(np.ones(1, np.int64), "second"),
        ],
    )
    if embeddings:
        graph.node.append(helper.make_node("Identity", ["features"], [EMBEDDING]))
        graph.output.append(value(EMBEDDING, TensorProto.FLOAT, ["batch", 2]))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "fun": 1, "rain": 2, "a": 3}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_truncation(SIZE)
    image = ImageSettings(size=SIZE)
    info = BundleInfo("light", LABELS, image, max_length=SIZE, optional=optional)
    metadata = {
        INFO_KEY: info.to_json(), TOKENIZER_KEY: tokenizer.to_str(), SEAL_KEY: UNSEALED
    }  # fmt: skip
    helper.set_model_props(model, metadata)
    return model


def write_small_bundle(
    path: Path, *, optional: tuple[Part, ...] = (), embeddings: bool = False
) -> Path:
    onnx.save(small_model(optional=optional, embeddings=embeddings), str(path))
    seal(path)
    return path
