"""`mmsent serve` without the extra `serve`, and the imports of its help."""

import subprocess
import sys

import pytest

HIDDEN = """
import sys
for name in ({names}):
    sys.modules[name] = None
from mmsent.cli import main
sys.argv = ["mmsent", "serve"]
main()
"""


@pytest.mark.parametrize("name", ["starlette", "uvicorn", "python_multipart"])
def test_it_says_how_to_install_it(name, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", HIDDEN.format(names=f"{name!r},")],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "pip install './runtime[serve]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"]])
def test_help_imports_nothing_heavy(arguments):
    program = (
        "import sys; from mmsent.cli import cli; cli(sys.argv[1:], standalone_mode=False);"
        "heavy = {'numpy', 'onnxruntime', 'torch', 'starlette', 'uvicorn', 'asyncio', 'PIL'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True)
    assert done.returncode == 0, done.stderr
