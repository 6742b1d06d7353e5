"""All routes except predictions: probes, metrics, descriptions, page; and access to them."""

import asyncio
import re

import pytest

from tests.runtime.serve.conftest import png

pytest.importorskip("starlette")

from mmsent.serve.keys import Keys, read_keys
from mmsent.serve.page import read_page
from mmsent.serve.service import Settings
from tests.runtime.serve.client import opened


@pytest.fixture(scope="module")
def client(small):
    with opened(small=small) as client:
        yield client


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes(client, path):
    assert client.get(path).status == 200
    assert client.get(path, method="HEAD").content == b""


def test_not_ready_while_it_shuts_down(small):
    with opened(small=small) as client:
        client.service.draining = True
        assert client.get("/readyz").status == 503
        assert client.get("/v2/health/ready").status == 503
        answer = client.post_form("/predict", "fun", None)
        assert answer.status == 200
        assert answer.headers["connection"] == "close"
        assert client.get("/healthz").status == 200


def test_a_bundle_that_vanishes_while_it_is_reloaded(small, tmp_path, monkeypatch, caplog):
    path = tmp_path / "model.onnx"
    path.write_bytes(small.read_bytes())
    with opened(model=path) as client:
        path.write_bytes(path.read_bytes() + b"\0")  # another digest
        monkeypatch.setattr("mmsent.serve.models.SentimentModel", vanish)
        asyncio.run(client.service.reload())
        assert "the bundles were not changed: " in caplog.text
        assert client.post_form("/predict", "fun", None).status == 200
        assert samples(client)["mmsent_reloads_total", 'outcome="refused"'] == 1


def vanish(path, **_):
    raise FileNotFoundError(2, "No such file or directory", str(path))


SAMPLE = re.compile(r"([a-z_]+)(?:\{(.*)\})? (\S+)")


def samples(client):
    """The values of the metrics by name and labels."""
    text = client.get("/metrics").content.decode()
    matches = [SAMPLE.fullmatch(line) for line in text.splitlines() if not line.startswith("#")]
    assert all(matches)
    return {(match[1], match[2]): float(match[3]) for match in matches}


def test_metrics(small):
    with opened(small=small) as client:
        for _ in range(3):
            client.post_form("/predict", "fun", png())
        client.post_form("/predict", "fun", b"no image")
        client.get("/no/such/path")
        found = samples(client)
        requests = 'route="/predict",method="POST",status='
        assert found["mmsent_requests_total", requests + '"200"'] == 3
        assert found["mmsent_requests_total", requests + '"422"'] == 1
        assert found["mmsent_requests_total", 'route="none",method="GET",status="404"'] == 1
        predicted = [value for (name, _), value in found.items() if name == "mmsent_pairs_total"]
        assert sum(predicted) == 3
        assert found["mmsent_request_seconds_count", 'route="/predict"'] == 4
        assert found["mmsent_request_seconds_bucket", 'route="/predict",le="+Inf"'] == 4
        assert found["mmsent_batch_pairs_sum", None] == 4
        assert found["mmsent_body_bytes", None] == 0
        assert found["mmsent_requests_in_flight", None] == 1
        assert found["mmsent_ready", None] == 1


def test_prometheus_client_parses_the_metrics(client):
    parser = pytest.importorskip("prometheus_client.parser")
    client.post_form("/predict", "fun", None)
    text = client.get("/metrics").content.decode()
    families = {family.name: family for family in parser.text_string_to_metric_families(text)}
    assert families["mmsent_requests"].type == "counter"
    assert families["mmsent_request_seconds"].type == "histogram"


def test_openapi_describes_every_route(client):
    described, tried = client.get("/openapi.json").json(), []
    assert described["openapi"].startswith("3.1")
    for path, item in described["paths"].items():
        real = path.replace("{name}", "small")
        for method in item.keys() - {"parameters"}:
            answer = client.get(real, method=method.upper())
            tried.append(real)
            assert str(answer.status) in item[method]["responses"]
            assert answer.status not in (404, 405), path
    assert {"/predict", "/explain", "/v2/models/small/infer"} <= set(tried)


