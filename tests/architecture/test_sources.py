"""Checks of the three packages' sources that no tool makes: their sizes and imported names."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("runtime/mmsent", "training/mmsent_training", "export/mmsent_export")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
LINES_OF_A_FILE = 400
LINES_OF_A_FUNCTION = 80


def name(path):
    return path.relative_to(ROOT).as_posix()


def nodes(path):
    return ast.walk(ast.parse(path.read_text(encoding="utf-8"), path))


def private(name):
    """A leading underscore in any part of a dotted name; ``__name__`` and ``_`` are not private."""
    return any(
        part.strip("_") and part.startswith("_") and not part.endswith("__")
        for part in name.split(".")
    )


def test_sources_are_found():
    assert len(SOURCES) > 60


def test_files_are_short():
    lengths = {name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {path: n for path, n in lengths.items() if n > LINES_OF_A_FILE} == {}


def test_functions_are_short():
    """Docstrings count, decorators do not."""
    lengths = {
        f"{name(path)}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
        for path in SOURCES
        for node in nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {function: n for function, n in lengths.items() if n > LINES_OF_A_FUNCTION} == {}


def test_no_private_name_is_imported():
    """Neither another library's nor another module's. Ruff's SLF001 checks attribute access."""
    imported = []
    for path in SOURCES:
        for node in nodes(path):
            if isinstance(node, ast.Import):
                imported += [(name(path), alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
                module = f"{node.module}." if node.module else ""
                imported += [(name(path), module + alias.name) for alias in node.names]
    assert [(path, what) for path, what in imported if private(what)] == []


@pytest.mark.parametrize(
    ("dotted", "is_private"),
    [
        ("os.path", False), ("mmsent.__version__", False), ("gettext._", False),
        ("a._b", True), ("_a.b", True), ("a._b.c", True), ("a.__b", True), ("a._b_", True),
    ],
)  # fmt: skip
def test_definition_of_private(dotted, is_private):
    assert private(dotted) is is_private
