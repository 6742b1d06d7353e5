"""The files that `mmsent-export web` writes. web/test/site.test.mjs runs them in Chromium.

A few lines of JavaScript stand for what `make web` builds, since these tests run no script.
"""

import hashlib
import json
import re
from base64 import b64decode, b64encode
from html.parser import HTMLParser

import numpy as np
import onnx
import pytest

from mmsent import SentimentModel
from mmsent.bundle.info import INFO_KEY, BundleInfo
from mmsent.bundle.seal import seal
from mmsent.inputs.image import load_image
from mmsent.serve.page import FOLDER as PAGE
from mmsent_export import web

from ..small_bundle import write_small_bundle

PREDICTOR = "const BYTES = 0;\nexport const predictor = {};\n"
WORKER = 'const FILES = {};\nconst POLICY = "";\n'


@pytest.fixture
def built(tmp_path, monkeypatch):
    """The parts of `make web`'s output that the command reads."""
    folder = tmp_path / "built"
    (folder / "page").mkdir(parents=True)
    (folder / "service-worker.js").write_text(WORKER)
    (folder / "page" / "predictor.js").write_text(PREDICTOR)
    monkeypatch.setattr(web, "BUILT", folder)
    return folder


@pytest.fixture
def small(tmp_path):
    return write_small_bundle(tmp_path / "small.onnx", optional=("text", "image"))


def write(run_command, bundle, *options, cwd):
    return run_command("mmsent-export", "web", "site", "--model", bundle, *options, cwd=cwd)


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def constant(worker, name):
    return json.loads(re.search(rf"const {name} = (.*?);$", worker, re.DOTALL | re.MULTILINE)[1])


def test_a_site_has_the_page_the_bundle_and_what_was_built(run_command, built, small, tmp_path):
    result = write(run_command, small, cwd=tmp_path)
    assert result.code == 0, result.err
    found = files_of(tmp_path / "site")
    assert f"wrote site ({len(found)} files" in result.err
    page = {f"page/{name}" for name in files_of(PAGE)} - {"page/index.html", "page/types.d.ts"}
    assert {*found} == page | {"index.html", "model.onnx", "selftest.json", "service-worker.js"}
    assert found["model.onnx"] == small.read_bytes()
    assert constant(found["page/predictor.js"].decode(), "BYTES") == small.stat().st_size
    assert found["page/page.js"] == (PAGE / "page.js").read_bytes()


