"""fp16 on a CPU, through the same code as on a GPU."""

import torch
from accelerate import Accelerator


def with_fp16(accelerator: Accelerator) -> Accelerator:
    """What Accelerate makes of fp16 on a GPU, which on a CPU it refuses: autocast and a scaler."""
    accelerator.state._mixed_precision, accelerator.native_amp = "fp16", True
    accelerator.scaler = torch.amp.GradScaler("cpu")
    return accelerator
