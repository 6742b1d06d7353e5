"""Coverage-guided fuzzing: `python tests/fuzz/run.py TARGET [CORPUS…] [-OPTION=VALUE…]`.

The options are libFuzzer's (`-help=1`). A crash is left as crash-… in the working folder.
"""

import sys
import warnings
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))
warnings.simplefilter("ignore")
with atheris.instrument_imports(include=["mmsent", "PIL"]):
    from tests.fuzz.targets import TARGETS

name = sys.argv.pop(1)
# A forged Parquet page takes up to 2 GiB (docs/security.md), and each column has one.
memory = 12288 if name == "parquet" else 2048
atheris.Setup([sys.argv[0], "-timeout=30", f"-rss_limit_mb={memory}", *sys.argv[1:]], TARGETS[name])
atheris.Fuzz()
