"""`python -m mmsent` is the command `mmsent`: for where scripts are not on the PATH."""

from mmsent.cli import main

main()
