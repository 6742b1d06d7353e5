"""The GRU for training on CPUs, compared with PyTorch's on packed sequences."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mmsent_training.models.gru import gru_states
from mmsent_training.models.light import NETWORKS, LightModel

WIDTH, HIDDEN = 5, 7


def small_gru(dtype=torch.float64):
    torch.manual_seed(0)
    return nn.GRU(WIDTH, HIDDEN, batch_first=True, bidirectional=True, dtype=dtype)


def summed(states, weights):
    """A number that depends on every state of both directions, but not on their order."""
    return (states.sum(1).square() * weights).sum() + states.square().sum()


def by_pytorch(gru, inputs, lengths):
    packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(gru(packed)[0], batch_first=True, total_length=inputs.shape[1])[0]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 2))
def test_sums_of_states_and_all_gradients_are_pytorchs(lengths, padding):
    gru, sizes = small_gru(), torch.tensor(lengths)
    inputs = torch.randn(len(lengths), max(lengths) + padding, WIDTH, dtype=torch.float64)
    weights, found = torch.randn(2 * HIDDEN, dtype=torch.float64), []
    for states_of in (by_pytorch, gru_states):
        gru.zero_grad()
        given_inputs = inputs.clone().requires_grad_()
        states = states_of(gru, given_inputs, sizes)
        summed(states, weights).backward()
        gradients = [given_inputs.grad, *(each.grad.clone() for each in gru.parameters())]
        found.append([states.sum(1).detach(), *gradients])
    torch.testing.assert_close(*found)


def test_forward_states_are_in_the_order_of_the_tokens_and_padding_is_zero():
    gru, inputs, lengths = small_gru(), torch.randn(2, 4, WIDTH).double(), torch.tensor([4, 2])
    with torch.no_grad():
        got, wanted = gru_states(gru, inputs, lengths), by_pytorch(gru, inputs, lengths)
    torch.testing.assert_close(got[..., :HIDDEN], wanted[..., :HIDDEN])
    torch.testing.assert_close(got[0, :, HIDDEN:], wanted[0].flip(0)[:, HIDDEN:])
    assert not got[1, 2:].any()


def test_mixed_precision_keeps_the_recurrence_in_fp32():
    gru = small_gru(torch.float32)
    inputs, lengths = torch.randn(2, 30, WIDTH, requires_grad=True), torch.tensor([30, 9])
    wanted = gru_states(gru, inputs, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        got = gru_states(gru, inputs, lengths)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, wanted, atol=0.02, rtol=0.02)
    got.sum().backward()
    assert inputs.grad.isfinite().all()


@pytest.mark.parametrize("preset", NETWORKS)
def test_light_has_the_same_features_during_training(preset):
    torch.manual_seed(0)
    model = LightModel(vocabulary=50, **NETWORKS[preset] | {"dropout": 0.0})
    ids = torch.tensor([[5, 6, 7, 8], [9, 5, 0, 0], [3, 0, 0, 0]])
    mask = (ids > 0).long()
    training = model.train().embed_text(ids, mask)
    torch.testing.assert_close(training, model.eval().embed_text(ids, mask))
