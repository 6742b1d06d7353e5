"""POST /predict, compared with SentimentModel.predict on the same pairs."""

import concurrent.futures
import json

import pytest

from mmsent import SentimentModel
from tests.runtime.serve.conftest import in_base64, png

pytest.importorskip("starlette")

from tests.runtime.serve.client import BOUNDARY, form, opened

PAIRS = [
    ("a fun day", png(20)),
    ("rain", png(240)),
    ("", png()),
    ("fun " * 50, None),
    (None, png()),
]


@pytest.fixture(scope="module")
def client(small, strict):
    with opened(small=small, strict=strict) as client:
        yield client


@pytest.fixture(scope="module")
def model(small):
    return SentimentModel(small)


def as_form(text, image):
    return form(text, image), f"multipart/form-data; boundary={BOUNDARY}"


def as_json(text, image):
    return as_nulls(text, image, kept=lambda part: part is not None)


def as_nulls(text, image, kept=lambda part: True):
    pair = {"text": text, "image": None if image is None else in_base64(image)}
    content = {name: part for name, part in pair.items() if kept(part)}
    return json.dumps(content).encode(), "application/json"


def as_data_url(text, image):
    url = None if image is None else "data:image/png;base64," + in_base64(image)
    return json.dumps({"text": text, "image": url}).encode(), "application/json"


@pytest.mark.parametrize("encode", [as_form, as_json, as_nulls, as_data_url])
@pytest.mark.parametrize("pair", PAIRS)
def test_the_answer_is_the_models(client, model, pair, encode):
    answer = client.post("/predict", *encode(*pair))
    assert answer.status == 200, answer.content
    wanted = model.predict(*pair)
    got = answer.json()
    assert got["label"] == wanted.label
    assert got["probabilities"] == pytest.approx(wanted.probabilities, abs=1e-6)
    assert got["model"]["name"] == "small"
    assert got["milliseconds"] > 0


def test_several_pairs_keep_their_order(client, model):
    pairs = [json.loads(as_json(*pair)[0]) for pair in PAIRS * 5]
    answer = client.post_json("/predict", {"pairs": pairs})
    labels = [item["label"] for item in answer.json()["predictions"]]
    assert labels == [model.predict(*pair).label for pair in PAIRS * 5]
    assert len(set(labels)) > 1


def test_the_model_is_identified_by_its_files_digest(client, strict):
    import hashlib

    answer = client.post_form("/predict?model=strict", *PAIRS[0]).json()
    digest = hashlib.sha256(strict.read_bytes()).hexdigest()
    assert answer["model"] == {"name": "strict", "sha256": digest}


def test_an_unknown_model(client):
    detail = client.post_form("/predict?model=none", *PAIRS[0]).problem(404)["detail"]
    assert "small, strict" in detail


def test_concurrent_requests_get_their_own_answers(client, model):
    pairs = [(" ".join(["fun"] * n), png(17 * n)) for n in range(14)]
    wanted = [model.predict(*pair) for pair in pairs]
    with concurrent.futures.ThreadPoolExecutor(14) as pool:
        for _ in range(5):
            answers = pool.map(lambda pair: client.post_form("/predict", *pair).json(), pairs)
            for answer, one in zip(answers, wanted, strict=True):
                assert answer["probabilities"] == pytest.approx(one.probabilities, abs=1e-6)


UNPROCESSABLE = {
    "no image": ({"image": in_base64(b"GIF89a")}, "decoded"),
    "no base64": ({"image": "!!"}, "base64"),
    "a URL": ({"image": "http://127.0.0.1:1/a.png"}, "never fetched"),
    "a path": ({"image": "file:///etc/passwd"}, "never fetched"),
    "an empty image": ({"image": ""}, "decoded"),
    "an image that is a number": ({"image": 3}, "string"),
    "a text that is a number": ({"text": 3}, "string"),
    "half a character": ({"text": "\ud800"}, "not a character"),
    "a large text": ({"text": "a" * (1 << 20) + "b"}, "larger than 1024 KiB"),
    "neither": ({}, "neither text nor image"),
    "nulls": ({"text": None, "image": None}, "neither text nor image"),
    "another member": ({"text": "a", "txt": "b"}, "other members"),
}


