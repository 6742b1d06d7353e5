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
        # These sums are exact in float32, so no result depends on their order or on the batch, and
        # below 65,504, for fp16. In PyTorch and in ONNX Runtime they are faster than avg_pool2d.
        colours, box = pixels.permute(0, 3, 1, 2).contiguous().float(), SIZE // GRID
        cells = sum_boxes(colours, CELL) / CELL**2
        grey = colours.sum(1) / 16
        across = nn.functional.pad((grey[:, :, 1:] - grey[:, :, :-1]).abs(), (0, 1))
        down = nn.functional.pad((grey[:, 1:] - grey[:, :-1]).abs(), (0, 0, 0, 1))
        edges = sum_boxes(torch.stack([across, down], 1), box) / (3 * 255 / 16 * box**2)
        means = sum_boxes(cells, box // CELL) / (255 * (box // CELL) ** 2)
        # Every cell counts for the two nearest shades of each primary colour, so that no count
        # changes by a rounding error.
        cells = cells.flatten(2) / 255
        shades = torch.arange(SHADES, device=pixels.device).view(1, -1, 1)
        red, green, blue = (
            (1 - ((SHADES - 1) * values.unsqueeze(1) - shades).abs()).relu()
            for values in cells.unbind(1)
        )  # [batch, SHADES, cells] each
        pairs = (red.unsqueeze(2) * green.unsqueeze(1)).flatten(1, 2)
        histogram = torch.matmul(pairs, blue.transpose(1, 2)).flatten(1) / blue.shape[-1]
        return torch.cat([means.flatten(1), edges.flatten(1), (histogram + 1e-4).sqrt()], 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Standardised statistics of uint8 [batch, SIZE, SIZE, 3]: float [batch, WIDTH]."""
        return (self.measure(pixels) - self.mean) / self.std


def sum_boxes(values: Tensor, side: int) -> Tensor:
    """The sums of the ``side`` x ``side`` boxes of [..., height, width]."""
    rows = torch.unflatten(values, -2, (-1, side)).sum(-2)
    return torch.unflatten(rows, -1, (-1, side)).sum(-1)
