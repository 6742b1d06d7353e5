"""How much of a text a tokenizer knows, and the scripts of texts."""

import logging

import pytest
from PIL import Image
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE, WordLevel, WordPiece
from tokenizers.trainers import BpeTrainer

from mmsent.inputs.coverage import Coverage, unknown_ids, warn_of_unknown
from mmsent.inputs.scripts import count_scripts, main_script
from mmsent.inputs.text import tokenize

from ..small_bundle import write_small_bundle


def words():
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "rain": 1, "fun": 2, "[END]": 3}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A [END]", special_tokens=[("[END]", 3)]
    )
    return tokenizer


def byte_level():
    """Like CLIP's: a token per byte, and an end token that is also the unknown token."""
    tokenizer = Tokenizer(BPE(unk_token="[END]", end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(
        vocab_size=900, special_tokens=["[END]"], initial_alphabet=alphabet, show_progress=False,
        end_of_word_suffix="</w>",
    )  # fmt: skip
    tokenizer.train_from_iterator(["rain fun кот café"] * 9, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A [END]", special_tokens=[("[END]", tokenizer.token_to_id("[END]"))]
    )
    return tokenizer


def byte_fallback():
    """Like sentencepiece's: characters, and bytes for characters without a token."""
    vocabulary = {"<unk>": 0, **{letter: i for i, letter in enumerate("▁rainfu", 1) if letter}}
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary) + 1
    return Tokenizer(BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))


@pytest.mark.parametrize(
    ("make", "text", "mostly_unknown"),
    [
        (words, "rain fun", False), (words, "rain 雨", False), (words, "rain 雨 雪", True),
        (words, "雨", True), (words, "", False),
        (byte_level, "rain fun", False), (byte_level, "rain кот café", False),
        (byte_level, "雨", True), (byte_level, "", False), (byte_level, "rain кот fun 雨", False),
        (byte_fallback, "rain", False), (byte_fallback, "雨", True),
    ],
)  # fmt: skip
def test_mostly_unknown_texts(make, text, mostly_unknown):
    tokenizer = make()
    coverage = Coverage(tokenizer)
    assert coverage.add(tokenize(tokenizer, [text])) == [mostly_unknown]
    assert coverage.unknown_texts == mostly_unknown
    assert coverage.texts == 1


def test_the_shares_are_of_tokens_that_the_text_has():
    """[END] does not count."""
    tokenizer = words()
    coverage = Coverage(tokenizer)
    coverage.add(tokenize(tokenizer, ["rain 雨 fun", "雨 雪"]))
    coverage.add(tokenize(tokenizer, ["fun"]))
    assert (coverage.tokens, coverage.unknown_tokens, coverage.unknown_texts) == (6, 3, 1)


def test_byte_level_fallback_counts_as_unknown():
    """Compared with its own decoder, which shows part of a character as U+FFFD."""
    tokenizer = byte_level()
    unknown = unknown_ids(tokenizer)
    for token, number in tokenizer.get_vocab().items():
        decoded = tokenizer.decoder.decode([token.removesuffix("</w>")])
        assert (number in unknown) == ("\ufffd" in decoded), token


def test_a_tokenizer_without_an_unknown_token_knows_everything():
    tokenizer = Tokenizer(WordPiece({"rain": 0, "[UNK]": 1}, unk_token="[UNK]"))
    assert unknown_ids(tokenizer) == {1}
    assert unknown_ids(Tokenizer(BPE({"a": 0}, []))) == set()


def test_mostly_unknown_texts_give_a_warning_with_their_script(caplog):
    tokenizer = words()
    texts = ["rain", "雨 雪", "雪", "дождь", "fun 雨"]
    with caplog.at_level(logging.WARNING, "mmsent"):
        warn_of_unknown(tokenizer, texts, tokenize(tokenizer, texts))
        warn_of_unknown(tokenizer, ["rain"], tokenize(tokenizer, ["rain"]))
    (message,) = caplog.messages
    assert message.startswith("3 of 5 texts are mostly unknown")
    assert "(Han 2, Cyrillic 1)" in message


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("A photo, 2024!", "Latin"), ("\uff21\uff42 \uff12", "Latin"), ("\U0001d4d7", "Latin"),
        ("кошка a", "Cyrillic"), ("一只猫", "Han"), ("ｶﾀｶﾅ", "Katakana"), ("ー", "Katakana"),
        ("안녕하세요", "Hangul"), ("नमस्ते", "Devanagari"), ("مرحبا", "Arabic"),
        ("😀🎉🎉 ok!", "Latin"), ("😀🎉", "symbols"), ("12:30 …", "none"), ("", "none"),
    ],
)  # fmt: skip
def test_the_script_of_most_letters(text, script):
    assert main_script(text) == script


def test_scripts_are_counted_by_letters():
    counts = {"a": 5, "я": 2, "雨": 4, " ": 9, "1": 3, "😀": 1}
    assert count_scripts(counts) == {"Latin": 5, "Han": 4, "Cyrillic": 2, "symbols": 1}


@pytest.mark.parametrize("unknown", [0, 3])
def test_infer_warns_once_of_texts_that_the_model_does_not_know(run_command, tmp_path, unknown):
    """With their number, here 40 in several batches."""
    write_small_bundle(tmp_path / "model.onnx")
    write_small_images(tmp_path, 40)
    texts = ["дождь идёт" if row < unknown else "a fun rain" for row in range(40)]
    rows = "\n".join(f"{text},{row}.png" for row, text in enumerate(texts))
    (tmp_path / "list.csv").write_text(f"text,image\n{rows}\n")
    result = run_command("mmsent-infer", "list.csv", cwd=tmp_path)
    assert result.code == 0, result.err
    assert result.err.count("unknown to the model's tokenizer") == (1 if unknown else 0)
    assert ("3 of 40 texts are mostly" in result.err) == bool(unknown)


def write_small_images(folder, count):
    for row in range(count):
        Image.new("RGB", (8, 8), (row, 0, 0)).save(folder / f"{row}.png")
