"""A list much longer than what fits into memory at once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmsent.dataset import TEST_LIST, image_file, read_list, text_file


@pytest.mark.slow
def test_memory_stays_flat_over_a_hundred_thousand_rows(sample, bundle, tmp_path):
    (tmp_path / "data").mkdir()
    known = [row.guid for row in read_list(sample / TEST_LIST, [])]
    rows = 100_000
    for guid in range(rows):
        for locate in (text_file, image_file):
            os.link(locate(sample, known[guid % len(known)]), locate(tmp_path, str(guid)))
    path = tmp_path / "list.csv"
    path.write_text("guid,tag\n" + "".join(f"{guid},null\n" for guid in range(rows)))
    program = Path(sys.executable).with_name("mmsent-infer")
    process = subprocess.Popen([program, path, "--model", bundle], cwd=tmp_path)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    with open(tmp_path / "submission.csv") as file:
        assert sum(1 for _ in file) == rows + 1
    assert usage.ru_maxrss * 1024 < 600e6
