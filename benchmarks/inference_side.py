"""One side of inference.py, in its own process.

    python benchmarks/inference_side.py KIND SOURCE DATASET_FOLDER STARTED

KIND: mmsent (SOURCE is a bundle), torch-fp32, torch-bf16, torch-compiled, optimum or limits (SOURCE
is a run). All PyTorch sides use batches of 16 from a DataLoader, prepared by transformers'
processor for CLIP, and by Pillow for the other models. optimum exports CLIP's encoders if the run
has no folder "optimum" yet, and ONNX Runtime computes them. limits measures what the machine can
do: see `open_limits`. STARTED is the time at which the process was started.

The process prints a line of JSON after its first prediction, one after some more, and one for each
line that it reads:
"FIRST COUNT" measures these pairs of the unlabelled list, "parts" the parts of the side.
"""

from __future__ import annotations

import io
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mmsent.data.dataset import open_dataset
from mmsent.data.folder import TEST_LIST
from mmsent.data.pair import Pair
from mmsent.files.machine import available_cores

BATCH_SIZE = 16
WARM_UP = 3 * BATCH_SIZE
"""Pairs that are predicted before the first measurement."""

Predict = Callable[[Sequence[Pair]], list[str]]
Parts = Callable[[Sequence[Pair]], dict[str, float]]


def main() -> None:
    """Predict the first pair, then what the lines of stdin ask for."""
    kind, source, folder, started = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
    rows = list(open_dataset(folder / TEST_LIST).rows())
    opened = {"mmsent": open_mmsent, "limits": open_limits}.get(kind, open_torch)
    predict, parts = opened(kind, source)
    # torch.compile would compile a batch of 1 apart from all others.
    predict(rows[: 2 if kind == "torch-compiled" else 1])
    say({"first": time.time() - float(started), "pairs": len(rows)})
    predict(rows[:WARM_UP])
    say({})
    for line in sys.stdin:
        if line.strip() == "parts":
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
            say({"peak_mb": peak, "parts": parts(rows)})
            continue
        first, count = map(int, line.split())
        chosen = rows[first : first + count]
        start = time.perf_counter()
        labels = predict(chosen)
        say({"seconds": time.perf_counter() - start, "labels": labels})


def say(content: dict[str, Any]) -> None:
    print(json.dumps(content), flush=True)


def open_mmsent(kind: str, bundle: Path) -> tuple[Predict, Parts]:
    """The runtime, as in mmsent-infer; its parts are in pairs a second on all cores."""
    import numpy as np

    from mmsent.predict.model import SentimentModel
    from mmsent.predict.stream import predict_stream

    model, cores = SentimentModel(bundle, threads=1), available_cores()

    def predict(rows: Sequence[Pair]) -> list[str]:
        outcomes = predict_stream(model, rows, workers=cores)
        return [outcome.label for _, outcome in outcomes]

    def parts(rows: Sequence[Pair]) -> dict[str, float]:
        rows = rows[: 8 * BATCH_SIZE]
        start = time.perf_counter()
        ids = model.tokenize([row.read_text() for row in rows])
        tokenize = time.perf_counter() - start
        images = [row.load_image(model.info.image) for row in rows]
        order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
        batches = [order[i : i + BATCH_SIZE] for i in range(0, len(order), BATCH_SIZE)]

        def run(batch: list[int]) -> None:
            model.run([ids[i] for i in batch], np.stack([images[i] for i in batch]))

        with ThreadPoolExecutor(cores) as pool:
            start = time.perf_counter()
            list(pool.map(run, batches))
            session = time.perf_counter() - start
        return {"tokenize": len(rows) / tokenize, "session": len(rows) / session}

    return predict, parts


