"""How an image encoder's own files say that images are prepared."""

import json
import math
from pathlib import Path
from typing import Any

from mmsent.errors import InputError
from mmsent.inputs.image import ImageSettings
from mmsent_training.models.dual_encoders import RESAMPLE, read_scale


def read_preprocessing(
    folder: Path, config: dict[str, Any]
) -> tuple[ImageSettings, list[float], list[float]]:
    """The resizing of images, and their mean and deviation, scaled to 0 to 1.

    ``config``: of the encoder. A margin that is cropped away is not: the shorter edge becomes the
    model's size. Raises InputError if the files ask for something that a bundle does not support.
    """
    timm = config["model_type"] == "timm"
    path = folder / ("config.json" if timm else "preprocessor_config.json")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if timm:
            found = found.get("pretrained_cfg", found)
            size, channels = found["input_size"][1], found["input_size"][0]
            if channels != 3 or found["input_size"][2] != size:
                raise ValueError(f"images of {found['input_size']} are no RGB squares")
            resize = "stretch" if found.get("crop_mode", "center") == "squash" else "crop"
            settings = ImageSettings(size, resize, found["interpolation"])
            return settings, *read_scale(found["mean"], found["std"])
        for step in ("do_resize", "do_rescale", "do_normalize"):
            if not found.get(step, True):
                raise ValueError(f"{step} is off")
        if not math.isclose(found.get("rescale_factor", 1 / 255), 1 / 255, rel_tol=1e-3):
            raise ValueError("the scale is not 0 to 1")
        size, resize = _square(found)
        needed = config["image_size"]
        if needed not in (size, [size, size]) and config["model_type"] != "dinov2":
            raise ValueError(f"images do not become squares of {needed} pixels")
        settings = ImageSettings(size, resize, RESAMPLE[found["resample"]])
        return settings, *read_scale(found["image_mean"], found["image_std"])
    except (ValueError, KeyError, TypeError, AttributeError, InputError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise InputError(f"{path} asks for preprocessing that no bundle can do: {reason}") from None


def _square(found: dict[str, Any]) -> tuple[int, str]:
    """The edge of the square that transformers' image processor makes, and how it makes it."""
    size, crop = found["size"], found.get("crop_size")
    shortest = isinstance(size, dict) and "shortest_edge" in size
    if found.get("do_center_crop", shortest):
        crop = crop if crop is not None else size
        edges = {crop["height"], crop["width"]} if isinstance(crop, dict) else {crop}
        resize = "crop"
    elif shortest:
        raise ValueError("images keep their shape")
    else:
        edges = {size["height"], size["width"]} if isinstance(size, dict) else {size}
        resize = "stretch"
    if len(edges) > 1:
        raise ValueError("images do not become squares")
    return edges.pop(), resize
