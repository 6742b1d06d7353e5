"""`python -m mmsent_training` is `mmsent train`: for launchers that start a module."""

from mmsent.cli import run
from mmsent_training.cli import train

run(train)
