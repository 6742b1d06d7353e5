"""Training and evaluation on a Parquet file, compared with the folder it was packed from."""

import json

from mmsent.data.folder import TRAIN_LIST


def test_the_run_is_the_same_as_from_the_folder(run_command, sample, trained, bundle, tmp_path):
    path = tmp_path / "pairs.parquet"
    run_command("mmsent", "pack", sample / TRAIN_LIST, path, cwd=tmp_path)
    result = run_command(
        "mmsent", "train", "--model", "light", "--epochs", 2, "--data", path,
        "--output", "run", cwd=tmp_path, pictures=True,
    )  # fmt: skip
    assert result.code == 0, result.err
    for name in ("checkpoint.safetensors", "validation_predictions.csv", "mistakes.png"):
        assert (tmp_path / "run" / name).read_bytes() == (trained / name).read_bytes()
    records = [json.loads((run / "run.json").read_text()) for run in (trained, tmp_path / "run")]
    assert records[0]["dataset"]["fingerprint"] == records[1]["dataset"]["fingerprint"]
    figures = [
        run_command("mmsent", "evaluate", "--json", "--model", bundle, "--data", data, cwd=tmp_path)
        for data in (sample, path)
    ]
    assert figures[0].out == figures[1].out != ""
    exported = run_command(
        "mmsent-export", "onnx", "run", "--output", "model.onnx", cwd=tmp_path
    )  # fmt: skip
    assert exported.code == 0, exported.err
