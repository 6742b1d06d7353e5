"""A bundle: whether it opens, is undamaged, and predicts."""

import math
from pathlib import Path

from mmsent.doctor.finding import Group
from mmsent.doctor.process import ProbeResult

_AGAIN = "mmsent-export onnx  # or copy it again from its source"


def check_bundle(path: Path | None, probe: ProbeResult | None) -> Group:
    """Evaluate the probe of a bundle; both arguments are None if no bundle was given."""
    group = Group("Bundle", stops=("predict",))
    if path is None or probe is None:
        group.not_applicable("bundle-not-given", "no bundle was given; --model FILE checks one")
        return group
    facts = group.facts = {"file": str(path), **probe.facts, "stderr": probe.stderr}
    if path.is_file():
        facts["bytes"] = path.stat().st_size
    probabilities: list[float] = facts.get("probabilities", [])
    change = max((abs(a - b) for a, b in zip(probabilities, facts.get("batched", []))), default=0.0)
    if not probe.done:
        group.failure("bundle-crashes", f"{path}: the process {probe.end}", probe.reason, _AGAIN)
    elif "error" in facts:
        why = " ".join(facts["error"].split())
        group.failure("bundle-unusable", f"{path} can't be used", why, _AGAIN)
    elif not facts["whole"]:
        what = f"{path} is not what the exporter wrote"
        group.failure(
            "bundle-damaged", what, "its SHA-256 does not match the one stored in it", _AGAIN
        )
    elif not (math.isclose(sum(probabilities), 1, abs_tol=1e-3) and min(probabilities) >= 0):
        what = f"{path} returns values that are not probabilities"
        why = f"for a small pair: {probabilities}; its weights are damaged"
        group.failure("bundle-wrong", what, why, _AGAIN)
    elif change > 1e-3:
        what = f"{path} predicts a pair differently when another pair is in its batch"
        why = f"a probability changed by {change:.2g}, but it must depend only on its pair"
        fix = "mmsent-export onnx  # with this version of mmsent"
        group.failure("bundle-depends-on-batch", what, why, fix)
    else:
        kind = f"model {facts['model']}, {facts['precision']}"
        group.ok("bundle", f"{path} ({kind}) opens, is undamaged and predicts")
    return group
