"""The Open Inference Protocol: JSON and binary tensors, as in its specification."""

import json
import struct

import numpy as np
import pytest

from mmsent import SentimentModel
from tests.runtime.serve.conftest import in_base64, png

pytest.importorskip("starlette")

from tests.runtime.serve.client import opened

PAIRS = [("a fun day", png(20)), ("rain", png(240)), ("größer", png())]
URL = "/v2/models/small/infer"


@pytest.fixture(scope="module")
def client(small, strict):
    with opened(small=small, strict=strict) as client:
        yield client


@pytest.fixture(scope="module")
def wanted(small):
    texts, images = zip(*PAIRS)
    return SentimentModel(small).predict(list(texts), list(images))


def tensor(name, data, shape=None, **fields):
    shape = [len(data)] if shape is None else shape
    return {"name": name, "shape": shape, "datatype": "BYTES", "data": data} | fields


def in_json(shape=(3,), nested=False):
    texts = [text for text, _ in PAIRS]
    images = [in_base64(image) for _, image in PAIRS]
    data = [[[item] for item in part] if nested else part for part in (texts, images)]
    return [tensor(name, part, list(shape)) for name, part in zip(("text", "image"), data)]


def packed(items):
    return b"".join(struct.pack("<I", len(item)) + item for item in items)


def in_binary(texts, images, shape=(3,), **request):
    """A body with binary tensors, and the length of its JSON part."""
    parts = [packed(items) for items in (texts, images)]
    inputs = [
        {"name": name, "shape": list(shape), "datatype": "BYTES",
         "parameters": {"binary_data_size": len(part)}}
        for name, part in zip(("text", "image"), parts)
    ]  # fmt: skip
    head = json.dumps({"inputs": inputs} | request).encode()
    return head + b"".join(parts), len(head)


def outputs(answer):
    """The tensors of an answer as arrays."""
    assert answer.status == 200, answer.content
    length = int(answer.headers.get("inference-header-content-length", len(answer.content)))
    content, rest = json.loads(answer.content[:length]), answer.content[length:]
    found = {}
    for output in content["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            array = np.array(
                output["data"], object if output["datatype"] == "BYTES" else np.float32
            )
        elif output["datatype"] == "FP32":
            array, rest = np.frombuffer(rest[:size], "<f4"), rest[size:]
        else:
            items, data, rest = [], rest[:size], rest[size:]
            while data:
                (count,) = struct.unpack_from("<I", data)
                items.append(data[4 : 4 + count].decode())
                data = data[4 + count :]
            array = np.array(items, object)
        found[output["name"]] = array.reshape(output["shape"])
    assert rest == b""
    return content, found


def check(found, wanted):
    assert found["label"].tolist() == [one.label for one in wanted]
    for name in ("probabilities", "logits"):
        rows = [list(getattr(one, name).values()) for one in wanted]
        assert found[name] == pytest.approx(np.array(rows), abs=1e-6)


@pytest.mark.parametrize(("shape", "nested"), [((3,), False), ((3, 1), False), ((3, 1), True)])
def test_json(client, wanted, shape, nested):
    answer = client.post_json(URL, {"id": "seven", "inputs": in_json(shape, nested)})
    content, found = outputs(answer)
    check(found, wanted)
    assert answer.headers["content-type"] == "application/json"
    assert content["id"] == "seven"
    assert content["model_name"] == "small"


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
@pytest.mark.parametrize("binary_output", [False, True])
def test_binary(client, wanted, shape, binary_output):
    texts, images = [text.encode() for text, _ in PAIRS], [image for _, image in PAIRS]
    body, length = in_binary(texts, images, shape, parameters={"binary_data_output": binary_output})
    answer = client.post(URL, body, inference_header_content_length=str(length))
    check(outputs(answer)[1], wanted)
    assert ("inference-header-content-length" in answer.headers) is binary_output


def test_only_the_requested_outputs(client, wanted):
    asked = [{"name": "logits", "parameters": {"binary_data": True}}, {"name": "label"}]
    _, found = outputs(client.post_json(URL, {"inputs": in_json(), "outputs": asked}))
    assert list(found) == ["logits", "label"]
    check(found | {"probabilities": outputs(
        client.post_json(URL, {"inputs": in_json(), "outputs": [{"name": "probabilities"}]})
    )[1]["probabilities"]}, wanted)  # fmt: skip


@pytest.mark.parametrize("part", ["text", "image"])
def test_an_omitted_input_is_missing(client, small, part):
    inputs = [each for each in in_json() if each["name"] == part]
    _, found = outputs(client.post_json(URL, {"inputs": inputs}))
    texts, images = zip(*PAIRS)
    model = SentimentModel(small)
    given = (list(texts), None) if part == "text" else (None, list(images))
    check(found, model.predict(*given))


