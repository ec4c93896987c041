"""Layers that are loaded into are made without first values, and only those."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from alexnet_skip.network.head import SkipHead
from alexnet_skip.network.uninitialised import Uninitialised


@pytest.mark.parametrize("mode", ["none", "identity", "conv", "concat"])
def test_a_head_made_without_values_draws_none_and_is_what_is_loaded_into_it(mode, monkeypatch):
    monkeypatch.setattr("alexnet_skip.network.head.HIDDEN_SIZES", (32, 16))
    head = SkipHead(mode, 3)
    before = torch.get_rng_state()
    with Uninitialised():
        empty = SkipHead(mode, 3)
    assert torch.equal(torch.get_rng_state(), before)
    empty.load_state_dict(head.state_dict())
    assert {name: (value.device, value.dtype) for name, value in empty.state_dict().items()} == {
        name: (torch.device("cpu"), torch.float32) for name in head.state_dict()
    }
    assert all(torch.equal(value, head.state_dict()[name]) for name, value in empty.state_dict().items())


def test_layers_made_afterwards_have_first_values_again():
    torch.manual_seed(0)
    expected = nn.Linear(5, 4).weight
    with Uninitialised():
        nn.Linear(5, 4)
    torch.manual_seed(0)
    assert torch.equal(nn.Linear(5, 4).weight, expected)


def test_it_does_not_have_torch_import_its_symbolic_shapes():
    code = (
        "import sys\n"
        "from alexnet_skip.network.head import SkipHead\n"
        "from alexnet_skip.network.uninitialised import Uninitialised\n"
        "with Uninitialised():\n"
        "    SkipHead('conv', 3)\n"
        "sys.exit('sympy' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
