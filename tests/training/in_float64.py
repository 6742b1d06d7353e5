"""`mmsent train` in float64, in which the order of a sum changes only the last digits."""

import torch

from mmsent.cli import run
from mmsent_training.cli import train

torch.set_default_dtype(torch.float64)  # type: ignore[no-untyped-call]
torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
run(train)
