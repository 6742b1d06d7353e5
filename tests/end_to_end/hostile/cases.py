"""Checks that `mmsent-infer` refuses a case, or accepts it."""

from collections.abc import Callable
from pathlib import Path

from onnx import ModelProto

from ...command import Command, Result
from ...small_bundle import small_model


def infer(run_command: Command, dataset: Path, source: str = "list.csv") -> Result:
    """Predict a list or folder in the dataset; either all predictions are written or none."""
    output = dataset.parent / "out.csv"
    before = everything(dataset.parent)
    result = run_command(
        "mmsent-infer", dataset / source, "--model", dataset / "model.onnx",
        "--output", output, cwd=dataset.parent,
    )  # fmt: skip
    assert "Traceback" not in result.err
    after = everything(dataset.parent)
    if result.code == 0:
        assert len(output.read_text().splitlines()) >= 4
        assert after == before | {output}
    else:
        assert result.code in (1, 2)
        assert after == before, "partial output"
    return result


def everything(folder: Path) -> set[Path]:
    """All files and folders below a folder."""
    return set(folder.rglob("*"))


def refused(run_command: Command, dataset: Path, message: str, source: str = "list.csv") -> None:
    """The dataset is refused with this message."""
    result = infer(run_command, dataset, source)
    assert result.code != 0
    assert message in result.err
    assert result.err.startswith("Error: ")


def accepted(run_command: Command, dataset: Path, source: str = "list.csv") -> None:
    """The dataset is predicted."""
    result = infer(run_command, dataset, source)
    assert result.code == 0, result.err


def spoil_bundle(dataset: Path, change: Callable[[ModelProto], bytes | None]) -> None:
    """Write the small bundle with ``change`` applied, or the bytes that ``change`` returns."""
    model = small_model()
    content = change(model)
    (dataset / "model.onnx").write_bytes(content or model.SerializeToString())
