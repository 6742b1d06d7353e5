"""Tiny generated Chinese-CLIP and SigLIP checkpoints with random weights."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import ChineseCLIPConfig, ChineseCLIPModel, SiglipConfig, SiglipModel

from .clip_checkpoint import SIZE, WORDS, write_preprocessing

POSITIONS = 24
TOWER = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
VISION = TOWER | {"image_size": SIZE, "patch_size": 8}
CHINESE = "今天天气真好我很开心难过生气累了雨和照片朋友"


def write_chinese_clip(folder: Path, *, seed: int = 0) -> Path:
    """As on the hub, with a BERT vocab.txt and no tokenizer.json."""
    folder.mkdir(parents=True, exist_ok=True)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = [*special, *dict.fromkeys([*WORDS.split(), *CHINESE])]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    config = ChineseCLIPConfig(  # type: ignore[no-untyped-call]
        text_config=TOWER | {"vocab_size": len(vocabulary), "max_position_embeddings": POSITIONS},
        vision_config=VISION,
        projection_dim=16,
    )
    torch.manual_seed(seed)
    ChineseCLIPModel(config).save_pretrained(folder, safe_serialization=True)
    write_preprocessing(
        folder, "ChineseCLIPImageProcessor", crop_size=SIZE, do_center_crop=False,
        do_rescale=None, rescale_factor=None,
    )  # fmt: skip
    return folder


def write_siglip(folder: Path, *, seed: int = 0) -> Path:
    """Unigrams in lower case without punctuation, padded with the end token."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["<unk>", "</s>", *dict.fromkeys(f"▁{word}" for word in WORDS.split())]
    letters = sorted({letter for word in words[2:] for letter in word})
    pieces = [(piece, -float(place)) for place, piece in enumerate([*words, *letters])]
    tokenizer = Tokenizer(models.Unigram([*dict(pieces).items()], unk_id=0, byte_fallback=False))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(["</s>"])
    end = tokenizer.token_to_id("</s>")
    tokenizer.post_processor = TemplateProcessing("$A </s>", special_tokens=[("</s>", end)])
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {
        "pad_token": {"__type": "AddedToken", "content": "</s>"},
        "model_max_length": POSITIONS,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    vocabulary = tokenizer.get_vocab_size()
    config = SiglipConfig(  # type: ignore[no-untyped-call]
        # Not the tokenizer's padding token: real configurations keep a default here.
        text_config=TOWER
        | {"vocab_size": vocabulary, "max_position_embeddings": POSITIONS, "pad_token_id": 0},
        vision_config=VISION,
    )
    torch.manual_seed(seed)
    SiglipModel(config).save_pretrained(folder, safe_serialization=True)
    half = [0.5, 0.5, 0.5]
    write_preprocessing(
        folder, "SiglipImageProcessor", image_mean=half, image_std=half, do_convert_rgb=None
    )
    return folder
