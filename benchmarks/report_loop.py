"""The source report's training loop as the report describes it: what our benchmarks are held against.

Every batch of every epoch is decoded, resized with PIL in two workers, run through the frozen AlexNet, and trained on
by plain Adam at batch 32 and learning rate 0.001.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.models import alexnet

from alexnet_skip.images.folder import list_images
from alexnet_skip.images.listing import LeftOut
from alexnet_skip.network.backbone import (
    IMAGE_SIZE,
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    NUM_FEATURES,
)
from alexnet_skip.network.layers import TAP_LAYER

BATCH_SIZE, NUM_WORKERS, LEARNING_RATE, EPOCHS = 32, 2, 1e-3, 100


def list_training_images(dataset: Path) -> tuple[list[Path], list[int]]:
    """Files of DATASET/train and their classes, one of each class in turn, so that few are still of every kind."""
    by_class = list_images(dataset / "train", LeftOut())
    pairs = [[(Path(path), label) for path in paths] for label, paths in enumerate(by_class.values())]
    mixed = [pair for row in zip_longest(*pairs) for pair in row if pair is not None]
    return [path for path, _ in mixed], [label for _, label in mixed]


class ReportImages(Dataset):
    """The report's data set: a file is opened, resized and normalised with PIL and torchvision when it is asked for."""

    def __init__(self, paths: Sequence[Path], labels: Sequence[int]) -> None:
        self.paths = paths
        self.labels = labels
        self.transform = transforms.Compose(
            [
                transforms.Resize((IMAGE_SIZE, IMAGE_SIZE)),
                transforms.ToTensor(),
                transforms.Normalize(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self.paths[index]) as image:
            return self.transform(image.convert("RGB")), self.labels[index]


class ReportExtractor(nn.Module):
    """The report's figure 1: AlexNet's features layer by layer; with skip, the pooled output of layer 8 is added."""

    def __init__(self, state: Mapping[str, Tensor], skip: bool) -> None:
        super().__init__()
        self.features = alexnet().features
        self.features.load_state_dict(dict(state))
        self.pool = nn.AdaptiveAvgPool2d((6, 6))
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        tap = None
        for index, layer in enumerate(self.features):
            x = layer(x)
            if self.skip and index == TAP_LAYER:
                tap = self.pool(x)
        return x if tap is None else x + tap


def report_head(num_classes: int) -> nn.Module:
    """The report's figure 2."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(NUM_FEATURES, 4096), nn.ReLU(), nn.Linear(4096, 1024), nn.ReLU(),
        nn.Linear(1024, num_classes),
    )  # fmt: skip


class ReportTraining:
    """The report's training, to be timed some steps at a time; workers and optimizer state stay in between."""

    def __init__(self, paths: Sequence[Path], labels: Sequence[int], state: Mapping[str, Tensor], skip: bool) -> None:
        self.loader = DataLoader(
            ReportImages(paths, labels), batch_size=BATCH_SIZE, shuffle=True, num_workers=NUM_WORKERS
        )
        self.extractor = ReportExtractor(state, skip).eval()
        self.head = report_head(len(set(labels)))
        self.optimizer = torch.optim.Adam(self.head.parameters(), lr=LEARNING_RATE)
        self.loss_function = nn.CrossEntropyLoss()
        self.batches: Iterator[tuple[Tensor, Tensor]] = iter(self.loader)
        self.running_loss = 0.0

    def next_batch(self) -> tuple[Tensor, Tensor]:
        batch = next(self.batches, None)
        if batch is None:
            self.batches = iter(self.loader)
            batch = next(self.batches)
        return batch

    def seconds_per_step(self, steps: int) -> float:
        """Train some steps; returns the mean seconds of one."""
        began = time.perf_counter()
        for _ in range(steps):
            images, labels = self.next_batch()
            with torch.no_grad():
                features = self.extractor(images)
            self.optimizer.zero_grad()
            loss = self.loss_function(self.head(features), labels)
            loss.backward()
            self.optimizer.step()
            self.running_loss += loss.item()
        return (time.perf_counter() - began) / steps
