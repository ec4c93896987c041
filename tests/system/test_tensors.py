"""Arrays arrive on a device as they are."""

import numpy as np
import pytest
import torch

from alexnet_skip.system.tensors import to_device


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("dtype", [np.float16, np.int64, np.uint8, bool])
def test_values_arrive_unchanged(device, dtype):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU here")
    values = np.arange(12).reshape(3, 4).astype(dtype)
    tensor = to_device(values, torch.device(device))
    assert tensor.device.type == device
    np.testing.assert_array_equal(tensor.cpu().numpy(), values)
