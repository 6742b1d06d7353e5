"""The page is complete: every file that it names is served. `make test-web` tests its behaviour."""

import re

import pytest

pytest.importorskip("starlette")

from tests.runtime.serve.client import opened

LINK = re.compile(r"""(?:href|src)="(page/[^"]+)"|^import .* from "\./([^"]+)";$""", re.MULTILINE)


def test_every_file_that_the_page_names_is_served(small):
    with opened(small=small) as client:
        waiting, seen = ["/"], set()
        while waiting:
            path = waiting.pop()
            answer = client.get(path)
            assert answer.status == 200, path
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            seen.add(path)
            text = answer.content.decode()
            assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), path
            named = {f"/{a}" if a else f"/page/{b}" for a, b in LINK.findall(text)}
            waiting += named - seen
    assert {"/page/style.css", "/page/predictor.js", "/page/map.js"} <= seen


@pytest.mark.parametrize("name", ["small", "strict"])
def test_the_metadata_that_the_page_reads(name, small, strict):
    with opened(small=small, strict=strict) as client:
        assert name in client.get("/v2").json()["models"]
        parameters = client.get(f"/v2/models/{name}").json()["parameters"]
    assert parameters["optional"] == (["text", "image"] if name == "small" else [])
    assert parameters["resize"] == "stretch"
