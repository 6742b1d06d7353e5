import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split

from mmsent.errors import InputError
from mmsent.inputs.text import (
    MAX_TOKENIZED_BYTES,
    decode_text,
    pad_ids,
    read_tokenizer,
    tokenize,
)


@given(st.text())
def test_utf8_is_read_completely(text):
    assert decode_text(text.encode()) == (text.removeprefix("\ufeff").strip(), "utf-8")


@given(st.text(alphabet=st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF), min_size=1))
def test_gb18030_loses_no_character(chinese):
    data = f"“{chinese}”…".encode("gb18030")  # its first byte, A1, can't begin a UTF-8 character
    assert decode_text(data) == (f"“{chinese}”…", "gb18030")


def test_byte_order_mark_is_dropped():
    assert decode_text(b"\xef\xbb\xbfa day\r\n") == ("a day", "utf-8")


@pytest.mark.parametrize("data", [b"\xff\xfea\x00", b"\x80abc", b"caf\xe9"])
def test_other_encodings_are_refused(data):
    with pytest.raises(InputError, match="neither UTF-8 nor GB18030"):
        decode_text(data)


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=7), min_size=1, max_size=5))
def test_padding_keeps_every_sequence(sequences):
    input_ids, attention_mask = pad_ids(sequences)
    assert input_ids.shape == (len(sequences), max(map(len, sequences)))
    assert input_ids.dtype == attention_mask.dtype == np.int64
    for ids, row, mask in zip(sequences, input_ids, attention_mask):
        assert row[mask == 1].tolist() == ids
        assert not row[mask == 0].any()


@pytest.fixture(scope="module")
def letters():
    """A tokenizer with a token per character, which knows "ж" and "🙂"."""
    tokenizer = Tokenizer(WordLevel({"?": 0, "a": 1, "ж": 2, "🙂": 3}, unk_token="?"))
    tokenizer.pre_tokenizer = Split("", "isolated")
    return read_tokenizer(tokenizer.to_str(), max_length=1 << 30)


@pytest.mark.parametrize("character", ["a", "ж", "🙂"])
@pytest.mark.parametrize("before", ["", "a", "aaa"])
def test_text_over_the_limit_is_not_tokenized(letters, character, before):
    """A character that the limit cuts through is dropped."""
    size = len(character.encode())
    fitting = (MAX_TOKENIZED_BYTES - len(before)) // size
    (ids,) = tokenize(letters, [before + character * (fitting + 1000)])
    assert ids == [1] * len(before) + [letters.token_to_id(character)] * fitting
    assert tokenize(letters, [before + character * fitting]) == [ids]


@given(st.text())
def test_the_limit_does_not_change_shorter_texts(letters, text):
    assert tokenize(letters, [text]) == [letters.encode(text).ids]
