"""Make models/pretraining_texts.tsv again, from the source package of vaderSentiment 3.3.2.

    pip download --no-deps --no-binary vadersentiment vadersentiment==3.3.2
    python training/make_pretraining_texts.py vaderSentiment-3.3.2.tar.gz

The package's wheel contains only VADER's lexicon; its source also has the texts that the lexicon
was tested on.
"""

import ast
import hashlib
import html
import io
import sys
import tarfile
from pathlib import Path

SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
INNER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
SOURCES = ("tweets", "amazonReviewSnippets", "movieReviewSnippets")
TARGET = Path(__file__).parent / "mmsent_training" / "models" / "pretraining_texts.tsv"


def member(archive: bytes, name: str) -> bytes:
    """The content of a file in a tar.gz."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        file = tar.extractfile(name)
        assert file is not None, name
        return file.read()


def main(package: str) -> None:
    content = Path(package).read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        sys.exit(f"{package} is not the source package of vaderSentiment 3.3.2")
    inner = member(content, INNER)

    def columns(name: str) -> list[list[str]]:
        text = member(inner, f"hutto_ICWSM_2014/{name}").decode().replace("\r", "")
        return [line.split("\t") for line in text.split("\n") if line]

    lines = ["negative\tneutral\tpositive\ttext"]
    for source in SOURCES:
        # The number, mean and deviation of a text's ratings, then the ratings, from -4 to 4.
        rated = {row[0]: row[3] for row in columns(f"{source}_anonDataRatings.txt")}
        for number, _, text in columns(f"{source}_GroundTruth.txt"):
            if number in rated:  # all but one are
                signs = [(value > 0) - (value < 0) for value in ast.literal_eval(rated[number])]
                counts = [str(signs.count(sign)) for sign in (-1, 0, 1)]
                lines.append("\t".join([*counts, html.unescape(text)]))
    TARGET.write_bytes("\n".join([*lines, ""]).encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
