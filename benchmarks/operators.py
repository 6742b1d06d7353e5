"""The time of each operator in a bundle's session, from ONNX Runtime's profiler.

    python benchmarks/operators.py --data DIR BUNDLE [BUNDLE ...] [--nodes N]

Runs each bundle on one thread on pairs of DIR's unlabelled list, as mmsent-infer does: in batches
of 8, sorted by length. Prints the milliseconds per pair of each operator in ONNX Runtime's
optimised graph, and of the N slowest nodes; writes the operators to --json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from mmsent import SentimentModel
from mmsent.bundle.session import CPU
from mmsent.data.dataset import open_dataset
from mmsent.data.folder import TEST_LIST
from mmsent.predict.batches import BATCH_SIZE
from mmsent_export.session import make_feed
from result import write_result

KERNEL = "_kernel_time"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a dataset folder")
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    parser.add_argument("--pairs", type=int, default=128)
    parser.add_argument("--nodes", type=int, default=0, help="also show so many single nodes")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures: dict[str, Any] = {"bundles": {}}
    for bundle in options.bundles:
        nodes = profile(bundle, options.data, options.pairs)
        operators: Counter[str] = Counter()
        for (operator, _), milliseconds in nodes.items():
            operators[operator] += milliseconds
        whole = sum(operators.values())
        figures["model"] = SentimentModel(bundle).info.model
        figures["bundles"][bundle.stem] = {"all": whole, "operators": dict(operators.most_common())}
        print(f"{bundle}: {whole:.2f} ms a pair on one thread")
        for name, milliseconds in operators.most_common():
            if milliseconds > whole / 200:
                print(f"  {milliseconds:7.3f} {milliseconds / whole:6.1%}  {name}")
        for (name, node), milliseconds in nodes.most_common(options.nodes):
            print(f"    {milliseconds:7.3f} {name:24} {node}")
    write_result(options.json, figures)


def profile(bundle: Path, data: Path, count: int) -> Counter[tuple[str, str]]:
    """Milliseconds per pair by operator and node, from the second of two runs over the pairs."""
    model = SentimentModel(bundle, threads=1)
    rows = list(open_dataset(data / TEST_LIST).rows())[:count]
    ids = model.tokenize([row.read_text() for row in rows])
    order = sorted(range(len(rows)), key=lambda index: len(ids[index]))
    batches = [order[start : start + BATCH_SIZE] for start in range(0, len(rows), BATCH_SIZE)]
    images = [row.load_image(model.info.image) for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_profiling = True
        options.profile_file_prefix = f"{folder}/profile"
        session = ort.InferenceSession(str(bundle), options, providers=[CPU])
        for batch in 2 * batches:
            feed = make_feed([ids[i] for i in batch], np.stack([images[i] for i in batch]))
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    kernels = [event for event in events if event["name"].endswith(KERNEL)]
    found: Counter[tuple[str, str]] = Counter()
    for event in kernels[len(kernels) // 2 :]:
        name = event["name"].removesuffix(KERNEL)
        found[event["args"]["op_name"], name] += event["dur"] / 1000 / len(rows)
    return found


if __name__ == "__main__":
    main()
