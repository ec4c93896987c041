"""scikit-learn: torchvision's features of each image once, then a logistic regression on all 9,216 of them.

torchvision runs as fast as `extract_throughput` finds that it can: batches of 32, channels_last, loading in workers.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.models import AlexNet_Weights, alexnet

from benchmarks.peer_scripts.answers import NORMALIZE, NUM_WORKERS, WHOLE_IMAGE, answer

BATCH_SIZE = 32
# The best of 1e-5, 3e-5, 1e-4, 3e-4, 1e-3 and 1e-2, by 5,000 images of CIFAR-10 and 1,000 others that the benchmark
# does not use: 68.4, 71.6, 72.9, 75.6, 75.7 and 74.8 %.
C = 1e-3
MAX_ITER = 1000


@torch.inference_mode()
def extract(body: nn.Module, split: Path) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, 9216) and classes (N,) of the images in ``split/<class>/*``."""
    images = ImageFolder(split, WHOLE_IMAGE)
    features = [
        body(NORMALIZE(batch).contiguous(memory_format=torch.channels_last)).flatten(1)
        for batch, _ in DataLoader(images, batch_size=BATCH_SIZE, num_workers=NUM_WORKERS)
    ]
    return torch.cat(features).numpy(), np.array(images.targets)


def train(split: Path, epochs: int) -> tuple[nn.Module, Pipeline]:
    """Fit on the images' features, until it has converged: there are no epochs."""
    body = alexnet(weights=AlexNet_Weights.IMAGENET1K_V1).features.eval().to(memory_format=torch.channels_last)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=MAX_ITER))
    return body, classifier.fit(*extract(body, split))


def top1(model: tuple[nn.Module, Pipeline], split: Path) -> float:
    """Accuracy on the images of a folder."""
    body, classifier = model
    return float(classifier.score(*extract(body, split)))


def main(argv: Sequence[str] | None = None) -> int:
    return answer(argv, train, top1, epochs=0, packages=("scikit-learn", "torch", "torchvision"))


if __name__ == "__main__":
    sys.exit(main())
