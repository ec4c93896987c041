"""The whole network in plain operations, for tools that read it: exporters, and TensorBoard's graph."""

from torch import Tensor, nn
from torch.nn import functional as F

from alexnet_skip.network.backbone import IMAGE_SIZE
from alexnet_skip.network.model import AlexNetWithSkip


class PlainNetwork(nn.Module):
    """The network in plain operations: what is squeezed with PIL and folded for speed elsewhere is done by the book.

    Its probabilities differ a little from :meth:`AlexNetWithSkip.predict`'s where an image is made smaller: PIL rounds
    between the two axes.
    """

    def __init__(self, network: AlexNetWithSkip) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities (B, num_classes) of uint8 images (B, H, W, 3)."""
        backbone = self.network.backbone
        pixels = images.permute(0, 3, 1, 2).float()
        pixels = F.interpolate(pixels, self.network.image_size, mode="bilinear", antialias=True)
        # Pixels were whole numbers in training.
        pixels = (pixels.round() - backbone.mean) / backbone.std
        if self.network.image_size != (IMAGE_SIZE, IMAGE_SIZE):
            pixels = F.interpolate(pixels, (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear")
        main, tap = backbone.convolutions(backbone.features["0"](pixels), backbone.features)
        return (self.network.trained(main.flatten(1), tap.flatten(1)) / self.network.temperature).softmax(1)
