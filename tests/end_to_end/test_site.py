"""The documentation site builds, needs no other host, and has every page and command."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import click
import pytest

from mmsent import cli

ROOT = Path(__file__).parents[2]
pytest.importorskip("mkdocs", reason="the documentation's tools are not installed")
pytest.importorskip("material")


@pytest.fixture(scope="module")
def site(make_once):
    def build(folder):
        done = subprocess.run(
            [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder / "site"],
            cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    return make_once("site", build) / "site"


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def tags(page):
    parser = Tags()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser.found


def test_no_page_loads_anything_from_another_host(site):
    """Only links for the reader lead to other hosts."""
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        for tag, attributes in tags(page):
            sources = [attributes.get("src"), attributes.get("srcset"), attributes.get("data")]
            if tag != "a":
                sources.append(attributes.get("href"))
            outside = [each for each in sources if each and re.match(r"(\w+:)?//", each)]
            assert outside == [], f"{page.name}: <{tag}>"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(\w+:)?//", sheet.read_text("utf-8"))


@pytest.mark.parametrize(("page", "language"), [("index.html", "en"), ("zh/index.html", "zh")])
def test_a_page_declares_its_language(site, page, language):
    found = tags(site / page)
    assert next(attributes for tag, attributes in found if tag == "html")["lang"] == language
    alternates = [a for tag, a in found if tag == "a" and a.get("hreflang")]
    assert {a["hreflang"] for a in alternates} == {"en", "zh"}


@pytest.mark.parametrize("start", ["index.html", "zh/index.html"])
def test_a_language_has_the_sitemap_that_the_theme_requests(site, start):
    assert (site / start).with_name("sitemap.xml").is_file()


def test_the_reference_has_every_command_and_option(site):
    pytest.importorskip("mmsent_export")
    text = (site / "commands.html").read_text(encoding="utf-8")

    def check(command, context):
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                check(inner, click.Context(inner, info_name=name, parent=context))
            return
        heading = f'id="{context.command_path.replace(" ", "-")}"'
        assert heading in text
        section = text.split(heading)[1].split("<h2")[0]
        for option in command.params:
            for name in option.opts:
                if name.startswith("--") and name not in ("--help", "--version"):
                    assert name in section, (context.command_path, name)

    check(cli.cli, click.Context(cli.cli, info_name="mmsent"))


def test_no_page_shows_markup(site):
    """Nor an example of a docstring as quotations."""
    for page in ("api", "commands"):
        text = (site / f"{page}.html").read_text(encoding="utf-8")
        assert "<blockquote>" not in text
        assert "\\&lt;" not in text


def test_the_api_has_every_public_name(site):
    import mmsent

    text = (site / "api.html").read_text(encoding="utf-8")
    for name in set(mmsent.__all__) - {"__version__"}:
        assert re.search(rf'id="[\w.]+\.{name}"', text), name
    assert "Raises InputError" in text


def test_the_search_finds_every_page_in_both_languages(site):
    documents = json.loads((site / "search" / "search_index.json").read_text())["docs"]
    indexed = {document["location"].partition("#")[0] for document in documents}
    pages = {page.relative_to(site).as_posix() for page in site.rglob("*.html")}
    assert indexed >= pages - {"404.html"}
    assert any("镜像" in document["text"] for document in documents)
