"""From arrays to tensors on a device."""

import numpy as np
import torch
from torch import Tensor


def to_device(values: np.ndarray, device: torch.device) -> Tensor:
    """The array's values as a tensor on the device.

    To a GPU through pinned memory: a copy from ordinary memory makes the host wait for all that was queued before it.
    """
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
