"""Posts in common layouts, made from sample data."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

from mmsent.data.folder import image_file
from mmsent.data.sample import write_sample_data
from mmsent.data.training import TrainingSource

Post = dict[str, Any]
COLUMNS = ("--columns", "guid=id,image=img")
TRAIN, DEV, TEST = slice(0, 24), slice(24, 32), slice(32, 40)
PARTS = {"train": TRAIN, "dev": DEV, "test": TEST}


def write_posts(folder: Path) -> None:
    """Write 40 posts with the labels 0 and 1 to ``folder``, in several layouts.

    train.jsonl, dev.jsonl and test.jsonl have the layout of Hateful Memes, with images in img/.
    all.csv has the same rows with a split column.
    """
    (folder / "img").mkdir(parents=True)
    sample = folder / "sample"
    write_sample_data(sample, pairs=80, seed=0)
    pairs = TrainingSource(sample).read().train
    posts: list[Post] = []
    for label in ("negative", "positive"):
        for pair in [pair for pair in pairs if pair.label == label][:20]:
            image = f"img/{pair.guid}.png"
            shutil.copy(image_file(sample, pair.guid), folder / image)
            post = {"id": int(pair.guid), "img": image, "label": int(label == "positive")}
            posts.append(post | {"text": pair.read_text()})
    posts = [post for both in zip(posts[:20], posts[20:]) for post in both]
    for name, part in PARTS.items():
        write_lines(folder / f"{name}.jsonl", posts[part])
    with open(folder / "all.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "img", "label", "text", "split"])
        writer.writeheader()
        for name in ("dev", "train", "test"):
            writer.writerows(post | {"split": name} for post in posts[PARTS[name]])


def write_lines(path: Path, posts: list[Post]) -> Path:
    path.write_text("".join(json.dumps(post) + "\n" for post in posts))
    return path


def read_lines(path: Path) -> list[Post]:
    return [json.loads(line) for line in path.read_text().splitlines()]
