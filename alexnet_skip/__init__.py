"""Transfer learning on CIFAR-10 with a frozen AlexNet, with and without a skip connection.

from alexnet_skip import AlexNetWithSkip

model = AlexNetWithSkip.from_pretrained("runs/NAME")
print(model.predict(["photo.jpg"])[0])
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alexnet_skip.network.model import AlexNetWithSkip

__version__ = "0.1.0"
__all__ = ["AlexNetWithSkip", "__version__"]


def __getattr__(name: str) -> Any:
    # On first use only: it imports torch, which takes seconds, and the scripts answer --help without.
    if name == "AlexNetWithSkip":
        from alexnet_skip.network.model import AlexNetWithSkip

        return AlexNetWithSkip
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
