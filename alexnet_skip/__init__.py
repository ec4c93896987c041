"""Transfer learning on CIFAR-10 with a frozen AlexNet, with and without a skip connection."""

__version__ = "0.1.0"
