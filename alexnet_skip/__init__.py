"""Transfer learning on CIFAR-10 with a frozen AlexNet, with and without a skip connection.

from alexnet_skip import AlexNetWithSkip, PCA, load_predictions, train

run = train(dataset="FOLDER", skip=True)
print(run.model.predict("photo.jpg")[0])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alexnet_skip.api.predictions import load_predictions
    from alexnet_skip.api.training import train
    from alexnet_skip.network.model import AlexNetWithSkip
    from alexnet_skip.pca import PCA

__version__ = "0.1.0"
__all__ = ["PCA", "AlexNetWithSkip", "__version__", "load_predictions", "train"]

# On first use only: torch takes seconds to import, and the scripts answer --help without.
_PLACES = {
    "AlexNetWithSkip": "alexnet_skip.network.model",
    "PCA": "alexnet_skip.pca",
    "load_predictions": "alexnet_skip.api.predictions",
    "train": "alexnet_skip.api.training",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
