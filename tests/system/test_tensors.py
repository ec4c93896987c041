"""Arrays arrive on a device as they are; what the disk says when they are kept arrives, too."""

import errno

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from alexnet_skip.system import tensors
from alexnet_skip.system.tensors import save_tensors, to_device


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("dtype", [np.float16, np.int64, np.uint8, bool])
def test_values_arrive_unchanged(device, dtype):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU here")
    values = np.arange(12).reshape(3, 4).astype(dtype)
    tensor = to_device(values, torch.device(device))
    assert tensor.device.type == device
    np.testing.assert_array_equal(tensor.cpu().numpy(), values)


@pytest.mark.parametrize(
    ("told", "number", "words", "windows"),
    [
        ("Error: I/O error: Not enough space on the disk. (os error 112)", 112, "Not enough space on the disk.", 112),
        ('I/O error: No space left on device (os error 28) at path "/a/.tmp1"', 28, "No space left on device", 28),
        ("Error while serializing: it is not contiguous", errno.EIO, "Input/output error", None),
    ],
)  # fmt: skip
def test_what_the_system_says_of_a_disk_is_an_error_of_its_own(monkeypatch, tmp_path, told, number, words, windows):
    """On Windows Python makes an errno of the fourth argument: 28 of 112, a full disk, as this stand-in shows."""
    made = []

    class ToldError(OSError):
        def __init__(self, *given):
            made.append(given)
            super().__init__(*given)

    def refuse(*_, **__):
        raise SafetensorError(told)

    monkeypatch.setattr(tensors, "save_file", refuse)
    monkeypatch.setattr(tensors, "OSError", ToldError, raising=False)
    with pytest.raises(OSError, match=words) as refused:
        save_tensors(tmp_path / "a.safetensors", {})
    assert (refused.value.errno, refused.value.filename) == (number, str(tmp_path / "a.safetensors"))
    assert made == [(number, words, str(tmp_path / "a.safetensors"), windows)]
