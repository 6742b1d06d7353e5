"""Bundles whose graph reads other files, never ends, or has the wrong inputs and outputs."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from .cases import infer, refused, spoil_bundle


def external(tensor, location):
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location


def external_weight(location):
    return lambda model: external(model.graph.initializer[0], location)


def external_constant(model):
    node = helper.make_node("Constant", [], ["c"], value=model.graph.initializer[0])
    external(node.attribute[0].t, "/etc/passwd")
    model.graph.node.append(node)


def external_in_a_branch(model):
    node = helper.make_node("Constant", [], ["c"], value=model.graph.initializer[0])
    external(node.attribute[0].t, "../secret")
    branch = helper.make_graph([node], "g", [], [])
    model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=branch))


def external_sparse(model):
    sparse = model.graph.sparse_initializer.add()
    external(sparse.values, "secret")


def long_tag(field, wire):
    """The tag of a field, with a bit above the 32 that ONNX Runtime reads."""
    tag, content = (1 << 33) | field << 3 | wire, b""
    while tag > 0x7F:
        content, tag = content + bytes([tag & 0x7F | 0x80]), tag >> 7
    return content + bytes([tag])


def external_behind_a_long_tag(model):
    weight = model.graph.initializer.pop(0)
    external(weight, "secret")
    (entry,) = [each.SerializeToString() for each in weight.external_data]
    weight.ClearField("external_data")
    weight.ClearField("data_location")
    content = weight.SerializeToString() + long_tag(13, 2) + bytes([len(entry)]) + entry
    return with_part(model, b"\x2a", content + long_tag(14, 0) + b"\x01")


def loop_behind_a_long_tag(model):
    return with_part(model, b"\x0a", long_tag(4, 2) + b"\x04Loop")


def with_part(model, tag, content):
    """The model with one more message in its graph."""
    graph = model.graph.SerializeToString() + tag + length_of(content) + content
    model.ClearField("graph")
    return model.SerializeToString() + b"\x3a" + length_of(graph) + graph


def length_of(content):
    return bytes([len(content) & 0x7F | 0x80, len(content) >> 7 & 0x7F | 0x80, len(content) >> 14])


def operator(name, domain=""):
    def change(model):
        model.graph.node.append(helper.make_node(name, ["logits"], ["more"], domain=domain))
        if domain:
            model.opset_import.append(helper.make_opsetid(domain, 1))

    return change


def loop(name):
    def change(model):
        body = helper.make_graph([], "body", [], [])
        model.graph.node.append(helper.make_node(name, ["logits"], ["more"], body=body))

    return change


def function(model):
    model.functions.add().name = "f"


def training_info(model):
    model.training_info.add()


def no_graph(model):
    model.ClearField("graph")


def renamed_input(model):
    model.graph.input[0].name = "other"


def without(field):
    return lambda model: model.graph.ClearField(field)


def float_pixels(model):
    model.graph.input[2].type.tensor_type.elem_type = TensorProto.FLOAT


def embedding(shape, kind=TensorProto.FLOAT, source="logits"):
    def change(model):
        model.graph.node.append(helper.make_node("Cast", [source], ["embedding"], to=kind))
        model.graph.output.append(helper.make_tensor_value_info("embedding", kind, shape))

    return change


def larger_pixels(model):
    model.graph.input[2].type.tensor_type.shape.dim[1].dim_value = 9


def deep(model):
    graph = helper.make_graph([helper.make_node("Identity", ["location"], ["b"])], "g", [], [])
    for _ in range(25):
        graph = helper.make_graph(
            [helper.make_node("If", ["x"], ["y"], then_branch=graph)], "g", [], []
        )
    model.graph.node.append(graph.node[0])


def no_numbers(model):
    weight = np.full((2, 3), np.nan, np.float32)
    model.graph.initializer[0].raw_data = weight.tobytes()


def too_small_weight(model):
    model.graph.initializer[0].raw_data = b"\x00"


def one_answer_for_all(model):
    model.graph.node[-1].input[0] = "mean"
    model.graph.node.insert(
        len(model.graph.node) - 1,
        helper.make_node("ReduceMean", ["logits"], ["mean"], axes=[0], keepdims=1),
    )


def unknown_opset(model):
    model.opset_import[0].version = 9999


def unknown_ir(model):
    model.ir_version = 9999


def much_metadata(model):
    entry = model.metadata_props.add()
    entry.key, entry.value = "a", "x" * (1 << 26)


def million_fields(model):
    model.graph.initializer[0].ClearField("raw_data")
    model.graph.doc_string = ""
    data = model.SerializeToString()
    return data + b"\x08\x08" * 1_000_001


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *((external_weight(location), "tensors in other files") for location in
          ("/etc/passwd", "../secret", "secret", "data/1.jpg", "", "C:\\secret", "//host/share")),
        (external_constant, "tensors in other files"),
        (external_in_a_branch, "tensors in other files"),
        (external_sparse, "tensors in other files"),
        (external_behind_a_long_tag, "it is not a protobuf message"),
        (loop_behind_a_long_tag, "it is not a protobuf message"),
        (loop("Loop"), "the operator Loop"),
        (loop("Scan"), "the operator Scan"),
        (function, "which no bundle has"),
        (training_info, "which no bundle has"),
        (operator("Evil"), "can't be opened as an ONNX model"),
        (operator("Evil", "com.evil"), "can't be opened as an ONNX model"),
        (operator("PyOp", "pyopmulti"), "can't be opened as an ONNX model"),
        (operator("Gelu", "com.other"), "can't be opened as an ONNX model"),
        (no_graph, "model.onnx"),
        (renamed_input, "model.onnx"),
        (without("input"), "model.onnx"),
        (without("output"), "model.onnx"),
        (without("node"), "model.onnx"),
        (without("initializer"), "model.onnx"),
        (embedding(["batch", "tokens"], source="input_ids"), "its output embedding has the shape"),
        (embedding(["batch"], source="brightness"), "its output embedding has the shape"),
        (embedding(["batch", 3], TensorProto.DOUBLE), "are not those of a bundle"),
        (float_pixels, "model.onnx"),
        (larger_pixels, "are not those of a bundle"),
        (deep, "nested too deeply"),
        (no_numbers, "NaN"),
        (too_small_weight, "model.onnx"),
        (one_answer_for_all, "the bundle returns"),
        (unknown_opset, "can't be opened as an ONNX model"),
        (unknown_ir, "can't be opened as an ONNX model"),
        (much_metadata, "bytes of metadata"),
        pytest.param(million_fields, "more than 1000000 fields", marks=pytest.mark.slow),
    ],
    ids=range(39),
)  # fmt: skip
def test_bad_graph(run_command, dataset, change, message):
    (dataset / "secret").write_bytes(np.ones((2, 3), np.float32).tobytes())
    spoil_bundle(dataset, change)
    refused(run_command, dataset, message)


def test_names_reach_no_terminal(run_command, dataset):
    """ONNX Runtime's messages contain names as they are, here one that colours the terminal."""
    spoil_bundle(dataset, operator("Ev\x1b[31mil"))
    refused(run_command, dataset, "Ev\\x1b[31mil")


def test_a_name_of_megabytes_is_cut_off(run_command, dataset):
    spoil_bundle(dataset, operator("Ev" * 1_000_000))
    result = infer(run_command, dataset)
    assert result.code == 2
    assert "EvEvEv" in result.err
    assert len(result.err) < 100_000