def test_the_page_forbids_what_it_does_not_need(run_command, built, small, tmp_path):
    write(run_command, small, cwd=tmp_path)

    class Page(HTMLParser):
        policy, before, scripts = "", [], []

        def handle_starttag(self, tag, attrs):
            attributes = dict(attrs)
            if attributes.get("http-equiv") == "Content-Security-Policy":
                self.policy = attributes["content"]
            elif not self.policy:
                self.before.append(tag)
            if tag in ("script", "style") or any(name.startswith("on") for name in attributes):
                self.scripts.append(attributes.get("src"))

    page = Page()
    page.feed((tmp_path / "site/index.html").read_text())
    policy = dict(part.split(" ", 1) for part in page.policy.split("; "))
    assert policy["default-src"] == "'self'"
    assert policy["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert policy["worker-src"] == "'self'"
    assert not re.search(r"unsafe-inline|'unsafe-eval|\*|https?:", page.policy)
    assert page.before == ["html", "head", "meta"]  # a policy applies only to what follows it
    assert page.scripts == ["page/page.js"]
    assert constant((tmp_path / "site/service-worker.js").read_text(), "POLICY") == page.policy


def test_the_service_worker_caches_every_file(run_command, built, small, tmp_path):
    write(run_command, small, cwd=tmp_path)
    found = files_of(tmp_path / "site")
    worker = found.pop("service-worker.js").decode()
    digests = {path: b64encode(hashlib.sha256(data).digest()) for path, data in found.items()}
    assert constant(worker, "FILES") == {path: digest.decode() for path, digest in digests.items()}


@pytest.mark.parametrize("optional", [(), ("image",), ("text", "image")])
def test_the_sample_pairs_have_pythons_predictions(run_command, built, tmp_path, optional):
    bundle = write_small_bundle(tmp_path / "any.onnx", optional=optional)
    write(run_command, bundle, cwd=tmp_path)
    content = json.loads((tmp_path / "site/selftest.json").read_text())
    model = SentimentModel(bundle)
    assert content["sha256"] == model.identity
    assert len(content["pairs"]) == 6 + len(optional)
    assert_known(model, content["pairs"])
    lacking = {
        part for pair in content["pairs"] for part in ("text", "image") if pair[part] is None
    }
    assert lacking == {*optional}
    assert len({pair["pixels"] for pair in content["pairs"]} - {None}) >= 6
    again = tmp_path / "again"
    again.mkdir()
    write(run_command, bundle, cwd=again)
    assert files_of(again / "site") == files_of(tmp_path / "site")


def assert_known(model, pairs):
    for pair in pairs:
        image = None if pair["image"] is None else b64decode(pair["image"])
        prediction = model.predict(pair["text"], image)
        assert pair["label"] == prediction.label
        assert pair["probabilities"] == prediction.probabilities
        assert pair["ids"] == model.tokenize([pair["text"] or ""])[0]
        if image is not None:
            pixels = np.ascontiguousarray(load_image(image, model.info.image))
            assert pair["pixels"] == hashlib.sha256(pixels).hexdigest()


def test_examples_are_validation_pairs_of_the_bundle(run_command, built, bundle, sample, tmp_path):
    result = write(run_command, bundle, "--with-examples", 3, "--data", sample, cwd=tmp_path)
    assert result.code == 0, result.err
    pairs = json.loads((tmp_path / "site/selftest.json").read_text())["pairs"]
    assert len(pairs) == 3
    assert_known(SentimentModel(bundle), pairs)
    for pair in pairs:
        text = (sample / "data" / f"{pair['name']}.txt").read_text(encoding="utf-8")
        assert pair["text"] == text.strip()
        assert b64decode(pair["image"]) == (sample / "data" / f"{pair['name']}.jpg").read_bytes()
    assert "validation pairs" in result.err


def test_a_site_is_replaced_and_other_files_stay(run_command, built, small, bundle, tmp_path):
    write(run_command, small, cwd=tmp_path)
    site = tmp_path / "site"
    (site / "CNAME").write_text("example.com")
    before = files_of(site)
    result = write(run_command, bundle, cwd=tmp_path)
    assert result.code == 0, result.err
    after = files_of(site)
    assert after["CNAME"] == b"example.com"
    assert {name for name in before if before[name] != after[name]} == {
        "model.onnx", "selftest.json", "page/predictor.js", "service-worker.js"
    }  # fmt: skip


def test_a_folder_with_other_files_is_refused(run_command, built, small, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "thesis.md").write_text("years of work")
    result = write(run_command, small, cwd=tmp_path)
    assert (result.code, files_of(tmp_path / "site")) == (2, {"thesis.md": b"years of work"})
    assert "site is not empty" in result.err


def test_a_file_instead_of_a_folder_is_refused(run_command, built, small, tmp_path):
    (tmp_path / "site").write_text("")
    result = write(run_command, small, cwd=tmp_path)
    assert result.code == 2
    assert "site is not a folder" in result.err


def test_without_web_files_the_error_says_how_to_build_them(
    run_command, small, tmp_path, monkeypatch
):
    monkeypatch.setattr(web, "BUILT", tmp_path / "nothing")
    result = write(run_command, small, cwd=tmp_path)
    assert result.code == 2
    assert "make web" in result.err
    assert not (tmp_path / "site").exists()


def damage(path):
    content = bytearray(path.read_bytes())
    content[content.index(b"small")] ^= 1  # the name of the graph
    path.write_bytes(content)


def unseal(path):
    model = onnx.load(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {k: v for k, v in metadata.items() if "sha256" not in k})
    onnx.save(model, str(path))


def halve(path):
    model = onnx.load(path)
    for entry in model.metadata_props:
        if entry.key == INFO_KEY:
            content = json.loads(entry.value) | {"precision": "fp16"}
            entry.value = json.dumps(content)
            assert BundleInfo.from_json(entry.value).precision == "fp16"
        if entry.key == "mmsent.sha256":
            entry.value = "0" * 64
    onnx.save(model, str(path))
    seal(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.unlink(), "does not exist"),
        (lambda path: path.write_bytes(b"no bundle"), "small.onnx"),
        (damage, "is damaged"),
        (unseal, "has no seal"),
        (halve, "fp16"),
    ],
)
def test_a_bad_bundle_is_refused(run_command, built, small, tmp_path, change, message):
    change(small)
    result = write(run_command, small, cwd=tmp_path)
    assert result.code == 2, result.err
    assert message in result.err
    assert not (tmp_path / "site").exists()
