"""A list much longer than what fits into memory at once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmsent.data.dataset import open_dataset
from mmsent.data.folder import TEST_LIST, image_file, text_file

# A process counts its parent's memory in its own peak, until it has become another program: so
# the parent is a small one, and not these tests with PyTorch in them.
PEAK = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


@pytest.mark.slow
def test_memory_stays_flat_over_a_hundred_thousand_rows(sample, bundle, tmp_path):
    (tmp_path / "data").mkdir()
    known = [pair.guid for pair in open_dataset(sample / TEST_LIST).rows()]
    rows = 100_000
    for guid in range(rows):
        for locate in (text_file, image_file):
            os.link(locate(sample, known[guid % len(known)]), locate(tmp_path, str(guid)))
    path = tmp_path / "list.csv"
    path.write_text("guid,tag\n" + "".join(f"{guid},null\n" for guid in range(rows)))
    program = Path(sys.executable).with_name("mmsent-infer")
    command = [sys.executable, "-c", PEAK, program, path, "--model", bundle]
    done = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0
    with open(tmp_path / "submission.csv") as file:
        assert sum(1 for _ in file) == rows + 1
    assert int(done.stdout) * 1024 < 600e6
