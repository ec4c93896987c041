"""One process of :mod:`benchmarks.scaling`: extracts features of images in a file, trains one epoch, prints figures."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from alexnet_skip.devices import launch
from alexnet_skip.features.basis import SkipHeadInBasis
from alexnet_skip.features.coordinates import open_basis
from alexnet_skip.features.source import FrozenFeatures
from alexnet_skip.images.dataset import Dataset, Split
from alexnet_skip.network.backbone import FrozenAlexNet
from alexnet_skip.network.weights import load_weights
from alexnet_skip.settings.train import TrainSettings
from alexnet_skip.system import machine
from alexnet_skip.system.console import Console
from alexnet_skip.training.optimization import Optimization, epoch_batches, make_optimizer


def main(argv: Sequence[str] | None = None) -> int:
    stored, weights, num_images, pca_basis, cache = sys.argv[1:] if argv is None else argv
    images = np.load(Path(stored).with_suffix(".npy"), mmap_mode="r")[: int(num_images)]
    labels = np.load(Path(stored).with_suffix(".labels.npy"))[: int(num_images)]
    # The batch size of many images for few as well: that is what is compared.
    settings, console = TrainSettings().for_images(80_000), Console(quiet=True)
    accelerator, _ = launch.start("no")
    loaded = load_weights(weights)
    backbone = FrozenAlexNet(loaded.state)
    split = Split(images, labels, np.arange(len(labels)), f"{num_images} images")
    dataset = Dataset("scaling", stored, (), {"train": split})
    before = machine.peak_memory_mib() or 0.0

    began = time.perf_counter()
    frozen = FrozenFeatures(backbone, Path(cache), accelerator, console)
    features = frozen.open(dataset, "train", tap=False)
    extracted = time.perf_counter()
    positions, options = np.arange(len(labels)), settings.training
    basis, source = open_basis(features, positions, "none", int(pca_basis), accelerator, console, mirrored=False)
    model = SkipHeadInBasis("none", int(labels.max()) + 1, basis, options.dropout)
    num_steps = -(-len(labels) // options.batch_size)
    optimizer, scheduler = make_optimizer(settings, model, num_steps)
    prepared, prepared_optimizer = accelerator.prepare(model, optimizer)
    ready = time.perf_counter()
    training = Optimization(
        prepared, prepared_optimizer, scheduler, source, torch.from_numpy(labels), accelerator,
        label_smoothing=options.label_smoothing,
    )  # fmt: skip
    training.begin_epoch((0, 1), num_steps)
    for rows in epoch_batches(positions, len(labels), options.batch_size, 0, 1, mirrored=False):
        training.step(rows)
    training.epoch_figures()
    if accelerator.is_main_process:
        figures = {"extract_seconds": extracted - began, "train_seconds": time.perf_counter() - ready}
        print(json.dumps(figures | {"peak_mib": (machine.peak_memory_mib() or 0.0) - before}))
    # DDP keeps gloo's threads alive, and one that still held a tensor of the last sum when Python ends would abort the
    # process (pytorch#179291); train.py waits here too.
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
