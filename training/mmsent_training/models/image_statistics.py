"""Statistics of an image that need no training: its colours, where they are, and its edges."""

import torch
from torch import Tensor, nn

SIZE = 112
"""The height and the width of the images."""
GRID = 4
"""Rows and columns of the layout."""
CELL = 4
"""Pixels, along each side, of the cells whose colours the histogram counts."""
SHADES = 4
"""Of each primary colour, in the histogram."""
WIDTH = 3 * GRID**2 + 2 * GRID**2 + SHADES**3


class ImageStatistics(nn.Module):
    """The mean colours of a 4 x 4 grid, its horizontal and vertical edges, and a histogram.

    They are standardised by the statistics of training images: call `learn` first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(WIDTH))
        self.register_buffer("std", torch.ones(WIDTH))

    @torch.no_grad()
    def learn(self, pixels: Tensor) -> None:
        """Standardise by the statistics of ``pixels``, uint8 [images, SIZE, SIZE, 3]."""
        found = torch.cat([self.measure(part) for part in torch.split(pixels, 64)])
        self.mean.copy_(found.mean(0))
        self.std.copy_(found.std(0, correction=0) + 1e-2)  # some colours are almost never there

    def measure(self, pixels: Tensor) -> Tensor:
        """The statistics of uint8 [batch, SIZE, SIZE, 3], as they are: [batch, WIDTH]."""
        colours = pixels.permute(0, 3, 1, 2).float() / 255
        grey = nn.functional.pad(colours.mean(1, keepdim=True), (0, 1, 0, 1), mode="replicate")
        inner = grey[:, :, :-1, :-1]
        edges = torch.cat([grey[:, :, :-1, 1:] - inner, grey[:, :, 1:, :-1] - inner], 1).abs()
        pool = nn.functional.avg_pool2d
        layout = [pool(part, SIZE // GRID).flatten(1) for part in (colours, edges)]
        # Every cell counts for the two nearest shades of each primary colour, so that no count
        # changes by a rounding error.
        cells = nn.functional.avg_pool2d(colours, CELL).flatten(2).unsqueeze(2)
        shades = torch.arange(SHADES, device=pixels.device).view(1, 1, -1, 1)
        near = (1 - ((SHADES - 1) * cells - shades).abs()).clamp(min=0)
        red, green, blue = near.unbind(1)  # [batch, SHADES, cells] each
        pairs = (red.unsqueeze(2) * green.unsqueeze(1)).flatten(1, 2)
        histogram = torch.matmul(pairs, blue.transpose(1, 2)).flatten(1) / cells.shape[-1]
        return torch.cat([*layout, (histogram + 1e-4).sqrt()], 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Standardised statistics of uint8 [batch, SIZE, SIZE, 3]: float [batch, WIDTH]."""
        return (self.measure(pixels) - self.mean) / self.std
