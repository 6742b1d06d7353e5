"""One side of inference.py, in its own process; prints JSON.

    python benchmarks/inference_side.py KIND SOURCE DATASET_FOLDER STARTED

KIND: mmsent (SOURCE is a bundle), torch-fp32, torch-bf16 or optimum (SOURCE is a run). All but
mmsent use batches of 16 from a DataLoader, prepared by transformers' processor for CLIP, and by
Pillow for the light model. optimum exports CLIP's encoders if the run has no folder "optimum" yet,
and ONNX Runtime computes them. STARTED is the time at which the process was started.
"""

from __future__ import annotations

import io
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmsent.data.dataset import open_dataset
from mmsent.data.folder import TEST_LIST
from mmsent.data.pair import Pair

BATCH_SIZE = 16


def main() -> None:
    """Predict the first pair, then the whole unlabelled list."""
    kind, source, folder, started = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
    rows = list(open_dataset(folder / TEST_LIST).rows())
    side = open_mmsent if kind == "mmsent" else open_torch
    predict, parts = side(kind, source)
    predict(rows[:1])
    first = time.time() - float(started)
    start = time.perf_counter()
    labels = predict(rows)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    result = {"first": first, "seconds": seconds, "pairs": len(rows), "peak_mb": peak}
    print(json.dumps(result | {"labels": labels} | {"parts": parts(rows)}))


Predict = Callable[[Sequence[Pair]], list[str]]
Parts = Callable[[Sequence[Pair]], dict[str, float]]


def open_mmsent(kind: str, bundle: Path) -> tuple[Predict, Parts]:
    """The runtime, as in mmsent-infer; its parts are in pairs a second on all cores."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    from mmsent.files.machine import available_cores
    from mmsent.predict.model import SentimentModel
    from mmsent.predict.stream import predict_stream

    model, cores = SentimentModel(bundle, threads=1), available_cores()

    def predict(rows: Sequence[Pair]) -> list[str]:
        outcomes = predict_stream(model, rows, workers=cores)
        return [outcome.label for _, outcome in outcomes]

    def parts(rows: Sequence[Pair]) -> dict[str, float]:
        with ThreadPoolExecutor(cores) as pool:
            start = time.perf_counter()
            images = list(pool.map(lambda row: row.load_image(model.info.image), rows))
            decode = time.perf_counter() - start
            start = time.perf_counter()
            ids = model.tokenize([row.read_text() for row in rows])
            tokenize = time.perf_counter() - start
            order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
            batches = [order[i : i + BATCH_SIZE] for i in range(0, len(order), BATCH_SIZE)]
            start = time.perf_counter()
            list(
                pool.map(
                    lambda b: model.run([ids[i] for i in b], np.stack([images[i] for i in b])),
                    batches,
                )
            )
            session = time.perf_counter() - start
        return {
            "decode": len(rows) / decode,
            "tokenize": len(rows) / tokenize,
            "session": len(rows) / session,
        }

    return predict, parts


def open_torch(kind: str, run_folder: Path) -> tuple[Predict, Parts]:
    """PyTorch with the run's model; its part is the rate of the fp32 matrix product, in GFLOP/s."""
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

    def parts(rows: Sequence[Pair]) -> dict[str, float]:
        size = 2048
        a, b = torch.rand(size, size), torch.rand(size, size)
        spent = []
        for _ in range(8):
            start = time.perf_counter()
            torch.mm(a, b)
            spent.append(time.perf_counter() - start)
        return {"gflops": 2 * size**3 / min(spent) / 1e9}

    return predict, parts


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
