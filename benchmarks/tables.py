"""The tables of README.md and docs/, each a function of the results; figures.py writes them."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Sequence
from typing import Any

Result = dict[str, Any]
Results = dict[str, Result]
"""The content of benchmarks/results/*.json by name; see result.py."""

NETWORKS = {
    "clip": "CLIP with a small head",
    "compact": "MiniLM-L6 and EfficientNet-Lite0, from pip packages",
    "light": "a GRU, subwords, a lexicon, word vectors; statistics of the image",
}
TRAINED = ("compact", "light")
"""Models with weights; clip's are a stand-in's, whose scores and training mean nothing."""
UNKNOWN = "not measured"
BARS = ("PyTorch fp32", "mmsent fp32", "mmsent int8")
"""The sides in the README's chart."""
BASELINES = {
    "quantize_static": "ONNX Runtime's static int8",
    "quantize_static_reduced": "the same, `reduce_range`",
}
"""The titles of bundles that quantization.py wrote."""
RATES = ("pairs_per_second", "slowest", "fastest")


def models(results: Results) -> str:
    """The README's table: what each model is, its accuracy and its speed."""
    header = ["`--model`", "network", "MB, fp32 and int8", "accuracy", "macro F1"]
    header += ["pairs/s, fp32 and int8", "PyTorch", "training"]
    rows = []
    for model, network in NETWORKS.items():
        build, speed, seeds = (
            figures(results, f"{kind}-{model}") for kind in ("build", "inference", "seeds")
        )
        size = rates = torch = training = accuracy = f1 = UNKNOWN
        if build:
            both = [build["bundles"][name]["bytes"] for name in ("fp32", "int8")]
            size = " and ".join(map(megabytes, both))
        if build and model in TRAINED:
            training = duration(build["training"]["seconds"])
        if speed:
            both = [speed["sides"][f"mmsent {name}"] for name in ("fp32", "int8")]
            rates = " and ".join(digits(side["pairs_per_second"]) for side in both)
            torch = digits(speed["sides"]["PyTorch fp32"]["pairs_per_second"])
        if seeds:
            accuracy, f1 = (interval(seeds["seeds"][0], key) for key in ("accuracy", "macro_f1"))
        rows.append([f"`{model}`", network, size, accuracy, f1, rates, torch, training])
    accurate = origins(results, [f"seeds-{model}" for model in TRAINED])
    fast = origins(results, [f"{kind}-{m}" for kind in ("inference", "build") for m in NETWORKS])
    return (
        f"{table(header, rows)}\n"
        "Accuracy and macro F1 with 95 % intervals: 400 validation pairs of the task's dataset, "
        f"seed 42; {accurate}.\n"
        f"Speed from files to labels, training of 3,600 pairs on the CPU: {fast}.\n"
        f"\n![{chart_text(results)}](docs/speed.svg)\n"
    )


def chart_text(results: Results) -> str:
    """The README's chart, in words."""
    found = {
        model: ", ".join(f"{name} {digits(sides[name]['pairs_per_second'])}" for name in BARS)
        for model, sides in speeds(results).items()
    }
    texts = "; ".join(f"{model}: {text}" for model, text in found.items())
    return f"Pairs a second from files to labels. {texts}"


def speeds(results: Results) -> dict[str, dict[str, Any]]:
    """The results of inference.py, by model and side."""
    found = {model: figures(results, f"inference-{model}") for model in NETWORKS}
    return {model: content["sides"] for model, content in found.items() if content}


def speed(results: Results) -> str:
    header = ["model", "", "pairs/s, median (slowest to fastest)", "times PyTorch fp32"]
    header += ["same labels", "first prediction after", "peak memory"]
    rows = [
        [
            model,
            BASELINES.get(name, name),
            "{} ({} to {})".format(*(digits(side[key]) for key in RATES)),
            f"{side['ratio']:.2f}",
            f"{side['same_labels']:.1%}",
            f"{side['first_seconds']:.2f} s",
            f"{side['peak_mb']:.0f} MB",
        ]
        for model, sides in speeds(results).items()
        for name, side in sides.items()
    ]
    return table(header, rows) + commands(results, [f"inference-{model}" for model in NETWORKS])


def parts(results: Results) -> str:
    """The rates of a bundle's parts alone."""
    header = ["model", "", "tokenising, pairs/s", "session, pairs/s"]
    rows = [
        [
            model,
            BASELINES.get(name, name),
            *(digits(side["parts"][key]) for key in ("tokenize", "session")),
        ]
        for model, sides in speeds(results).items()
        for name, side in sides.items()
        if "session" in side["parts"]
    ]
    return table(header, rows)


def limits(results: Results) -> str:
    """The limits from decoding and matrix products, and how close mmsent comes."""
    header = ["model", "decoding alone, pairs/s", "precision", "products, 1e9 operations/s"]
    header += ["products alone, pairs/s", "both, pairs/s", "mmsent, pairs/s", "share"]
    rows = []
    for model in NETWORKS:
        found = (figures(results, f"inference-{model}") or {}).get("limits", {})
        for key in ("fp32", "int8"):
            if f"both_{key}" in found:
                shown = (found[key], found[f"products_{key}"], both := found[f"both_{key}"])
                rate = speeds(results)[model][f"mmsent {key}"]["pairs_per_second"]
                cells = [*map(digits, shown), digits(rate), f"{rate / both:.0%}"]
                rows.append([model, digits(found["decode"]), key, *cells])
    return table(header, rows)


def operators(results: Results) -> str:
    """The time of each operator in a session."""
    header = ["model", "", "ms a pair", "of it, by ONNX Runtime's operators"]
    rows = []
    for model in NETWORKS:
        found = figures(results, f"operators-{model}")
        for name, bundle in found["bundles"].items() if found else ():
            large = [
                f"{n} {ms:.2f}"
                for n, ms in bundle["operators"].items()
                if ms > 0.02 * bundle["all"]
            ]
            rows.append([model, name, f"{bundle['all']:.2f}", ", ".join(large)])
    return table(header, rows) + commands(results, [f"operators-{model}" for model in NETWORKS])


def command(results: Results) -> str:
    """The command mmsent-infer compared with only decoding."""
    header = ["model", "", "mmsent-infer", "decoding alone", "ratio"]
    rows = []
    for model in NETWORKS:
        found = figures(results, f"command-{model}") or {}
        for key, title in (("seconds", "seconds"), ("cpu_seconds", "CPU seconds")):
            if one := found.get(key):
                both = [f"{one[name]:.2f}" for name in ("command", "decoding")]
                rows.append([model, title, *both, f"{one['ratio']:.2f}"])
    return table(header, rows) + commands(results, [f"command-{model}" for model in NETWORKS])


def training(results: Results) -> str:
    header = ["model", "pairs", "epochs", "precision", "from the command's start to its end"]
    rows = []
    for model in TRAINED:
        if found := figures(results, f"build-{model}"):
            run = found["training"]
            known = [run[key] for key in ("pairs", "epochs", "precision")]
            rows.append([model, *known, duration(run["seconds"])])
    return table(header, rows) + commands(results, [f"build-{model}" for model in TRAINED])


def precisions(results: Results) -> str:
    header = ["model", "precision", "MB", "labels that differ", "logits, largest difference"]
    header += ["a pair alone and in a batch", "accuracy, before and after", "pairs/s"]
    rows = []
    for model in NETWORKS:
        kinds = [figures(results, f"{kind}-{model}") or {} for kind in ("build", "quantization")]
        sides = speeds(results).get(model, {})
        for name, bundle in ((n, b) for kind in kinds for n, b in kind.get("bundles", {}).items()):
            found = bundle["verification"]
            scores = found["accuracy"] if model in TRAINED else None
            side = sides.get(f"mmsent {name}") or sides.get(name)
            rows.append(
                [
                    model,
                    BASELINES.get(name, name),
                    megabytes(bundle["bytes"]),
                    f"{found['changed_labels']} of {found['pairs']}",
                    f"{found['logits_difference']:.1e}",
                    f"{found['alone_difference']:.1e}",
                    "{:.4f}, {:.4f}".format(*scores) if scores else "",
                    digits(side["pairs_per_second"]) if side else "",
                ]
            )
    names = [f"{kind}-{model}" for kind in ("build", "quantization") for model in NETWORKS]
    return table(header, rows) + commands(results, names)


def accuracy(results: Results) -> str:
    rows = []
    for model in TRAINED:
        for way, name in (("seeds", "the seeds"), ("folds", "five-fold cross-validation")):
            if found := figures(results, f"{way}-{model}"):
                for row in found[way] if way == "seeds" else ():
                    both = [interval(row, key) for key in ("accuracy", "macro_f1")]
                    rows.append([f"{model}, seed {row['seed']}", *both])
                title = f"{model}, {name}: mean ± standard deviation"
                rows.append([title, *means(found[way])])
    used = [f"{way}-{model}" for way in ("seeds", "folds") for model in TRAINED]
    return table(["", "accuracy", "macro F1"], rows) + commands(results, used)


def modalities(results: Results) -> str:
    rows = []
    for model in TRAINED:
        for row in (figures(results, f"modalities-{model}") or {}).get("modalities", ()):
            both = [interval(row, key) for key in ("accuracy", "macro_f1")]
            p = row.get("p")
            shown = "" if p is None else f"{p:.3f}" if p >= 0.0005 else "< 0.001"
            rows.append([model, row["modality"], *both, shown])
    header = ["model", "trained on", "accuracy", "macro F1", "p"]
    return table(header, rows) + commands(results, [f"modalities-{model}" for model in TRAINED])


def folds(results: Results) -> str:
    rows = []
    for model in TRAINED:
        found = (figures(results, f"folds-{model}") or {}).get("folds", ())
        for number, repeat in enumerate(sorted({row["repeat"] for row in found}), 1):
            cells = [
                f"{row['accuracy']:.3f} / {row['macro_f1']:.3f}"
                for row in found
                if row["repeat"] == repeat
            ]
            rows.append([model, number, *cells])
    header = ["model", "repetition", *(f"fold {number}" for number in range(1, 6))]
    return table(header, rows) + commands(results, [f"folds-{model}" for model in TRAINED])


def exactness(results: Results) -> str:
    rows = []
    for model in NETWORKS:
        if (found := figures(results, f"exactness-{model}")) and "bundle" in found:
            one = found["bundle"]
            text = f"{one['labels_that_differ']} labels differ, logits by at most "
            text += f"{one['logits_difference']:.1e}"
            rows.append([f"{model}: bundle and PyTorch, {one['pairs']} pairs", text])
    if (found := figures(results, "exactness-clip")) and "transformers" in found:
        one = found["transformers"]
        text = f"{one['texts_whose_ids_differ']} texts and {one['images_whose_pixels_differ']} "
        text += f"images differ, embeddings by at most {one['embeddings_difference']:.1e}"
        rows.append([f"clip: mmsent and transformers, {one['pairs']} pairs", text])
    used = [f"exactness-{model}" for model in NETWORKS]
    return table(["compared", "result"], rows) + commands(results, used)


def interruptions(results: Results) -> str:
    header = ["", "processes", "killed before they ended", "the same as without a kill"]
    found = figures(results, "interruptions") or {}
    rows = [[name, row["processes"], row["kills"], row["same"]] for name, row in found.items()]
    return table(header, rows) + commands(results, ["interruptions"])


def parquet(results: Results) -> str:
    header, rows = ["", "pairs a second", "MB", "predictions"], []
    if found := figures(results, "parquet"):
        for name in ("folder", "parquet"):
            one = found[name]
            same = "identical" if found["identical"] else "different"
            rows.append([name, digits(one["pairs_per_second"]), megabytes(one["bytes"]), same])
    return table(header, rows) + commands(results, ["parquet"])


def ray(results: Results) -> str:
    header = ["", "guids and labels", "Ray, pairs a second", "mmsent-infer", "until then"]
    rows = []
    for name in ("ray", "ray-killed"):
        if found := figures(results, name):
            case = "an actor killed" if found["killed"] else f"{found['rows']:,} rows"
            same = "identical" if found["identical"] else "different"
            seconds = f"{found['start_seconds']:.1f} s"
            rows.append([case, same, digits(found["ray"]), digits(found["mmsent_infer"]), seconds])
    return table(header, rows) + commands(results, ["ray", "ray-killed"])


LISTS = {
    "long-list": "files",
    "long-list-csv": "CSV, text only",
    "long-list-jsonl": "JSON lines, text only",
    "long-list-parquet": "Parquet, text only",
}


def long_list(results: Results) -> str:
    header = ["list", "rows", "pairs a second", "with start and check", "peak memory"]
    rows = [
        [
            layout,
            f"{one['rows']:,}",
            digits(one["pairs_per_second"]),
            digits(one["whole"]),
            f"{one['peak_mb']:.0f} MB",
        ]
        for name, layout in LISTS.items()
        for one in (figures(results, name) or {}).get("lists", ())
    ]
    return table(header, rows) + commands(results, list(LISTS))


def distributed(results: Results) -> str:
    header = [
        "",
        "same predictions",
        "losses differ by at most (training, validation)",
        "times as fast",
    ]
    rows = []
    if found := figures(results, "distributed"):
        for name, one in found["against_one_process"].items():
            same = f"{one['same_predictions']} of {one['pairs']}"
            losses = [f"{one[key]:.1g}" for key in ("train_loss", "validation_loss")]
            rows.append(
                [f"{found['model']}, {name}", same, ", ".join(losses), f"{one['speed']:.1f}"]
            )
    return table(header, rows) + commands(results, ["distributed"])


def busy_machine(results: Results) -> str:
    header = ["next to", "seconds, times those alone", "CPU seconds, times those alone"]
    found = figures(results, "busy-machine")
    rows = []
    if found:
        ratios = f"{found['seconds']:.2f}", f"{found['cpu_seconds']:.2f}"
        rows.append([f"{found['neighbours']} busy processes", *ratios])
    return table(header, rows) + commands(results, ["busy-machine"])


def serving(results: Results) -> str:
    header = ["model", "mmsent-infer, pairs/s", "served, pairs/s", "served / mmsent-infer"]
    header += ["FastAPI by hand, pairs/s", "served / by hand"]
    header += ["99th percentile", "SentimentModel.predict", "served, one client"]
    rows = []
    for model, precision in (("compact", "int8"), ("light", "fp32")):
        if found := figures(results, f"serving-{model}"):
            rounds = found["rounds"]
            middle = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
            row = [f"{model} {precision}", digits(middle["infer"]), digits(middle["served"])]
            row.append(times(rounds, "infer"))
            if "by_hand" in middle:
                row += [digits(middle["by_hand"]), times(rounds, "by_hand")]
            else:
                row += ["not measured", ""]
            row += [
                f"{middle[key]:.1f} ms" for key in ("served_p99_ms", "predict_ms", "one_client_ms")
            ]
            rows.append(row)
    return table(header, rows) + commands(results, [f"serving-{model}" for model in TRAINED])


def times(rounds: list[dict[str, float]], other: str) -> str:
    """The median over the repetitions of the service's rate divided by another's."""
    return f"{statistics.median(one['served'] / one[other] for one in rounds):.2f}"


def deletion(results: Results) -> str:
    header = ["model, deleted", "pairs", "explained order", "random order"]
    header += ["random minus explained, with its 95 % interval"]
    rows = []
    for model in TRAINED:
        found = figures(results, f"explanations-{model}") or {}
        for name in ("words", "patches"):
            if one := found.get(name):
                areas = [f"{one[key]:.4f}" for key in ("explained", "random")]
                low, high = one["interval"]
                difference = f"{one['difference']:.4f} ({low:.4f} to {high:.4f})"
                rows.append([f"{model}, {name}", one["pairs"], *areas, difference])
    return table(header, rows) + commands(results, [f"explanations-{model}" for model in TRAINED])


def known(results: Results) -> str:
    header = ["model", "decided by, since the other part carries another label", "pairs", "found"]
    names = [f"known-{model}" for model in TRAINED]
    rows = []
    for found in filter(None, (figures(results, name) for name in names)):
        for part, title in (
            ("patch", "the patch: the map has its peak in it"),
            ("words", "the words: the most valuable word is one of them"),
        ):
            one = found[part]
            share = f"{one['found']} ({one['found'] / one['decided']:.1%})"
            rows.append([found["model"], title, one["decided"], share])
    return table(header, rows) + commands(results, names)


def figures(results: Results, name: str) -> dict[str, Any] | None:
    return results[name]["figures"] if name in results else None


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    if not rows:
        return f"{UNKNOWN.capitalize()} yet.\n"
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def origin(result: Result) -> str:
    """The commit, day and processor of a result."""
    machine = result["machine"]
    name = re.sub(r"\(R\)| Processor| CPU", "", machine["processor"])
    sets = ", ".join(machine["instructions"])
    place = f"{machine['cores']} cores of {name}" + (f" with {sets}" if sets else "")
    return f"commit {result['commit']}, {result['date']}, {place}"


def origins(results: Results, names: Sequence[str]) -> str:
    """The origins of several results, each once."""
    found = dict.fromkeys(origin(results[name]) for name in names if name in results)
    return "; ".join(found) or UNKNOWN


def commands(results: Results, names: Sequence[str]) -> str:
    """The commands of results, each with its origin, for the lines below a table."""
    known = [results[name] for name in names if name in results]
    lines = dict.fromkeys(f"- `{result['command']}`: {origin(result)}\n" for result in known)
    return "\n" + "".join(lines) if lines else ""


def megabytes(size: float) -> str:
    return digits(size / 1e6)


def digits(value: float) -> str:
    """Three digits, or all digits before the point."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:#.3g}"


def duration(seconds: float | None) -> str:
    return UNKNOWN if seconds is None else f"{seconds:.0f} s"


def interval(row: dict[str, Any], key: str) -> str:
    """A score with its 95 % interval, if that is known."""
    text, ends = f"{row[key]:.3f}", (row.get("intervals") or {}).get(key)
    return "{} ({:.3f} to {:.3f})".format(text, *ends) if ends else text


def means(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Accuracy and macro F1: the mean and the standard deviation."""
    values = [[row[key] for row in rows] for key in ("accuracy", "macro_f1")]
    return [f"{statistics.mean(v):.3f} ± {statistics.pstdev(v):.3f}" for v in values]


ALL: tuple[Callable[[Results], str], ...] = (
    models, speed, parts, limits, operators, command, training, precisions, accuracy, modalities,
    folds, exactness, interruptions, parquet, ray, long_list, distributed, busy_machine,
    serving, deletion, known,
)  # fmt: skip
TABLES = {function.__name__.replace("_", "-"): function for function in ALL}
