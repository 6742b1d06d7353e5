"""Draw the README's picture: posts with the predictions of the model that `make demo` trains.

    python examples/readme_picture.py demo docs/predictions.png

The images come from the synthetic dataset; the texts are below. The script needs matplotlib, which
mmsent-training installs.
"""

import sys
from pathlib import Path
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from mmsent import Prediction, SentimentModel

POSTS = (  # one image with two texts, then one text with two images
    ("332", "what a beautiful day, love it"),
    ("332", "tired and alone in the rain"),
    ("1703", "the city today"),
    ("1622", "the city today"),
)
BLUE, GREY = "#0072b2", "0.8"


def draw_post(axes: Axes, image: Image.Image, text: str) -> None:
    """Draw the image with its text below it."""
    axes.imshow(image)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(GREY)
    axes.set_xlabel(fill(f"“{text}”", 32), fontsize=10, style="italic", labelpad=8)


def draw_probabilities(axes: Axes, prediction: Prediction) -> None:
    """Draw one bar per label and highlight the predicted label."""
    for place, (label, value) in enumerate(prediction.probabilities.items()):
        predicted = label == prediction.label
        weight = "bold" if predicted else "normal"
        axes.barh(place, value, color=BLUE if predicted else GREY)
        axes.text(value + 0.02, place, f"{value:.2f}", va="center", weight=weight)
    axes.set_yticks(range(len(prediction.probabilities)), [*prediction.probabilities])
    axes.set_xlim(0, 1.2)
    axes.set_xticks([])
    axes.invert_yaxis()
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.tick_params(left=False)


def main(demo: Path, output: Path) -> None:
    """Draw ``POSTS`` side by side."""
    model = SentimentModel(demo / "model.onnx")
    figure = Figure(figsize=(10.5, 2.9), layout="constrained")
    rows = figure.subplots(2, len(POSTS), height_ratios=(5, 3))
    for above, below, (guid, text) in zip(*rows, POSTS):
        path = demo / "dataset" / "data" / f"{guid}.jpg"
        with Image.open(path) as image:
            draw_post(above, image.convert("RGB"), text)
        draw_probabilities(below, model.predict(text=text, image=path))
    figure.savefig(output, dpi=96)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
