"""Tiny generated encoders with random weights and each family's kind of tokenizer."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import RobertaProcessing, TemplateProcessing
from transformers import (
    BertConfig,
    BertModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    DistilBertConfig,
    DistilBertModel,
    MPNetConfig,
    MPNetModel,
    RobertaConfig,
    RobertaModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    ViTConfig,
    ViTModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from .clip_checkpoint import WORDS, write_preprocessing
from .relatives_checkpoint import CHINESE

SIZE = 32
POSITIONS = 24
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "initializer_range": 0.3,  # so that logits differ between pairs
}
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
DISTILBERT = {"dim": 32, "hidden_dim": 64, "n_layers": 4, "n_heads": 2, "initializer_range": 0.3}


def write_bert(folder: Path) -> Path:
    """WordPiece, which transformers builds from a vocab.txt; mean pooling."""
    return _write_word_pieces(folder, WORDS.split(), BertConfig, BertModel, **SMALL)


def write_chinese_bert(folder: Path) -> Path:
    """One token per character; pooled at the first token, as its config says."""
    pooling = folder / "1_Pooling" / "config.json"
    pooling.parent.mkdir(parents=True)
    pooling.write_text(json.dumps({"pooling_mode_cls_token": True}))
    words = [*CHINESE, *WORDS.split()]
    return _write_word_pieces(folder, words, BertConfig, BertModel, **SMALL)


def write_distilbert(folder: Path) -> Path:
    """WordPiece, in a tokenizer.json."""
    template = TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    size = _save_word_pieces(folder, SPECIAL, template)
    config = DistilBertConfig(  # type: ignore[no-untyped-call]
        vocab_size=size, max_position_embeddings=POSITIONS, **DISTILBERT
    )
    return _save(folder, DistilBertModel, config)


def write_mpnet(folder: Path) -> Path:
    """WordPiece with RoBERTa's special tokens; padding is the second."""
    ends = RobertaProcessing(("</s>", 2), ("<s>", 0))
    size = _save_word_pieces(folder, ("<s>", "<pad>", "</s>", "[UNK]"), ends)
    config = MPNetConfig(  # type: ignore[no-untyped-call]
        vocab_size=size, max_position_embeddings=POSITIONS + 2, pad_token_id=1, **SMALL
    )
    return _save(folder, MPNetModel, config)


def write_roberta(folder: Path) -> Path:
    """Byte-level BPE."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([WORDS] * 3, trainer)
    tokenizer.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.save(str(folder / "tokenizer.json"))
    config = RobertaConfig(  # type: ignore[no-untyped-call]

        vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=POSITIONS + 2,
        pad_token_id=1, **SMALL,
    )  # fmt: skip
    return _save(folder, RobertaModel, config)


def write_xlm_roberta(folder: Path) -> Path:
    """Unigrams, as in SentencePiece."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [f"▁{word}" for word in dict.fromkeys([*WORDS.split(), "今天", "开心"])]
    letters = sorted({letter for word in words for letter in word})
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *dict.fromkeys([*words, *letters])]
    scored = [(piece, -float(place)) for place, piece in enumerate(pieces)]
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.save(str(folder / "tokenizer.json"))
    config = XLMRobertaConfig(  # type: ignore[no-untyped-call]
        vocab_size=len(pieces), max_position_embeddings=POSITIONS + 2, pad_token_id=1, **SMALL
    )
    return _save(folder, XLMRobertaModel, config)


def _save_word_pieces(folder: Path, special: Sequence[str], ends: Any) -> int:
    """Write a tokenizer.json and return its number of tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [*special, *dict.fromkeys(WORDS.split())]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = ends
    tokenizer.save(str(folder / "tokenizer.json"))
    return len(words)


def _write_word_pieces(
    folder: Path, words: list[str], config: Any, model: Any, **size: Any
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = [*SPECIAL, *dict.fromkeys(words)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    made = config(vocab_size=len(vocabulary), max_position_embeddings=POSITIONS, **size)
    return _save(folder, model, made)


def _save(folder: Path, model: Any, config: Any) -> Path:
    torch.manual_seed(0)
    model(config).save_pretrained(folder, safe_serialization=True)
    return folder


TEXT: dict[str, Callable[[Path], Path]] = {
    "bert": write_bert,
    "chinese-bert": write_chinese_bert,
    "distilbert": write_distilbert,
    "mpnet": write_mpnet,
    "roberta": write_roberta,
    "xlm-roberta": write_xlm_roberta,
}


def _write_tower(
    config: Any, model: Any, *, image_size: int = SIZE, **preprocessing: Any
) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        _save(folder, model, config(image_size=image_size, patch_size=8, **SMALL))
        write_preprocessing(folder, "ViTImageProcessor", **preprocessing)
        return folder

    return write


def _write_timm(architecture: str, crop_mode: str, **arguments: Any) -> Callable[[Path], Path]:
    """Write a model as timm's push_to_hf_hub does."""

    def write(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        encoder = timm.create_model(architecture, num_classes=3, **arguments)
        for module in encoder.modules():  # else the features of all images are almost the same
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.constant_(module.weight, 2)
        weights = {name: tensor.contiguous() for name, tensor in encoder.state_dict().items()}
        safetensors.torch.save_file(weights, folder / "model.safetensors")
        config = {
            "architecture": architecture,
            "num_classes": 3,
            "model_args": arguments,
            "pretrained_cfg": {
                "input_size": [3, SIZE, SIZE],
                "interpolation": "bicubic",
                "crop_pct": 0.875,
                "crop_mode": crop_mode,
                "mean": [0.5, 0.4, 0.3],
                "std": [0.2, 0.3, 0.4],
            },
        }
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return write


SQUARE: dict[str, Any] = {"size": {"height": SIZE, "width": SIZE}}
CROP: dict[str, Any] = {"size": {"shortest_edge": SIZE}, "do_center_crop": True, "crop_size": SIZE}
IMAGE: dict[str, Callable[[Path], Path]] = {
    "efficientnet": _write_timm("test_efficientnet", "squash"),
    "convnext": _write_timm("test_convnext", "center"),
    "timm-vit": _write_timm("test_vit", "center", img_size=SIZE),
    "vit": _write_tower(ViTConfig, ViTModel, **SQUARE),
    "clip": _write_tower(CLIPVisionConfig, CLIPVisionModel, **CROP),
    "siglip": _write_tower(SiglipVisionConfig, SiglipVisionModel, **SQUARE),
    # Trained on larger images than here, so that its positions must be interpolated.
    "dinov2": _write_tower(Dinov2Config, Dinov2Model, image_size=2 * SIZE, **CROP),
}
