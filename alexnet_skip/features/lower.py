"""What the frozen lower layers make of images that are shifted and mirrored: computed anew at every fetch."""

import numpy as np
import torch
from torch import Tensor

from alexnet_skip.features.source import RESIDENT_FRACTION
from alexnet_skip.images.augment import Shifts, shifted
from alexnet_skip.images.split import Images
from alexnet_skip.network.backbone import FrozenAlexNet
from alexnet_skip.system.tensors import free_device_bytes, to_device

# Images that go through the lower layers at once on a GPU: 200 MB of activations for images of 224×224.
PART_ROWS = 256


class LowerLayers:
    """Inputs of a convolution, by row. Row r is sample r % N, mirrored where r // N is 1.

    Args:
        images: uint8 images (N, H, W, 3); an array goes to a GPU as it is, once, if it has room there.
        cut: index of the convolution in torchvision's `features`: 6, 8 or 10.
        bf16: compute in bf16 (:meth:`FrozenAlexNet.lower`) within an epoch: what is judged and published is in fp32.
    """

    def __init__(
        self, images: Images, backbone: FrozenAlexNet, cut: int, device: torch.device, *, bf16: bool = False
    ) -> None:
        self.num_samples, self.image_size = len(images), (images.shape[1], images.shape[2])
        self.backbone, self.cut, self.device, self.bf16 = backbone, cut, device, bf16
        self.images: Images | Tensor = images
        array = images if isinstance(images, np.ndarray) and device.type != "cpu" else None
        if array is not None and array.nbytes < RESIDENT_FRACTION * free_device_bytes(device):
            self.images = torch.from_numpy(array).to(device)
        self.end_epoch()

    def begin_epoch(self, seed: int, epoch: int) -> None:
        """Shift the images as this epoch does; without it they are not shifted."""
        self._in_bf16 = self.bf16
        self._shifts = Shifts.drawn(self.num_samples, self.image_size, seed, epoch)

    def end_epoch(self) -> None:
        """Take the images as they are again."""
        self._in_bf16 = False
        self._shifts = Shifts.none(self.num_samples)

    def fetch(self, rows: np.ndarray) -> tuple[Tensor]:
        """The convolution's inputs of rows (B,), as :meth:`FrozenAlexNet.lower` gives them, on the device."""
        view, sample = np.divmod(rows, self.num_samples)
        pixels = shifted(
            self._pixels(sample), to_device(self._shifts.pixels[sample], self.device),
            to_device(view == 1, self.device),
        )  # fmt: skip
        parts = [self.backbone.lower(part, self.cut, bf16=self._in_bf16) for part in pixels.split(PART_ROWS)]
        return (torch.cat(parts),)

    def _pixels(self, sample: np.ndarray) -> Tensor:
        if isinstance(self.images, Tensor):
            return self.images[to_device(sample, self.device)]
        return to_device(self.images[sample], self.device)