def test_an_empty_image_is_missing(client, small):
    body, length = in_binary([b"fun", b"rain"], [b"", png(20)], (2,))
    _, found = outputs(client.post(URL, body, inference_header_content_length=str(length)))
    check(found, SentimentModel(small).predict(["fun", "rain"], [None, png(20)]))


MALFORMED = {
    "no JSON": b"{",
    "no object": b"[]",
    "no inputs": b"{}",
    "an empty list": b'{"inputs": []}',
    "no tensor": b'{"inputs": [3]}',
    "another input": {"inputs": [tensor("sound", ["a"])]},
    "twice": {"inputs": [tensor("text", ["a"]), tensor("text", ["a"])]},
    "another datatype": {"inputs": [tensor("text", ["a"], datatype="FP32")]},
    "no shape": {"inputs": [tensor("text", ["a"], shape=[])]},
    "a wide shape": {"inputs": [tensor("text", ["a"], shape=[1, 2])]},
    "a negative shape": {"inputs": [tensor("text", ["a"], shape=[-1])]},
    "a shape that is true": {"inputs": [tensor("text", ["a"], shape=[True])]},
    "another count": {"inputs": [tensor("text", ["a"], shape=[2])]},
    "unequal": {"inputs": [tensor("text", ["a"]), tensor("image", ["", ""])]},
    "no data": {"inputs": [tensor("text", None, shape=[1])]},
    "numbers": {"inputs": [tensor("text", [3])]},
    "nothing": {"inputs": [tensor("text", [])]},
    "too many": {"inputs": [tensor("text", ["a"] * 257)]},
    "an id that is a number": {"id": 3, "inputs": [tensor("text", ["a"])]},
    "another output": {"inputs": [tensor("text", ["a"])], "outputs": [{"name": "x"}]},
    "parameters that are none": {"inputs": [tensor("text", ["a"])], "parameters": 3},
    "classification": {
        "inputs": [tensor("text", ["a"])],
        "outputs": [{"name": "logits", "parameters": {"classification": 2}}],
    },
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request(client, name):
    body = MALFORMED[name]
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    client.post(URL, encoded, "application/json").problem(400)


BINARY = {
    "a length that is none": (b"fun", b"", "x", {}),
    "a negative length": (b"fun", b"", "-1", {}),
    "a length beyond the body": (b"fun", b"", "1000000", {}),
    "a length of many digits": (b"fun", b"", "0" * 20 + "9" * 5000, {}),
    "a rest": (b"fun", b"more", None, {}),
    "a size beyond the body": (b"fun", b"", None, {"binary_data_size": 1000}),
    "a size that is none": (b"fun", b"", None, {"binary_data_size": "7"}),
    "a negative size": (b"fun", b"", None, {"binary_data_size": -7}),
    "an element beyond the tensor": (None, b"", None, {}),
}


@pytest.mark.parametrize("name", BINARY)
def test_malformed_binary_tensors(client, name):
    element, rest, length, parameters = BINARY[name]
    data = struct.pack("<I", 0xFFFFFFFF) if element is None else packed([element])
    text = {
        "name": "text", "shape": [1], "datatype": "BYTES",
        "parameters": {"binary_data_size": len(data)} | parameters,
    }  # fmt: skip
    head = json.dumps({"inputs": [text]}).encode()
    header = str(len(head)) if length is None else length
    client.post(URL, head + data + rest, inference_header_content_length=header).problem(400)


@pytest.mark.parametrize(
    ("text", "image"), [(b"\xff", png()), (b"fun", b"no image")], ids=["text", "image"]
)
def test_a_pair_that_cant_be_predicted(client, text, image):
    body, length = in_binary([b"fun", text], [b"", image], (2,))
    answer = client.post(URL, body, inference_header_content_length=str(length))
    assert [error["pair"] for error in answer.problem(422)["errors"]] == [1]


def test_metadata(client, small):
    server = client.get("/v2").json()
    assert server["name"] == "mmsent"
    assert server["extensions"] == ["binary_tensor_data"]
    assert server["models"] == ["small", "strict"]
    model = client.get("/v2/models/small").json()
    assert {item["name"]: item["datatype"] for item in model["inputs"]} == {
        "text": "BYTES", "image": "BYTES"
    }  # fmt: skip
    assert {item["name"]: item["shape"] for item in model["outputs"]} == {
        "label": [-1], "probabilities": [-1, 3], "logits": [-1, 3]
    }  # fmt: skip
    (version,) = model["versions"]
    for path in ("", "/ready"):
        assert client.get(f"/v2/models/small/versions/{version}{path}").status == 200
        client.get(f"/v2/models/small/versions/1{path}").problem(404)
        client.get(f"/v2/models/none{path}").problem(404)


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", "/v2/models/small/ready"])
def test_health(client, path):
    assert client.get(path).status == 200