def open_limits(kind: str, run_folder: Path) -> tuple[Predict, Parts]:
    """What the machine can do, on all cores. It predicts nothing.

    Its parts: images that mmsent decodes a second, and the rates of products of 2048 x 2048
    matrices: PyTorch's in fp32, ONNX Runtime's of bytes with sums in 32 bits (MatMulInteger), in
    1e9 additions and multiplications a second.
    """
    import numpy as np
    import onnx
    import onnxruntime as ort
    import torch
    from onnx import TensorProto, helper, numpy_helper

    from mmsent_training.runs.run import read_run

    settings, cores, size = read_run(run_folder).record.image, available_cores(), 2048
    a, b = torch.rand(size, size), torch.rand(size, size)
    rounded = np.random.default_rng(0).integers(-64, 64, (size, size), np.int8)
    declare = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b"], ["c"])],
        "product",
        [declare("a", TensorProto.UINT8, [size, size])],
        [declare("c", TensorProto.INT32, [size, size])],
        [numpy_helper.from_array(rounded, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    options = ort.SessionOptions()
    options.intra_op_num_threads = cores
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feed = {"a": np.full((size, size), 100, np.uint8)}

    def rate(multiply: Callable[[], object]) -> float:
        spent = []
        for _ in range(5):
            start = time.perf_counter()
            multiply()
            spent.append(time.perf_counter() - start)
        return 2 * size**3 / statistics.median(spent) / 1e9

    def parts(rows: Sequence[Pair]) -> dict[str, float]:
        rows = rows[: 8 * BATCH_SIZE]
        with ThreadPoolExecutor(cores) as pool:
            start = time.perf_counter()
            list(pool.map(lambda row: row.load_image(settings), rows))
            decode = time.perf_counter() - start
        return {
            "decode": len(rows) / decode,
            "fp32": rate(lambda: torch.mm(a, b)),
            "int8": rate(lambda: session.run(None, feed)),
        }

    return lambda rows: [], parts


def open_torch(kind: str, run_folder: Path) -> tuple[Predict, Parts]:
    """PyTorch with the run's model; it has no parts."""
    import torch
    from PIL import Image
    from torch.nn.utils.rnn import pad_sequence
    from torch.utils.data import DataLoader

    from mmsent_training.runs.run import read_run

    run = read_run(run_folder)
    model, names = run.load_model(), run.record.labels
    processor, forward = None, model
    if run.record.model["name"] == "clip":
        from transformers import CLIPImageProcessor, CLIPProcessor, CLIPTokenizerFast

        # All values of openai/clip-vit-base-patch32's preprocessor are these classes' defaults;
        # the model normalises by itself.
        processor = CLIPProcessor(
            CLIPImageProcessor(do_rescale=False, do_normalize=False),
            CLIPTokenizerFast(tokenizer_file=str(run.folder / "tokenizer.json")),
        )

        if kind == "optimum":
            forward = _with_optimum(model.model, run.folder / "optimum")
        else:
            forward = _with_transformers(model.model)

    if kind == "torch-compiled":
        forward = torch.compile(forward, dynamic=True)

    def open_pair(row: Pair) -> tuple[str, Image.Image]:
        return row.read_text(), Image.open(io.BytesIO(row.read("image"))).convert("RGB")

    def collate(rows: Sequence[Pair]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        texts, images = zip(*(open_pair(row) for row in rows))
        if processor is not None:
            inputs = processor(
                text=list(texts),
                images=list(images),
                return_tensors="pt",
                padding=True,
                truncation=True,
                max_length=77,
            )
            pixels = inputs["pixel_values"].permute(0, 2, 3, 1)
            return inputs["input_ids"], inputs["attention_mask"], pixels
        import numpy as np

        ids = [torch.tensor(run.tokenizer.encode(text).ids) for text in texts]
        settings = run.record.image
        kernel = Image.Resampling[settings.filter.upper()]
        resized = [image.resize((settings.size, settings.size), kernel) for image in images]
        lengths = torch.tensor([len(item) for item in ids])
        padded = pad_sequence(ids, batch_first=True)
        mask = (torch.arange(padded.shape[1]) < lengths[:, None]).long()
        return padded, mask, torch.stack([torch.tensor(np.asarray(image)) for image in resized])

    def predict(rows: Sequence[Pair]) -> list[str]:
        labels: list[str] = []
        with (
            torch.inference_mode(),
            torch.autocast("cpu", torch.bfloat16, enabled=kind == "torch-bf16"),
        ):
            for batch in DataLoader(list(rows), batch_size=BATCH_SIZE, collate_fn=collate):
                labels += [names[index] for index in forward(*batch).argmax(dim=1).tolist()]
        return labels

    return predict, lambda rows: {}


def _with_transformers(model: Any) -> Any:
    """ClipClassifier.forward with transformers' CLIP, whose last layers compute all positions."""
    import torch

    clip = model.clip

    def forward(ids: torch.Tensor, mask: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        text = clip.text_model(input_ids=ids, attention_mask=mask).pooler_output
        scaled = (pixels.permute(0, 3, 1, 2).float() / 255 - model.mean) / model.std
        image = clip.vision_model(pixel_values=scaled).pooler_output
        both = clip.text_projection(text), clip.visual_projection(image)
        normalize = torch.nn.functional.normalize
        return model.head(torch.cat([normalize(item.float(), dim=-1) for item in both], dim=1))

    return forward


def _with_optimum(model: Any, folder: Path) -> Any:
    """ClipClassifier.forward with optimum's export, in a session with ONNX Runtime's defaults.

    optimum's own ORTModel opens the same session, but requires a newer PyTorch than 2.4.
    """
    import numpy as np
    import onnxruntime as ort
    import torch

    if not folder.exists():
        from optimum.exporters.onnx import main_export

        with tempfile.TemporaryDirectory() as checkpoint:
            model.clip.save_pretrained(checkpoint)
            main_export(checkpoint, folder, task="feature-extraction", library_name="transformers")
    session = ort.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])

    def forward(ids: torch.Tensor, mask: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        scaled = (pixels.permute(0, 3, 1, 2).float() / 255 - model.mean) / model.std
        feed = {"input_ids": ids, "attention_mask": mask, "pixel_values": scaled}
        names = ["text_embeds", "image_embeds"]
        found = session.run(names, {name: value.numpy() for name, value in feed.items()})
        return model.head(torch.from_numpy(np.concatenate(found, axis=1)))

    return forward


if __name__ == "__main__":
    main()
