"""Synthetic pairs, and functions that write them in each layout that mmsent reads."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from mmsent.data.dataset import TRAINING, open_dataset
from mmsent.data.pair import Pair
from mmsent.data.sample import write_sample_data

SUFFIXES = {b"\xff\xd8": ".jpg", b"\x89P": ".png", b"GI": ".gif"}

LABELS: dict[str, Sequence[str]] = {
    "two": ("hateful", "fine"),
    "six": ("anger", "disgust", "fear", "joy", "sadness", "surprise"),
    "forty": [f"class {number}" for number in range(40)],
    "numbers": ("0", "1", "10"),
    "Chinese": ("仇恨", "非仇恨"),
}


class Row(NamedTuple):
    """The parts of a pair; None for a missing one."""

    guid: str
    text: str | None
    image: bytes | None
    label: str | None
    split: str | None = None

    @property
    def image_name(self) -> str:
        """A file name for the image, with the suffix of its format."""
        return f"{self.guid}{SUFFIXES[(self.image or b'')[:2]]}"


def drawn(folder: Path, labels: Sequence[str], *, pairs: int = 40) -> list[Row]:
    """Synthetic pairs with these labels; ``folder`` has them in the task's layout."""
    write_sample_data(folder, pairs=pairs)
    known = list(open_dataset(folder).select(TRAINING).rows())
    return [
        Row(pair.guid, pair.read_text(), pair.read("image"), labels[index % len(labels)])
        for index, pair in enumerate(known)
        if isinstance(pair, Pair)
    ]


def read(path: Path) -> list[Row]:
    """All rows of a dataset as mmsent reads them."""
    return [
        Row(
            pair.guid,
            None if pair.text is None else pair.read_text(),
            None if pair.image is None else pair.read("image"),
            pair.label,
            pair.split,
        )
        for pair in open_dataset(path).rows()
        if isinstance(pair, Pair)
    ]


def task_folder(folder: Path, rows: Sequence[Row]) -> Path:
    """train.txt, data/GUID.txt and data/GUID.*."""
    (folder / "data").mkdir(parents=True)
    for row in rows:
        (folder / "data" / f"{row.guid}.txt").write_text(row.text or "", encoding="utf-8")
        (folder / "data" / row.image_name).write_bytes(row.image or b"")
    lines = [f"{row.guid},{row.label}\n" for row in rows]
    (folder / "train.txt").write_text("guid,tag\n" + "".join(lines), encoding="utf-8")
    return folder


def delimited(folder: Path, rows: Sequence[Row], *, name: str = "list.csv") -> Path:
    """A CSV list with the images in a separate folder."""
    write_images(folder / "pictures", rows)
    with open(folder / name, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t" if name.endswith(".tsv") else ",")
        writer.writerow(["id", "tweet", "image_path", "sentiment"])
        writer.writerows(
            [row.guid, row.text, f"pictures/{row.image_name}", row.label] for row in rows
        )
    return folder / name


def tab_separated(folder: Path, rows: Sequence[Row]) -> Path:
    """A TSV list with the images in a separate folder."""
    return delimited(folder, rows, name="list.tsv")


def json_lines(folder: Path, rows: Sequence[Row]) -> Path:
    """JSON Lines as in Hateful Memes: id, img, label and text; numbers stay numbers."""
    write_images(folder / "img", rows)
    with open(folder / "list.jsonl", "w", encoding="utf-8") as file:
        for row in rows:
            label = int(row.label) if row.label and row.label.isdecimal() else row.label
            content = {
                "id": int(row.guid), "img": f"img/{row.image_name}", "label": label,
                "text": row.text,
            }  # fmt: skip
            file.write(json.dumps(content, ensure_ascii=int(row.guid) % 2 == 0) + "\n")
    return folder / "list.jsonl"


def parquet(folder: Path, rows: Sequence[Row]) -> Path:
    """Parquet as datasets writes it: a struct of bytes and path, and a ClassLabel."""
    folder.mkdir(parents=True)
    names = sorted({row.label for row in rows if row.label})
    table = pa.table(
        {
            "guid": [row.guid for row in rows],
            "text": [row.text for row in rows],
            "image": [{"bytes": row.image, "path": row.image_name} for row in rows],
            "label": [names.index(row.label) if row.label else -1 for row in rows],
        }
    )
    features = {"label": {"names": names, "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    described = json.dumps({"info": {"features": features}})
    pq.write_table(table.replace_schema_metadata({"huggingface": described}), folder / "p.parquet")
    return folder / "p.parquet"


def imagefolder(folder: Path, rows: Sequence[Row]) -> Path:
    """train/metadata.csv with file_name, which is also the guid."""
    write_images(folder / "train", rows)
    with open(folder / "train" / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "text", "label"])
        writer.writerows([row.image_name, row.text, row.label] for row in rows)
    return folder


def write_images(folder: Path, rows: Sequence[Row]) -> None:
    """Write each image to its own file."""
    folder.mkdir(parents=True)
    for row in rows:
        (folder / row.image_name).write_bytes(row.image or b"")


LAYOUTS: dict[str, Callable[[Path, Sequence[Row]], Path]] = {
    "CSV": delimited,
    "TSV": tab_separated,
    "JSON lines": json_lines,
    "Parquet": parquet,
    "imagefolder": imagefolder,
}


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write rows with the same columns as CSV, JSON Lines or Parquet, depending on the suffix."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return path
