"""`python -m mmsent` is the command `mmsent`, if scripts are not on PATH."""

from mmsent.cli import main

main()
