"""Write files of tensors whole or not at all."""

import errno
import os
import re
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from alexnet_skip.system.files import sync_file


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Replace a safetensors file atomically.

    Raises:
        OSError: if it can't be written (safetensors has an error of its own for that); what was there is left.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        save_file(tensors, str(temporary), metadata={"format": "pt"})
        sync_file(temporary)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    except SafetensorError as error:
        temporary.unlink(missing_ok=True)
        number = re.search(r"os error (\d+)", str(error))
        code = int(number[1]) if number else errno.EIO
        raise OSError(code, os.strerror(code), str(path)) from None
