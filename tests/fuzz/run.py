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

target = TARGETS[sys.argv.pop(1)]
atheris.Setup([sys.argv[0], "-timeout=30", "-rss_limit_mb=2048", *sys.argv[1:]], target)
atheris.Fuzz()
