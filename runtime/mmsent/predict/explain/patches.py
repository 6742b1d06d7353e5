"""The patches of an image that are hidden one at a time, and the map of their values."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mmsent.inputs.image import MISSING


def hide_patch(
    pixels: npt.NDArray[np.uint8], row: int, column: int, grid: int
) -> npt.NDArray[np.uint8]:
    """``pixels``, uint8 [size, size, 3], with a cell's patch in the colour of a missing image.

    The image is divided into ``grid`` x ``grid`` cells. A cell's patch has its centre and twice its
    width and height, cut off at the image's edges, so that neighbours overlap by half.
    """
    size = len(pixels)
    hidden = pixels.copy()
    rows, columns = _edges(row, grid, size), _edges(column, grid, size)
    hidden[rows[0] : rows[1], columns[0] : columns[1]] = MISSING
    return hidden


def _edges(cell: int, grid: int, size: int) -> tuple[int, int]:
    """First and last pixel of a patch: half a cell before and after its cell, rounded half up."""
    start = ((2 * cell - 1) * size + grid) // (2 * grid)
    end = ((2 * cell + 3) * size + grid) // (2 * grid)
    return max(0, start), min(size, end)


def smooth_map(
    regions: Sequence[Sequence[float]], height: int, width: int
) -> npt.NDArray[np.float64]:
    """Values at ``height`` x ``width`` points of an image from those of its cells, float64.

    Bilinear interpolation between the centres of the cells; beyond the outermost centres, the
    nearest value. So each patch has weight 1 at its centre and 0 at its edges.
    """
    values = np.asarray(regions, np.float64)
    down, across = (_weights(count, n) for count, n in zip((height, width), values.shape))
    return down @ values @ across.T


def _weights(count: int, cells: int) -> npt.NDArray[np.float64]:
    """The weight of each cell at ``count`` points' centres, [count, cells]; rows add up to 1."""
    places = np.clip((np.arange(count) + 0.5) * cells / count - 0.5, 0, cells - 1)
    return np.maximum(0.0, 1.0 - np.abs(places[:, None] - np.arange(cells)))
