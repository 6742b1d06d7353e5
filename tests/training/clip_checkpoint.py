"""A tiny generated CLIP checkpoint: two layers, random weights, a byte-level tokenizer."""

import json
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import RobertaProcessing
from transformers import CLIPConfig, CLIPModel

POSITIONS = 32
SIZE = 32
WORDS = (
    "happy love great sunny win smile party beautiful proud thanks best fun awful sad angry broken "
    "lost rain tired crash fear alone ruined worst report office schedule street number update "
    "the a my this today we at with new on city people just so photo day and it ! ? . # “ ” …"
)


def write_checkpoint(folder: Path, *, seed: int = 0) -> Path:
    """Write config, tokenizer, preprocessing and weights in the format of the hub."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    end = tokenizer.token_to_id("<|endoftext|>")
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
             "num_attention_heads": 2}  # fmt: skip
    text = {"vocab_size": tokenizer.get_vocab_size(), "max_position_embeddings": POSITIONS,
            "bos_token_id": end - 1, "eos_token_id": end, "pad_token_id": end}  # fmt: skip
    config = CLIPConfig(  # type: ignore[no-untyped-call]
        text_config=tower | text,
        vision_config=tower | {"image_size": SIZE, "patch_size": 8},
        projection_dim=16,
    )
    torch.manual_seed(seed)
    CLIPModel(config).save_pretrained(folder, safe_serialization=True)
    write_preprocessing(
        folder,
        "CLIPImageProcessor",
        crop_size={"height": SIZE, "width": SIZE},
        do_center_crop=True,
        size={"shortest_edge": SIZE},
    )
    return folder


def write_preprocessing(folder: Path, processor: str, **own: object) -> None:
    """Write CLIP's preprocessing with a processor's ``own`` settings; None removes a setting."""
    settings: dict[str, object] = {
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "image_processor_type": processor,
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"height": SIZE, "width": SIZE},
    }
    written = {name: value for name, value in (settings | own).items() if value is not None}
    (folder / "preprocessor_config.json").write_text(json.dumps(written))


def make_tokenizer() -> Tokenizer:
    """CLIP's pipeline with a small vocabulary: lower case, byte-level BPE with an end of word."""
    tokenizer = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(
                Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"),
                behavior="removed",
                invert=True,
            ),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=900,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator([WORDS] * 3, trainer)
    tokenizer.add_special_tokens(["<|startoftext|>", "<|endoftext|>"])
    start, end = (tokenizer.token_to_id(f"<|{name}|>") for name in ("startoftext", "endoftext"))
    tokenizer.post_processor = RobertaProcessing(
        ("<|endoftext|>", end), ("<|startoftext|>", start), False, False
    )
    return tokenizer
