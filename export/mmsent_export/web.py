"""A bundle as a website: a folder of static files whose page predicts in the browser.

The page is that of ``mmsent serve``. Its predictor, which calls the service, is replaced by one
that runs the bundle in the browser; ``make web`` builds it into `BUILT`.
"""

import json
import shutil
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from mmsent.bundle.seal import is_whole
from mmsent.errors import InputError
from mmsent.files.atomic import atomic_path
from mmsent.predict.model import SentimentModel
from mmsent.serve.page import FOLDER as PAGE
from mmsent_export.web_check import Example, self_test

BUILT = Path(__file__).with_name("site")
"""What ``make web`` builds: JavaScript and WebAssembly. The wheel has it."""

BUNDLE, CHECK = "model.onnx", "selftest.json"
PREDICTOR, WORKER = "page/predictor.js", "service-worker.js"

POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; "
    "img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'none'"
)
"""The page's Content-Security-Policy: nothing inline, no other host. WebAssembly needs the one
exception, which allows no other evaluation."""

_HEAD = '<meta charset="utf-8">'
_BYTES = "const BYTES = 0;"
_FILES, _POLICY = "const FILES = {};", 'const POLICY = "";'


def write_site(site: Path, bundle: Path, examples: Sequence[Example] | None = None) -> list[Path]:
    """Write a website that predicts with ``bundle`` into the folder ``site``.

    ``examples``: pairs for the page's self-test, which anyone who opens the site can read; by
    default synthetic ones. An earlier site there is replaced; other files stay.
    Returns the files' paths. Raises InputError if the bundle can't be used, if ``site`` contains
    something else, or if the web files are not built.
    """
    if not (BUILT / WORKER).is_file():
        raise InputError(
            f"the web files are not built: {BUILT} lacks them; run `make web` in the checkout, "
            "which requires npm"
        )
    _check_folder(site)
    model = SentimentModel(bundle, threads=1)
    if not is_whole(bundle):
        raise InputError(f"{bundle} is damaged, or has no seal; export the run again")
    if model.info.precision == "fp16":
        raise InputError(f"{bundle} is fp16, which is for GPUs; export the run as fp32 or int8")
    contents = {path: PAGE / path.removeprefix("page/") for path in _page_files()}
    contents |= {path: BUILT / path for path in _files_of(BUILT)}
    contents[BUNDLE] = bundle
    index, predictor, worker = (
        path.read_text(encoding="utf-8")
        for path in (PAGE / "index.html", contents.pop(PREDICTOR), contents.pop(WORKER))
    )
    made = {
        "index.html": _index(index),
        PREDICTOR: _put(predictor, _BYTES, f"const BYTES = {bundle.stat().st_size};"),
        CHECK: json.dumps(self_test(model, examples), ensure_ascii=False),
    }
    written = [_copy(source, site / path) for path, source in contents.items()]
    written += [_write(text, site / path) for path, text in made.items()]
    digests = {path.relative_to(site).as_posix(): _digest(path) for path in written}
    return [*written, _write(_service_worker(worker, digests), site / WORKER)]


def _check_folder(site: Path) -> None:
    """Raises InputError if ``site`` is a file, or contains files but no earlier site."""
    if site.exists() and not site.is_dir():
        raise InputError(f"{site} is not a folder")
    if site.is_dir() and any(site.iterdir()) and not (site / WORKER).is_file():
        raise InputError(f"{site} is not empty, and contains no earlier site; name another folder")


def _page_files() -> list[str]:
    """The paths in the site of the page's files, without index.html and what is only for tsc."""
    names = (name for name in _files_of(PAGE) if name != "index.html")
    return [f"page/{name}" for name in names if not name.endswith(".ts")]


def _files_of(folder: Path) -> list[str]:
    found = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    return [path.as_posix() for path in found]


def _index(html: str) -> str:
    """The page with its policy in a meta element, since a file server sends no headers."""
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    return _put(html, _HEAD, f"{_HEAD}\n{policy}")


def _service_worker(source: str, digests: Mapping[str, str]) -> str:
    """The service worker with the files' digests, so that it changes whenever one of them does."""
    source = _put(source, _FILES, f"const FILES = {json.dumps(digests, indent=2)};")
    return _put(source, _POLICY, f"const POLICY = {json.dumps(POLICY)};")


def _put(text: str, place: str, what: str) -> str:
    assert text.count(place) == 1, place
    return text.replace(place, what)


def _digest(path: Path) -> str:
    """SHA-256, base64, as browsers compare it."""
    with path.open("rb") as file:
        digest = sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return b64encode(digest.digest()).decode()


def _copy(source: Path, target: Path) -> Path:
    with atomic_path(target) as part:
        shutil.copyfile(source, part)
    return target


def _write(text: str, target: Path) -> Path:
    with atomic_path(target) as part:
        part.write_bytes(text.encode())
    return target
