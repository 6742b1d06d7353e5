"""An explanation as a PNG with the same content as the page."""

import io
import unicodedata
from collections.abc import Sequence
from textwrap import wrap

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from mmsent.predict.explain.explanation import Explanation
from mmsent.predict.explain.fonts import Typeface, find_typeface
from mmsent.predict.explain.patches import smooth_map
from mmsent.predict.explain.rendering import (
    CAUTION,
    MODALITIES,
    TITLE,
    UNIT,
    WORDS,
    legend,
    notes,
    scale,
    signed,
    strongest_cells,
)

WIDTH, MARGIN, GAP = 1200, 40, 24
INNER = WIDTH - 2 * MARGIN
TITLE_SIZE, SIZE, SMALL = 32, 22, 17
COLUMNS = 125  # characters in a line of notes
PAPER, INK, QUIET, BAR = "#ffffff", "#1b1b1b", "#595959", "#8a8a8a"
FOR, AGAINST = (0, 98, 168), (224, 96, 0)
STRIPE = 6  # pixels


class Sheet:
    """A page that grows as it is filled; ``y`` is the height of its content."""

    def __init__(self, typeface: Typeface) -> None:
        self.typeface = typeface
        self.image = Image.new("RGB", (WIDTH, 0))
        self.y = 0
        self.need(MARGIN)

    def need(self, height: int) -> int:
        """Add ``height`` pixels; returns their top."""
        start, self.y = self.y, self.y + height
        taller = Image.new("RGB", (WIDTH, self.y), PAPER)
        taller.paste(self.image)
        self.image, self.canvas = taller, ImageDraw.Draw(taller)
        return start

    def line(self, text: str, *, size: int = SIZE, ink: str = INK, bold: bool = False) -> None:
        """Write a line, truncated if it is too long."""
        start = self.need(size * 3 // 2)
        self.write(MARGIN, start + size, text, size=size, ink=ink, bold=bold, width=INNER)

    def heading(self, text: str) -> None:
        """Begin a part."""
        self.need(GAP)
        self.line(text, bold=True)

    def paragraph(self, text: str) -> None:
        """Write small lines."""
        for line in wrap(text, COLUMNS):
            self.line(line, size=SMALL, ink=QUIET)

    def write(
        self,
        x: float,
        y: float,
        text: str,
        *,
        width: float = INNER,
        size: int = SIZE,
        ink: str = INK,
        bold: bool = False,
    ) -> None:
        """Write ``text`` from ``x`` on, with the baseline ``y``."""
        text = self.typeface.shorten(text, size, width)
        self.typeface.draw(self.canvas, (x, y), text, size=size, ink=ink, bold=bold)

    def paint(self, x: float, y: float, width: float, height: float, value: float) -> None:
        """A box, solid if ``value`` supports the label and striped if it speaks against it."""
        area = Image.new("RGB", (max(1, round(width)), max(1, round(height))), FOR)
        if value < 0:
            stripes = Image.fromarray(_stripes(area.height, area.width))
            area = Image.new("RGB", area.size, PAPER)
            area.paste(AGAINST, mask=stripes)
        self.image.paste(area, (round(x), round(y)))


def to_png(explanation: Explanation) -> bytes:
    """The PNG, 1200 pixels wide. Characters that no installed font has are escaped, and logged."""
    labels = "".join(explanation.probabilities)
    sheet = Sheet(find_typeface(explanation.text[: explanation.read] + labels))
    probability = explanation.probabilities[explanation.label]
    sheet.line(f"{TITLE}: {explanation.label}, {probability:.1%}", size=TITLE_SIZE, bold=True)
    sheet.paragraph(CAUTION)
    sheet.paragraph(UNIT)
    _labels(sheet, explanation)
    _modalities(sheet, explanation)
    if explanation.words:
        _words(sheet, explanation)
    if explanation.regions is not None:
        _regions(sheet, explanation, explanation.regions)
    sheet.need(GAP)
    for note in notes(explanation):
        sheet.paragraph(note)
    sheet.need(MARGIN)
    file = io.BytesIO()
    sheet.image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _labels(sheet: Sheet, explanation: Explanation) -> None:
    sheet.heading("Labels")
    for label, value in explanation.probabilities.items():
        chosen = label == explanation.label
        y = sheet.need(32)
        sheet.write(MARGIN, y + SIZE, label, width=280, bold=chosen)
        sheet.write(MARGIN + 300, y + SIZE, f"{value:.1%}", bold=chosen)
        left = MARGIN + 400
        box = (left, y + 6, left + round(value * (INNER - 400)), y + SIZE + 2)
        sheet.canvas.rectangle(box, fill=FOR if chosen else BAR)


def _modalities(sheet: Sheet, explanation: Explanation) -> None:
    sheet.heading(f"Text and image, for {explanation.label}")
    values = {part: value[explanation.label] for part, value in explanation.modalities.items()}
    half = (INNER - 300) / 2
    middle = MARGIN + 200 + half
    for part, value in values.items():
        y = sheet.need(32)
        sheet.write(MARGIN, y + SIZE, part)
        sheet.write(MARGIN + 100, y + SIZE, signed(value))
        length = half * abs(value) / scale([*values.values()])
        sheet.paint(middle if value >= 0 else middle - length, y + 6, length, SIZE - 4, value)
        sheet.canvas.line((middle, y, middle, y + 32), fill=INK)
    sheet.paragraph(MODALITIES)


def _words(sheet: Sheet, explanation: Explanation) -> None:
    """Each word with its line and value below; texts in Hebrew and the like from right to left."""
    sheet.heading("Words")
    largest = scale([word.value for word in explanation.words])
    from_right = _from_right(explanation.text)
    height, x, y = 2 * SIZE + 24, 0.0, sheet.need(2 * SIZE + 24)
    place = 0
    for word in explanation.words:
        spaced = word.start > place
        place = word.end
        text = sheet.typeface.shorten(" ".join(word.text.split()), SIZE, INNER)
        text_width = sheet.typeface.width(text, SIZE)
        number = signed(word.value)
        number_width = sheet.typeface.width(number, SMALL)
        width = max(text_width, number_width)
        x += 12 if spaced and x else 3
        if x + width > INNER:
            x, y = 0.0, sheet.need(height)
        left = MARGIN + (INNER - x - width if from_right else x)
        sheet.write(left + (width - text_width) / 2, y + SIZE, text)
        thick = 2 + round(6 * abs(word.value) / largest)
        sheet.paint(left, y + SIZE + 8, width, thick, word.value)
        sheet.write(
            left + (width - number_width) / 2, y + 2 * SIZE + 16, number, size=SMALL, ink=QUIET
        )
        x += width
    sheet.paragraph(WORDS)


def _regions(sheet: Sheet, explanation: Explanation, regions: Sequence[Sequence[float]]) -> None:
    sheet.heading("Regions of the image")
    view = explanation.view or Image.new("RGB", (512, 512), BAR)
    half = (INNER - GAP) // 2
    factor = min(half / view.width, 640 / view.height)
    size = max(1, round(view.width * factor)), max(1, round(view.height * factor))
    photo = view.resize(size, Image.Resampling.BICUBIC)
    y = sheet.need(size[1] + GAP // 2)
    sheet.image.paste(photo, (MARGIN, y))
    sheet.image.paste(_heat(photo, regions), (MARGIN + half + GAP, y))
    across, down = size[0] / len(regions), size[1] / len(regions)
    number_size = max(8, round(min(24, 0.7 * across, 0.7 * down)))
    for rank, cell in enumerate(strongest_cells(regions), 1):
        left, top = MARGIN + half + GAP + cell.column * across, y + cell.row * down
        inset = min(2, across / 4, down / 4)
        for shift, ink, line in ((0, "black", 8 - rank), (inset, "white", 4 - rank)):
            box = (left + shift, top + shift, left + across - shift, top + down - shift)
            sheet.canvas.rectangle(box, outline=ink, width=line)
        width = sheet.typeface.width(str(rank), number_size)
        place = left + (across - width) / 2, top + down / 2 + number_size / 3
        sheet.typeface.draw(
            sheet.canvas, place, str(rank), size=number_size, ink="white", outline="black"
        )
    sheet.paragraph(f"Left: what the model sees. Right: the map. {legend(regions)}")


def _heat(photo: Image.Image, regions: Sequence[Sequence[float]]) -> Image.Image:
    """The photo in grey under the smooth map."""
    values = smooth_map(regions, photo.height, photo.width)[..., None]
    strength = 0.75 * np.abs(values) / scale([value for row in regions for value in row])
    stripes = np.where(_stripes(photo.height, photo.width), 1.0, 0.4)[..., None]
    strength = np.where(values < 0, strength * stripes, strength)
    colour = np.where(values < 0, AGAINST, FOR)
    grey = np.asarray(photo.convert("L").convert("RGB"), np.float64)
    return Image.fromarray((grey + strength * (colour - grey)).astype(np.uint8))


def _stripes(height: int, width: int) -> npt.NDArray[np.bool_]:
    """Diagonal stripes, bool [height, width]."""
    rows, columns = np.ogrid[:height, :width]
    return np.asarray((rows + columns) // STRIPE % 2 == 0)


def _from_right(text: str) -> bool:
    """Whether the first letter with a direction is Hebrew, Arabic or the like."""
    directions = (unicodedata.bidirectional(char) for char in text)
    return next((each for each in directions if each in ("L", "R", "AL")), "L") != "L"