def test_the_documentation_page_loads_only_its_style(client):
    answer = client.get("/docs")
    page = answer.content.decode()
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not re.search(r"<(script|img|iframe)|(src|href)=.?(https?:|//)", page)
    for link in re.findall(r"<link [^>]*href=\"([^\"]*)", page):
        assert client.get(f"/{link}").status == 200
    for path in client.get("/openapi.json").json()["paths"]:
        assert path in page


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/predict/", "/page/../service.py", "/page/..%2fservice.py", "/page//etc/passwd",
     "/page/%2e%2e/%2e%2e/cli.py", "/%2e%2e/%2e%2e/etc/passwd", "/page/..\\service.py",
     "/page/\x00".replace("\x00", "%00")],
)  # fmt: skip
def test_no_path_leads_outside_the_page(client, path):
    client.get(path).problem(404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/predict", "POST"), ("PUT", "/predict", "POST"), ("POST", "/metrics", "GET"),
     ("DELETE", "/v2/models/small", "GET"), ("GET", "/v2/models/small/infer", "POST")],
)  # fmt: skip
def test_another_method(client, method, path, allowed):
    answer = client.get(path, method=method)
    answer.problem(405)
    assert allowed in answer.headers["allow"]


def test_the_pages_files(tmp_path):
    (tmp_path / "parts").mkdir()
    for name in ("index.html", "page.css", "parts/predict.mjs", "parts/icon.svg", "README.txt"):
        (tmp_path / name).write_text(name)
    page = read_page(tmp_path)
    assert {name: file.media_type.split(";")[0] for name, file in page.items()} == {
        "index.html": "text/html", "page.css": "text/css", "parts/predict.mjs": "text/javascript",
        "parts/icon.svg": "image/svg+xml",
    }  # fmt: skip


def test_the_page_is_served(small, tmp_path, monkeypatch):
    (tmp_path / "index.html").write_text("<!doctype html>")
    (tmp_path / "page.mjs").write_text("export {}")
    monkeypatch.setattr("mmsent.serve.app.read_page", lambda: read_page(tmp_path))
    with opened(small=small) as client:
        answer = client.get("/")
        assert answer.content == b"<!doctype html>"
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        module = client.get("/page/page.mjs")
        assert module.headers["content-type"] == "text/javascript; charset=utf-8"
        again = client.get("/page/page.mjs", if_none_match=module.headers["etag"])
        assert (again.status, again.content) == (304, b"")
        client.get("/page/other.mjs").problem(404)


@pytest.fixture(scope="module")
def guarded(small, tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "keys.txt"
    path.write_text("first-key\n# ours\n\n  second-key  \n", encoding="utf-8-sig")
    with opened(Settings(threads=1, keys=read_keys(path)), small=small) as client:
        yield client


@pytest.mark.parametrize(
    ("headers", "accepted"),
    [({}, False), ({"authorization": "Bearer first-key"}, True),
     ({"authorization": "bearer second-key"}, True), ({"x_api_key": "first-key"}, True),
     ({"authorization": "Bearer first"}, False), ({"authorization": "Basic first-key"}, False),
     ({"authorization": "Bearer "}, False), ({"x_api_key": "# ours"}, False),
     ({"x_api_key": ""}, False)],
)  # fmt: skip
def test_api_keys(guarded, headers, accepted):
    for path in ("/predict", "/v2/models/small/infer"):
        answer = guarded.post_json(path, {"text": "fun", "inputs": []}, **headers)
        assert (answer.status != 401) is accepted
    for path in ("/metrics", "/v2", "/v2/models/small"):
        answer = guarded.get(path, **headers)
        assert (answer.status == 200) is accepted
        assert ("www-authenticate" in answer.headers) is not accepted


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs", "/openapi.json",
                                  "/v2/health/live", "/v2/health/ready"])  # fmt: skip
def test_routes_without_a_key(guarded, path):
    assert guarded.get(path).status == 200


def test_openapi_says_which_routes_need_a_key(guarded):
    for path, item in guarded.get("/openapi.json").json()["paths"].items():
        for method in item.keys() - {"parameters"}:
            answer = guarded.get(path.replace("{name}", "small"), method=method.upper())
            assert (answer.status == 401) is ("401" in item[method]["responses"]), path


def test_without_keys_everyone_has_access():
    assert Keys().accept({})


@pytest.mark.parametrize(
    ("origin", "allowed"), [("https://one.example", True), ("https://other.example", False)]
)
def test_cors(small, origin, allowed):
    with opened(Settings(origins=("https://one.example",)), small=small) as client:
        asked = client.get(
            "/predict", method="OPTIONS", origin=origin, access_control_request_method="POST",
            access_control_request_headers="content-type",
        )  # fmt: skip
        assert (asked.headers.get("access-control-allow-origin") == origin) is allowed
        answer = client.post_json("/predict", {"text": "fun"}, origin=origin)
        assert (answer.headers.get("access-control-allow-origin") == origin) is allowed


def test_without_cors_other_origins_cant_read_answers(client):
    answer = client.post_json("/predict", {"text": "fun"}, origin="https://one.example")
    assert "access-control-allow-origin" not in answer.headers
