"""Make a full-size stand-in for CLIP with random weights, if the real ones can't be downloaded.

    python benchmarks/clip_stand_in.py FILES DIR

FILES contains the real config.json, tokenizer.json and preprocessor_config.json; DIR becomes a
checkpoint as on the hub, for `mmsent train --clip DIR`. It is as fast as CLIP, but its predictions
are meaningless.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPModel


def main() -> None:
    """Write the stand-in."""
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    files, folder = (Path(argument) for argument in sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    CLIPModel(CLIPConfig.from_pretrained(files)).save_pretrained(folder, safe_serialization=True)
    for path in files.iterdir():
        if path.suffix in (".json", ".txt"):
            (folder / path.name).unlink(missing_ok=True)
            shutil.copyfile(path, folder / path.name)


if __name__ == "__main__":
    main()
