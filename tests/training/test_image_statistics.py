"""Statistics of images, compared with the same from NumPy."""

import numpy as np
import pytest
import torch

from mmsent_training.models.image_statistics import GRID, SHADES, SIZE, WIDTH, ImageStatistics


@pytest.fixture(scope="module")
def pixels():
    """Noise, which is brighter to the right, and a picture of one colour."""
    noise = np.random.default_rng(0).integers(0, 128, (3, SIZE, SIZE, 3))
    noise += np.linspace(0, 127, SIZE, dtype=np.int64)[:, None]
    plain = np.broadcast_to([255, 0, 85], (1, SIZE, SIZE, 3))
    return torch.from_numpy(np.concatenate([noise, plain]).astype(np.uint8))


def test_colours_and_edges_are_means_over_the_cells_of_a_grid(pixels):
    found = ImageStatistics()(pixels).numpy()[:, : 5 * GRID**2]
    scaled, side = pixels.numpy() / 255, SIZE // GRID
    grey = np.pad(scaled.mean(-1), ((0, 0), (0, 1), (0, 1)), mode="edge")
    edges = [np.abs(np.diff(grey, axis=axis))[:, :SIZE, :SIZE] for axis in (2, 1)]
    planes = np.stack([*np.moveaxis(scaled, -1, 0), *edges], 1)
    cells = planes.reshape(len(pixels), 5, GRID, side, GRID, side).mean((3, 5))
    np.testing.assert_allclose(found, cells.reshape(len(pixels), -1), atol=1e-5)


def test_the_histogram_counts_colours(pixels):
    """A plain picture has one colour: all red, no green, a third of blue."""
    histogram = ImageStatistics()(pixels)[:, 5 * GRID**2 :] ** 2 - 1e-4
    assert histogram.shape == (len(pixels), SHADES**3)
    torch.testing.assert_close(histogram.sum(1), torch.ones(len(pixels)), atol=1e-4, rtol=0)
    red, green, blue = SHADES - 1, 0, 1
    plain = histogram[-1].view(SHADES, SHADES, SHADES)
    assert float(plain[red, green, blue]) == pytest.approx(1, abs=1e-4)


def test_they_are_standardised_by_the_training_images(pixels):
    model = ImageStatistics()
    before = model(pixels)
    model.learn(pixels)
    wanted = (before - before.mean(0)) / (before.std(0, correction=0) + 1e-2)
    torch.testing.assert_close(model(pixels), wanted)
    assert wanted.shape == (len(pixels), WIDTH)