@pytest.mark.parametrize("name", UNPROCESSABLE)
def test_a_pair_that_cant_be_predicted(client, name):
    pair, reason = UNPROCESSABLE[name]
    assert reason in client.post_json("/predict", pair).problem(422)["detail"]
    answer = client.post_json("/predict", {"pairs": [{"text": "fun"}, pair]}).problem(422)
    assert [error["pair"] for error in answer["errors"]] == [1]
    assert reason in answer["errors"][0]["detail"]


def test_every_bad_pair_is_named(client):
    bad = {"image": in_base64(b"no image")}
    answer = client.post_json("/predict", {"pairs": [bad, {"text": "fun"}, {}, bad]})
    assert [error["pair"] for error in answer.problem(422)["errors"]] == [0, 2, 3]


def test_missing_parts_that_the_model_requires(client):
    answer = client.post_json("/predict?model=strict", {"text": "fun"})
    assert "has no image" in answer.problem(422)["detail"]


MALFORMED = {
    "empty": b"",
    "half": b'{"text": "a',
    "not UTF-8": b'{"text": "\xff"}',
    "deep": b"[" * 100_000,
    "a long number": b'{"text": ' + b"1" * 10_000 + b"}",
    "a name twice": b'{"text": "fun", "text": "rain"}',
    "a name twice in a pair": b'{"pairs": [{"text": "fun", "text": "rain"}]}',
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_json(client, name):
    answer = client.post("/predict", MALFORMED[name], "application/json")
    assert "not JSON" in answer.problem(400)["detail"]


@pytest.mark.parametrize("path", ["/predict", "/explain"])
@pytest.mark.parametrize(
    ("query", "reason"),
    [("bundle=strict", "parameters: model"), ("text=fun", "parameters: model"),
     ("model=strict&model=small", "repeated"), ("model=strict&MODEL=strict", "parameters: model")],
)  # fmt: skip
def test_a_query_that_would_be_ignored(client, path, query, reason):
    answer = client.post_form(f"{path}?{query}", *PAIRS[0])
    assert reason in answer.problem(422)["detail"]


@pytest.mark.parametrize("body", ["[]", "3", "null", '{"pairs": 3}', '{"pairs": []}',
                                  '{"pairs": [3]}', '{"pairs": [], "text": "a"}'])  # fmt: skip
def test_json_without_pairs(client, body):
    client.post("/predict", body.encode(), "application/json").problem(422)


def test_too_many_pairs(client):
    answer = client.post_json("/predict", {"pairs": [{"text": "fun"}] * 257})
    assert "1 to 256" in answer.problem(422)["detail"]


KIND = "multipart/form-data; boundary=b"
FORMS = {
    "no boundary": ("multipart/form-data", b"--b--\r\n", 400),
    "a long boundary": ("multipart/form-data; boundary=" + "b" * 500, b"--b--\r\n", 400),
    "nothing": (KIND, b"", 400),
    "another boundary": (KIND, b"--c\r\n\r\n\r\n--c--\r\n", 400),
    "no end": (
        KIND, b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\nfun\r\n', 400
    ),
    "a flood of headers": (KIND, b"--b\r\n" + b"a: b\r\n" * 10_000 + b"\r\n--b--\r\n", 400),
    "no name": (KIND, b"--b\r\n\r\nfun\r\n--b--\r\n", 422),
    "another name": (
        KIND, b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\nf\r\n--b--\r\n', 422
    ),
    "twice": (
        KIND,
        b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\nfun\r\n' * 2 + b"--b--\r\n",
        422,
    ),
    "not UTF-8": (
        KIND, b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\n\xff\r\n--b--\r\n', 422
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_a_malformed_form(client, name):
    content_type, body, status = FORMS[name]
    client.post("/predict", body, content_type).problem(status)


def test_a_form_without_a_chosen_file(client, model):
    """A browser still sends the field, empty."""
    answer = client.post_form("/predict", "fun", b"")
    assert answer.json()["label"] == model.predict("fun").label


@pytest.mark.parametrize("content_type", [None, "", "text/plain", "image/png", "application/xml",
                                          "application/x-www-form-urlencoded"])  # fmt: skip
def test_another_media_type(client, content_type):
    answer = client.post("/predict", b"fun", content_type)
    answer.problem(415)
    assert "multipart/form-data" in answer.headers["accept-post"]


def test_a_compressed_body(client):
    answer = client.post("/predict", b"\x1f\x8b", "application/json", content_encoding="gzip")
    answer.problem(415)
    assert answer.headers["accept-encoding"] == "identity"
