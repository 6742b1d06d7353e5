"""What a user would write with PyTorch to predict a list: the other side of inference.py.

python benchmarks/pytorch_inference.py DATASET_FOLDER RUN OUTPUT
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from mmsent.dataset import LABELS
from mmsent_training.run import read_run


class Tweets(Dataset):
    """Reads and prepares one pair at a time."""

    def __init__(self, folder: Path, tokenizer) -> None:
        self.folder, self.tokenizer = folder, tokenizer
        self.guids = pd.read_csv(folder / "test_without_label.txt", dtype=str)["guid"].tolist()

    def __len__(self) -> int:
        return len(self.guids)

    def __getitem__(self, index: int):
        guid = self.guids[index]
        data = (self.folder / "data" / f"{guid}.txt").read_bytes()
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text = data.decode("gb18030")
        image = Image.open(self.folder / "data" / f"{guid}.jpg").convert("RGB")
        pixels = np.asarray(image.resize((224, 224), Image.Resampling.BILINEAR))
        return torch.tensor(self.tokenizer.encode(text.strip()).ids), torch.tensor(pixels)


def collate(items):
    """Pad the texts and stack the images."""
    ids = pad_sequence([item[0] for item in items], batch_first=True)
    lengths = torch.tensor([len(item[0]) for item in items])
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    return ids, mask, torch.stack([item[1] for item in items])


def main() -> None:
    """Predict the unlabelled list with the run's PyTorch model, in batches of 16."""
    folder, run_folder, output = (Path(argument) for argument in sys.argv[1:])
    run = read_run(run_folder)
    model = run.load_model()
    tweets = Tweets(folder, run.tokenizer)
    predicted = []
    with torch.inference_mode():
        for batch in DataLoader(tweets, batch_size=16, collate_fn=collate):
            predicted += model(*batch).argmax(dim=1).tolist()
    table = {"guid": tweets.guids, "tag": [LABELS[index] for index in predicted]}
    pd.DataFrame(table).to_csv(output, index=False)


if __name__ == "__main__":
    main()
