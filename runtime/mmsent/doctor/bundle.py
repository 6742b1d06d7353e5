"""A bundle: whether it opens, is whole, and predicts."""

from __future__ import annotations

import math
from pathlib import Path

from mmsent.doctor.child import Told
from mmsent.doctor.finding import Finding, Group, failure, not_applicable, ok

_AGAIN = "mmsent-export onnx  # or copy it again from where it came"


def examine_bundle(path: Path | None, told: Told | None) -> Group:
    """Judge what the probe of a bundle told; None for both where no bundle was given."""
    if path is None or told is None:
        nothing = "no bundle was given; --model MODEL.onnx checks one"
        return Group("Bundle", [not_applicable("bundle-not-given", nothing)])
    facts = {"file": str(path), **told.facts, "stderr": told.answer.errors}
    if path.is_file():
        facts["bytes"] = path.stat().st_size
    return Group("Bundle", [_judge(path, told)], facts)


def _judge(path: Path, told: Told) -> Finding:
    facts = told.facts
    if not told.done:
        return failure(
            "bundle-crashes",
            f"{path}: the process {told.end}",
            why=told.reason,
            mend=_AGAIN,
            stops=["predict"],
        )
    if "error" in facts:
        return failure(
            "bundle-unusable",
            f"{path} can't be used",
            why=" ".join(facts["error"].split()),
            mend=_AGAIN,
            stops=["predict"],
        )
    if not facts["whole"]:
        return failure(
            "bundle-damaged",
            f"{path} is not what the exporter wrote",
            why="its contents do not have the SHA-256 that it carries",
            mend=_AGAIN,
            stops=["predict"],
        )
    probabilities = facts["probabilities"]
    total = sum(probabilities)
    if not (math.isfinite(total) and abs(total - 1) < 1e-3 and min(probabilities) >= 0):
        return failure(
            "bundle-wrong",
            f"{path} answers with numbers that are no probabilities",
            why=f"for a small pair: {probabilities}; its weights are damaged",
            mend=_AGAIN,
            stops=["predict"],
        )
    change = max(abs(a - b) for a, b in zip(probabilities, facts["beside"]))
    if change > 1e-3:
        return failure(
            "bundle-depends-on-batch",
            f"{path} predicts a pair otherwise when another one is beside it",
            why=f"a probability moved by {change:.2g}; a prediction must depend on its pair alone",
            mend="export the run again with this version: mmsent-export onnx",
            stops=["predict"],
        )
    kind = f"model {facts['model']}, {facts['precision']}"
    return ok("bundle", f"{path} ({kind}) is whole, opens and predicts")
