"""Predictions from features, which no setting of the training beside them makes less exact."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from alexnet_skip.features.source import predict


@pytest.mark.parametrize(("kind", "expected"), [("cuda", "highest"), ("cpu", "high")])
def test_what_is_judged_on_a_card_is_judged_without_tf32_in_a_training_too(kind, expected):
    """On a CPU the setting chooses between fp32 products."""
    found = []

    class Model(nn.Module):
        def forward(self, values):
            found.append(torch.get_float32_matmul_precision())
            return values

    source = SimpleNamespace(num_samples=5, fetch=lambda rows: (torch.from_numpy(rows[:, None].astype(np.float32)),))
    accelerator = SimpleNamespace(device=torch.device(kind), process_index=0, num_processes=1)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")  # as a training has it on a card
    try:
        logits = predict(Model(), source, np.array([3, 1]), accelerator)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
    assert found == [expected]
    np.testing.assert_array_equal(logits, [[3], [1]])
