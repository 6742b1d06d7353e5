"""A Parquet file and the folder it was packed from: are predictions and speed the same?

python benchmarks/parquet.py --model demo/model.onnx --data DIR [--rounds 3]

mmsent-infer predicts all pairs of DIR, those of train.txt and of test_without_label.txt, in a
separate process. Both sides take turns, and the medians are compared.
"""

import argparse
import csv
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from mmsent.data.dataset import open_dataset
from mmsent.data.folder import TEST_LIST, TRAIN_LIST
from result import write_result

BIN = Path(sys.executable).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        rows = [
            row
            for file in (TRAIN_LIST, TEST_LIST)
            if (options.data / file).exists()
            for row in open_dataset(options.data / file).rows()
        ]
        lines = [f"{row.guid},{row.label or 'null'}\n" for row in rows]
        (work / "all.txt").write_text("guid,tag\n" + "".join(lines))
        (work / "data").symlink_to((options.data / "data").resolve())
        run("mmsent", "pack", work / "all.txt", work / "all.parquet")
        size = (work / "all.parquet").stat().st_size
        files = sum(
            os.stat(f"{work}/data/{r.guid}.{e}").st_size for r in rows for e in ("txt", "jpg")
        )
        print(f"{len(rows)} pairs, {files / 1e6:.0f} MB in files, {size / 1e6:.0f} MB packed")
        rates: dict[str, list[float]] = {"all.txt": [], "all.parquet": []}
        outputs = {}
        for _ in range(options.rounds):
            for source, results in rates.items():
                output = work / f"{source}.csv"
                said = run(
                    "mmsent-infer", work / source, "--model", options.model.resolve(),
                    "--probabilities", "--output", output,
                )  # fmt: skip
                results.append(float(re.search(r"\((\d+) a second\)", said)[1]))
                outputs[source] = [*csv.reader(output.open(newline=""))]
        identical = outputs["all.txt"] == outputs["all.parquet"]
        print(f"predictions and probabilities identical: {identical}")
        folder, packed = (statistics.median(results) for results in rates.values())
        print(f"pairs a second: folder {folder:.0f}, Parquet {packed:.0f}: {packed / folder:.2f}")
        figures = {
            "pairs": len(rows),
            "rounds": options.rounds,
            "identical": identical,
            "folder": {"pairs_per_second": folder, "bytes": files, "files": 2 * len(rows)},
            "parquet": {"pairs_per_second": packed, "bytes": size},
        }
        write_result(options.json, figures)


def run(program: str, *arguments: object) -> str:
    done = subprocess.run([BIN / program, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stderr


if __name__ == "__main__":
    main()
