"""Digests of the pixels that a model sees: run where another version of Pillow is installed.

    python pixel_digests.py FOLDER

FOLDER holds image files. On stdout: JSON, for each file and setting the SHA-256 of the pixels.
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
    """Of every file in ``folder`` in every setting; the error's text where there are no pixels."""
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
