"""MkDocs hooks: pages from files outside docs/, links between them, and the language of each page.

Links in the repository are relative to the file that contains them, so that they also work on
GitHub. Here they lead to the page made from the file, or to the file on GitHub if there is none.
"""

import os
import re
import shutil
from pathlib import Path
from typing import Any

from commands import describe_commands
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
REPOSITORY = "https://github.com/OWNER/mmsent"
PAGES = {
    "index.md": "README.md",
    "add-a-model.md": "training/mmsent_training/models/README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "docker.md": "docker/README.md",
    "npm.md": "web/README.md",
    "pretrained-layers.md": "training/mmsent_training/weights/PRETRAINED_LAYERS.md",
    "pretraining-texts.md": "training/mmsent_training/models/PRETRAINING_TEXTS.md",
    "word-vectors.md": "training/mmsent_training/models/WORD_VECTORS.md",
    "vulnerabilities.md": "SECURITY.md",
    "zh/index.md": "README.zh-CN.md",
}
"""Pages made from files outside docs/, and these files."""
COMMANDS = "commands.md"

LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)#\s]*)(?=[)#])")
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def slugify(text: str, separator: str) -> str:
    """The anchor of a heading, as on GitHub; it keeps Chinese characters."""
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", separator)


def on_config(config: MkDocsConfig) -> None:
    config.mdx_configs["toc"]["slugify"] = slugify


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages that are not in docs/."""
    for page, source in PAGES.items():
        content = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=content))
    files.append(File.generated(config, COMMANDS, content=describe_commands()))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead the links of a page where they lead in the repository."""
    source = page.file.src_uri
    folder = (ROOT / PAGES.get(source, f"docs/{source}")).parent
    made = {original: made for made, original in PAGES.items()}

    def follow(match: re.Match[str]) -> str:
        path = Path(os.path.normpath(folder / match[1])).relative_to(ROOT).as_posix()
        target = made.get(path, path.removeprefix("docs/"))
        if path in made or (path.startswith("docs/") and files.get_file_from_path(target)):
            return os.path.relpath(target, os.path.dirname(source) or ".").replace(os.sep, "/")
        kind = "tree" if (ROOT / path).is_dir() else "blob"
        return f"{REPOSITORY}/{kind}/main/{path}"

    parts = FENCE.split(markdown)
    parts[::2] = (LINK.sub(follow, part) for part in parts[::2])
    return "".join(parts)


def on_page_context(context: dict[str, Any], page: Page, config: MkDocsConfig, nav: Any) -> None:
    """The theme's own words are in the page's language."""
    config.theme["language"] = "zh" if page.file.src_uri.startswith("zh/") else "en"


def on_post_build(config: MkDocsConfig) -> None:
    """The theme's script requests the sitemap of each language."""
    site = Path(config.site_dir)
    shutil.copy(site / "sitemap.xml", site / "zh")
