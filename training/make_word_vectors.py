"""Make models/word_vectors.safetensors again: what MiniLM, trained on rated texts, makes of words.

    python training/make_word_vectors.py [FILE]

It takes a minute. WORD_VECTORS.md in the same folder describes it.
"""

import logging
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from tokenizers.pre_tokenizers import Punctuation, Sequence, Whitespace

from mmsent.data.labels import SENTIMENTS
from mmsent.inputs.text import pad_ids, tokenize
from mmsent_training.devices import reproducible
from mmsent_training.examples import Examples
from mmsent_training.models import compact
from mmsent_training.models.lexicon import read_lexicon
from mmsent_training.models.pretraining import add_changes, read_texts
from mmsent_training.models.recipe import Inputs, Task
from mmsent_training.models.word_vectors import FILE, WIDTH
from mmsent_training.settings import Settings

BATCH_SIZE = 256
RARE = 1e-3
"""Words are weighted by RARE / (RARE + their frequency) (Arora et al., A simple but tough-to-beat
baseline for sentence embeddings, 2017)."""
CLIPPED = 99.95
"""The percentile of the vectors' absolute values that becomes 127."""
SPLIT = Sequence([Whitespace(), Punctuation("isolated")])  # as the light model splits texts

Floats = npt.NDArray[np.float32]


def split(text: str) -> list[str]:
    """The words and punctuation marks of ``text``, in lower case."""
    return [word for word, _ in SPLIT.pre_tokenize_str(text.lower())]


def choose_words(inputs: Inputs, counts: Counter[str]) -> list[str]:
    """MiniLM's own words, the lexicon's, and those that occur twice or more in the rated texts."""
    own = [word for word in inputs.tokenizer.get_vocab() if not word.startswith(("##", "["))]
    rated = [word for word in read_lexicon() if word.isalpha()]
    frequent = [word for word, count in counts.items() if count > 1]
    return sorted(word for word in {*own, *rated, *frequent} if word.isascii())


@torch.inference_mode()
def embed(model: torch.nn.Module, inputs: Inputs, words: list[str]) -> Floats:
    """What the model makes of each word alone, as if it were a text: [words, features]."""
    model.eval()
    ids = tokenize(inputs.tokenizer, words)
    order = sorted(range(len(words)), key=lambda index: len(ids[index]))
    found = torch.empty(len(words), model.head.text_width)
    for start in range(0, len(order), BATCH_SIZE):
        rows = order[start : start + BATCH_SIZE]
        input_ids, mask = map(torch.from_numpy, pad_ids([ids[row] for row in rows]))
        found[rows] = model.head.text_features(model.embed_text(input_ids, mask), mask)
    return found.numpy()


def reduce(vectors: Floats, frequency: Floats, texts: list[list[int]], sizes: Floats) -> Floats:
    """The WIDTH principal components of weighted ``vectors``, [words, WIDTH].

    ``texts``: the rows of each text's words; ``sizes``: how many tokens each has. Over the texts,
    each component of the sums of their words' vectors, divided by the root of the size, has a
    standard deviation of 1.
    """
    weighted = (vectors - vectors.mean(0)) * (RARE / (RARE + frequency))[:, None]
    scaled = weighted * np.sqrt(frequency)[:, None]
    _, components = np.linalg.eigh(scaled.T @ scaled)
    reduced = weighted @ components[:, ::-1][:, :WIDTH]
    sums = np.stack([reduced[rows].sum(0) for rows in texts]) / np.sqrt(sizes)[:, None]
    return np.asarray(reduced / sums.std(0), np.float32)


def main(target: Path) -> None:
    """Write the words, their vectors as bytes, and the bytes' scale."""
    settings = Settings(model="compact", modality="text")
    examples = Examples([], [], np.empty(0, np.int64), SENTIMENTS, [], [])
    task = Task(settings, compact.find_weights({}), examples, [], [])
    inputs = compact.read_inputs(task)
    texts = [split(text) for text in read_texts()[0]]
    counts = Counter(word for text in texts for word in text)
    words = choose_words(inputs, counts)
    with reproducible(seed=0, threads=1, device="cpu"):
        _, model = compact.create(task, inputs, [])
        add_changes(model.head.text)
        vectors = embed(model, inputs, words)
    frequency = np.array([counts[word] + 0.5 for word in words], np.float32)
    row = {word: number for number, word in enumerate(words)}
    known = [[row[word] for word in text if word in row] for text in texts]
    sizes = np.array([max(1, len(text)) for text in texts], np.float32)
    reduced = reduce(vectors, frequency / frequency.sum(), known, sizes)
    scale = np.percentile(np.abs(reduced), CLIPPED) / 127
    rounded = np.clip(np.round(reduced / scale), -127, 127).astype(np.int8)
    tensors = {
        "words": torch.tensor([*"\n".join(words).encode()], dtype=torch.uint8),
        "vectors": torch.from_numpy(rounded),
        "scale": torch.tensor(scale, dtype=torch.float32),
    }
    target.write_bytes(safetensors.torch.save(tensors))
    logging.info(f"{len(words)} words: wrote {target}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FILE)
