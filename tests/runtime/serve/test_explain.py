"""POST /explain and ?explain=1, compared with SentimentModel.explain."""

import io
import json
import logging

import pytest
from PIL import Image

from mmsent import SentimentModel
from mmsent.data.pair import Pair
from tests.runtime.serve.conftest import in_base64, png

pytest.importorskip("starlette")

from mmsent.serve.explanations import Explainer, choose_media_type
from mmsent.serve.log import service_log
from mmsent.serve.problems import HTTPProblem
from tests.runtime.serve.client import opened

PAIR = ("a fun day, rain", png(40))
BODY = {"text": PAIR[0], "image": in_base64(PAIR[1])}


@pytest.fixture(scope="module")
def client(small):
    with opened(small=small) as client:
        yield client


@pytest.fixture(scope="module")
def wanted(small):
    return json.loads(SentimentModel(small).explain(*PAIR).to_json())


def check(got, wanted):
    assert got.keys() == wanted.keys()
    assert got["label"] == wanted["label"]
    assert [word["text"] for word in got["words"]] == [word["text"] for word in wanted["words"]]
    values = [[word["value"] for word in each["words"]] for each in (got, wanted)]
    assert values[0] == pytest.approx(values[1], abs=1e-5)
    for row, other in zip(got["regions"], wanted["regions"], strict=True):
        assert row == pytest.approx(other, abs=1e-5)
    assert got["modalities"]["text"] == pytest.approx(wanted["modalities"]["text"], abs=1e-5)


def test_json(client, wanted):
    answer = client.post_json("/explain", BODY, accept="application/json")
    assert answer.headers["content-type"] == "application/json"
    check(answer.json(), wanted)
    check(client.post_form("/explain", *PAIR).json(), wanted)


def test_html(client):
    answer = client.post_json("/explain", BODY, accept="text/html,application/xml;q=0.9,*/*;q=0.8")
    assert answer.headers["content-type"].startswith("text/html")
    assert "sandbox" in answer.headers["content-security-policy"]
    assert b"<!doctype html>" in answer.content
    assert b"rain" in answer.content


def test_png(client):
    answer = client.post_json("/explain", BODY, accept="image/*")
    assert answer.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.format == "PNG"


def test_with_the_prediction(client, wanted):
    answer = client.post_json("/predict?explain=1", BODY).json()
    check(answer["explanation"], wanted)
    assert answer["label"] == answer["explanation"]["label"]
    assert "explanation" not in client.post_json("/predict?explain=0", BODY).json()
    client.post_json("/predict?explain=yes", BODY).problem(422)


@pytest.mark.parametrize("path", ["/explain", "/predict?explain=1"])
@pytest.mark.parametrize(
    "body", [{"pairs": [BODY]}, {"text": "fun", "image": in_base64(b"no image")}, {}]
)
def test_pairs_that_cant_be_explained(client, path, body):
    client.post_json(path, body).problem(422)


def test_another_media_type(client):
    client.post_json("/explain", BODY, accept="text/csv").problem(406)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("*/*", "application/json"),
        ("text/html", "text/html"),
        ("text/html;q=0.5, image/png", "image/png"),
        ("text/html;q=0.5, */*;q=0.4", "text/html"),
        ("*/*, application/json;q=0", "text/html"),
        ("image/*;q=0.2, text/*;q=0.3", "text/html"),
        ("IMAGE/PNG ; Q=1", "image/png"),
        ("text/html;q=x, image/png;q=0.1", "image/png"),
        ("", None),
        ("text/csv", None),
        ("*/*;q=0", None),
    ],
)
def test_accept(accept, chosen):
    if chosen is None:
        with pytest.raises(HTTPProblem) as error:
            choose_media_type(accept)
        assert error.value.status == 406
    else:
        assert choose_media_type(accept) == chosen


def test_too_many_wait(client, monkeypatch):
    monkeypatch.setattr("mmsent.serve.explanations.WAITING", -1)
    answer = client.post_json("/explain", BODY)
    assert "waiting already" in answer.problem(503)["detail"]


def test_an_unpredictable_pair_is_not_a_server_error(small):
    """Also if the model itself refuses it."""
    import asyncio

    from mmsent.serve.models import Models, Source

    model = Models([Source("small", small)], threads=1, device="cpu").get()
    with pytest.raises(HTTPProblem) as error:
        asyncio.run(Explainer().explain(model, Pair("", None, "request", 1, None, b"no image")))
    assert error.value.status == 422


def test_logs_do_not_contain_characters_without_a_font(client, caplog):
    """U+10FFFD is a private-use character."""
    caplog.set_level(logging.INFO, logger="mmsent")
    with service_log(as_json=False):
        answer = client.post_json("/explain", {"text": "rain \U0010fffd"}, accept="image/png")
        client.get("/healthz")  # a request is logged after its answer and before the next request
    assert answer.headers["content-type"] == "image/png"
    assert "\U0010fffd" not in caplog.text
    assert "POST /explain 200" in caplog.text
