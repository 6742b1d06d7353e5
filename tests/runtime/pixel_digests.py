"""Prints digests of a model's input pixels; run with other versions of Pillow.

    python pixel_digests.py FOLDER

FOLDER contains image files. The output is JSON: the SHA-256 of the pixels per file and setting.
"""

import hashlib
import json
import sys
from pathlib import Path

import PIL

from mmsent.errors import InputError
from mmsent.inputs.image import ImageSettings, load_image

SETTINGS = [
    ImageSettings(size, resize, filter)
    for size in (112, 224)
    for resize in ("stretch", "crop")
    for filter in ("bilinear", "bicubic")
]


def digests(folder: Path) -> dict[str, str]:
    """The digests of every file in ``folder`` in every setting, or the message of the error."""
    found = {}
    for path in sorted(folder.iterdir()):
        for settings in SETTINGS:
            key = f"{path.name} {settings.size} {settings.resize} {settings.filter}"
            try:
                found[key] = hashlib.sha256(load_image(path, settings).tobytes()).hexdigest()
            except InputError as error:
                found[key] = str(error)
    return found


if __name__ == "__main__":
    print(json.dumps({"pillow": PIL.__version__, "digests": digests(Path(sys.argv[1]))}))
