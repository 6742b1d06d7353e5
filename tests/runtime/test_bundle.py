"""Opening files that are not bundles, or not of this version."""

import io
import json

import onnx
import pytest

from mmsent import InputError, SentimentModel


def edited(bundle, tmp_path, **metadata):
    """A copy of the bundle with other metadata; None removes an entry."""
    graph = onnx.load(bundle)
    kept = {entry.key: entry.value for entry in graph.metadata_props} | metadata
    del graph.metadata_props[:]
    onnx.helper.set_model_props(graph, {k: v for k, v in kept.items() if v is not None})
    onnx.save(graph, tmp_path / "edited.onnx")
    return tmp_path / "edited.onnx"


def refused(path) -> str:
    with pytest.raises(InputError) as error:
        SentimentModel(path)
    assert str(path) in str(error.value)
    return str(error.value)


def test_a_missing_file(tmp_path):
    assert "does not exist; `mmsent-export onnx` writes" in refused(tmp_path / "none.onnx")


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x07" * 99])
def test_a_file_that_is_not_an_onnx_model(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert "can't be opened as an ONNX model" in refused(path) or "not an mmsent bundle" in refused(
        path
    )


def test_a_truncated_bundle(bundle, tmp_path):
    path = tmp_path / "cut.onnx"
    path.write_bytes(bundle.read_bytes()[:100_000])
    assert "can't be opened as an ONNX model" in refused(path)


@pytest.mark.parametrize("key", ["mmsent.bundle", "mmsent.tokenizer"])
def test_an_onnx_model_without_our_metadata(bundle, tmp_path, key):
    assert "but not an mmsent bundle" in refused(edited(bundle, tmp_path, **{key: None}))


@pytest.mark.parametrize("key", ["mmsent.bundle", "mmsent.tokenizer"])
@pytest.mark.parametrize("value", ["", "{", "[]", '{"format": 2}', "null"])
def test_malformed_metadata(bundle, tmp_path, key, value):
    assert f"the metadata {key} is malformed" in refused(edited(bundle, tmp_path, **{key: value}))


@pytest.mark.parametrize(
    ("number", "advice"),
    [(1, "train and export the model again with this version"), (3, "upgrade mmsent")],
)
def test_another_format(bundle, tmp_path, number, advice):
    other = edited(bundle, tmp_path, **{"mmsent.bundle": json.dumps({"format": number})})
    assert f"has format {number}, but this mmsent reads format 2; {advice}" in refused(other)


@pytest.mark.parametrize(
    "labels", [["0", "1", "-1"], ["非仇恨", "仇恨", "C++"], ["guid", "tag", "x" * 64]], ids=str
)
def test_labels_are_valid_as_in_a_list(bundle, tmp_path, labels):
    info = json.loads(SentimentModel(bundle).info.to_json()) | {"labels": labels}
    other = edited(bundle, tmp_path, **{"mmsent.bundle": json.dumps(info)})
    assert SentimentModel(other).labels == tuple(labels)


@pytest.mark.parametrize("label", ["null", " ", "=1+1", " =1+1", "+cmd()", "a\u202eb", "x" * 65])
def test_labels_are_invalid_as_in_a_list(bundle, tmp_path, label):
    info = json.loads(SentimentModel(bundle).info.to_json()) | {"labels": [label, "b", "c"]}
    other = edited(bundle, tmp_path, **{"mmsent.bundle": json.dumps(info)})
    assert "label" in refused(other)


@pytest.mark.parametrize(("name", "value"), [("precision", "fp8"), ("optional", ["sound"])])
def test_unknown_settings(bundle, tmp_path, name, value):
    info = json.loads(SentimentModel(bundle).info.to_json()) | {name: value}
    other = edited(bundle, tmp_path, **{"mmsent.bundle": json.dumps(info)})
    assert "is not one of" in refused(other)


def test_the_same_checks_for_bytes_and_files(bundle, tmp_path):
    """A file that is refused by path is also refused as bytes, with the same message."""
    graph = onnx.load(bundle)
    graph.graph.node.add(op_type="Loop")
    contents = [b"", b"no model", bundle.read_bytes()[:100_000], graph.SerializeToString()]
    for content in contents:
        path = tmp_path / "refused.onnx"
        path.write_bytes(content)
        wanted = refused(path).replace(str(path), "the bundle")
        for source in (content, bytearray(content), io.BytesIO(content)):
            with pytest.raises(InputError) as error:
                SentimentModel(source)
            assert str(error.value) == wanted


@pytest.mark.parametrize("in_memory", [True, False])
def test_onnx_runtimes_own_format_is_refused(bundle, tmp_path, in_memory):
    """ONNX Runtime detects its format by the first bytes or the name, and mmsent can't check it."""
    content = b"\x12\x06abORTM" + bundle.read_bytes()  # to ONNX, the producer's name
    path = tmp_path / "model.ort"
    path.write_bytes(content)
    model = SentimentModel(content if in_memory else path)
    assert model.labels == SentimentModel(bundle).labels
