"""What the README promises."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_demo_goes_through(tmp_path):
    """In a copy, so that a demo/ of this checkout stays as it is."""
    script = tmp_path / "demo.sh"
    script.write_text((ROOT / "demo.sh").read_text())
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(["bash", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "demo" / "model.onnx").is_file()
    assert (tmp_path / "demo" / "runs" / "latest" / "report.md").is_file()
    assert len((tmp_path / "demo" / "submission.csv").read_text().splitlines()) == 51


def test_its_python_example_works(sample, bundle, tmp_path, monkeypatch):
    """The block is run as it stands, with the files that it names."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code = text.split("```python\n", 1)[1].split("```", 1)[0]
    photo = next((sample / "data").glob("*.jpg")).read_bytes()
    for name in ("photo.jpg", "a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(photo)
    (tmp_path / "model.onnx").write_bytes(bundle.read_bytes())
    monkeypatch.chdir(tmp_path)
    exec(code, {})
