"""How much memory a command would take, from what it holds at once; on a GPU the head's part is taken there instead."""

import math

import torch

from alexnet_skip.embedding.projector import READ_ROWS, max_thumbnails
from alexnet_skip.embedding.samples import FIT_ROWS
from alexnet_skip.features.basis import Basis, make_head
from alexnet_skip.features.coordinates import BASIS_ROWS, PROJECT_ROWS
from alexnet_skip.features.source import PREDICT_ROWS
from alexnet_skip.images.image_folder import KEPT_BYTES as KEPT_PIXELS
from alexnet_skip.network.backbone import CONVOLUTIONS, NUM_FEATURES, STATE_SHAPES
from alexnet_skip.network.head import HIDDEN_SIZES
from alexnet_skip.network.upper import UPPER
from alexnet_skip.settings.shared import SkipMode
from alexnet_skip.settings.train import TrainSettings
from alexnet_skip.statistics.separation import BLOCK_BYTES
from alexnet_skip.system.machine import KEPT_BYTES
from alexnet_skip.upkeep.inventory import Images

# Python with all that the scripts import (torch 2.14 for CPUs on Linux, measured), a batch in the convolutions (chosen
# so that what is told lies above the peaks that were seen), and what stays with the process of what it has freed.
PROCESS_BYTES = 560 * 2**20 + 320 * 2**20 + KEPT_BYTES
# Parameter, gradient and AdamW's two moments, and the copy of the best epoch: fp32 each.
COPIES_IN_MEMORY = 5
# Values of one channel between AlexNet's pooling layers.
PLACES = 13 * 13
# A sprite of thumbnails row by row and as a picture, and PIL's copy, which takes 4 bytes for 3.
COPIES_OF_SPRITE = 4
# Of a published model's file: its tensors as they are read, and the network that they are copied into.
COPIES_TO_LOAD = 2


def head_values(mode: SkipMode, num_classes: int, pca_basis: int = 0) -> int:
    """Trained numbers of a head, on features or on so many of their principal coordinates."""
    width = joined_width(mode)
    with torch.device("meta"):
        basis = Basis(torch.empty(width), torch.empty(width, min(pca_basis, width))) if pca_basis else None
        return sum(p.numel() for p in make_head(mode, num_classes, basis).parameters())


def joined_width(mode: SkipMode) -> int:
    """Inputs of a head on features."""
    return NUM_FEATURES * (2 if mode == "concat" else 1)


def published_bytes(mode: SkipMode, num_classes: int, pca_basis: int) -> int:
    """What a published model takes on a disk where it shares nothing: head, PCA projection and convolutions."""
    width = joined_width(mode)
    convolutions = sum(math.prod(shape) for shape in STATE_SHAPES.values())
    columns = min(pca_basis, width)
    # As on features, whatever form the skip was trained in; the first layer as two factors.
    saved = HIDDEN_SIZES[0] * (width - columns) if columns else 0
    return 4 * (head_values(mode, num_classes) - saved + width * columns + convolutions)


def tuned_values(settings: TrainSettings) -> int:
    """Trained numbers of the convolutions that learn in the second stage; none without it."""
    layers = UPPER[-settings.finetuning.finetune :] if settings.finetuning.finetune else ()
    return sum(math.prod(STATE_SHAPES[f"{layer}.{kind}"]) for layer in layers for kind in ("weight", "bias"))


def judging_bytes(num_samples: int, num_classes: int) -> int:
    """What figures of so many predictions take.

    Logits in fp32 as they arrive and in one array, and their softmax in float64 with two steps on the way; of every
    pair of classes six numbers of 8 bytes (counts, as a list and an array again; the wrong ones, and their order) and
    its cell in the CSV.
    """
    return num_samples * num_classes * (2 * 4 + 3 * 8) + num_classes**2 * (6 * 8 + 16)


def training_bytes(settings: TrainSettings, images: Images, num_train: int, num_val: int) -> int:
    """What a training takes at its fullest: while it fits the basis, trains, publishes, or judges what it held out."""
    options, mode, classes = settings.training, settings.joined, images.num_classes
    width, rows = joined_width(mode), min(PROJECT_ROWS if settings.cache.cache else BASIS_ROWS, num_train)
    fitting = 2 * 4 * width * (rows + options.pca_basis) if options.pca_basis else 0
    training = COPIES_IN_MEMORY * 4 * head_values(mode, classes, options.pca_basis)
    # The published form and a copy while it is written; with a basis, that and the first layer in float64 while the
    # mean is taken out of them.
    folding = 8 * min(options.pca_basis, width) * (width + HIDDEN_SIZES[0])
    published = 2 * 4 * head_values(mode, classes, options.pca_basis) + folding
    tuning = tuning_bytes(settings) if settings.finetuning.finetune else 0
    fullest = max(fitting, training + tuning + published + judging_bytes(num_val, classes))
    return PROCESS_BYTES + image_bytes(images) + fullest


def tuning_bytes(settings: TrainSettings) -> int:
    """What the second stage takes beside the head: convolutions in training, the basis, and activations.

    Those of a step are kept for its gradients, before and after each ReLU; of a validation, whose rows are more, those
    of the two largest layers are alive at once.
    """
    layers = [CONVOLUTIONS[index] for index in UPPER[-settings.finetuning.finetune :]]
    trained = COPIES_IN_MEMORY * tuned_values(settings)
    basis = 2 * joined_width(settings.joined) * settings.training.pca_basis  # conv's has another order as well
    widths = [layers[0][0], *(outputs for _, outputs, _, _, _ in layers)]
    step = settings.finetuning.finetune_batch_size * PLACES * 2 * sum(widths)
    validation = PREDICT_ROWS * PLACES * (widths[0] + 2 * max(widths[1:]))
    return 4 * (trained + basis + max(step, validation))


def evaluation_bytes(images: Images, mode: SkipMode, num_samples: int) -> int:
    """What an evaluation takes: a model read from its file, the images, and figures of the samples."""
    model = COPIES_TO_LOAD * 4 * head_values(mode, images.num_classes)
    judging = judging_bytes(num_samples, images.num_classes)
    return PROCESS_BYTES + image_bytes(images) + model + judging


def embedding_bytes(images: Images, mode: SkipMode, num_samples: int, *, thumbnail_px: int = 0) -> int:
    """What an embedding of features takes beside an evaluation: rows that are not read as they lie, separation, and
    thumbnails of so many pixels a side; none of 0.
    """
    fit, width = min(FIT_ROWS, images.sizes["train"]), joined_width(mode)
    # Of a skip connection: rows of both sets, and the larger one a second time while its parts are joined.
    rows = 0 if mode == "none" else 4 * width * (num_samples + fit + max(num_samples, fit))
    rows += thumbnail_bytes(images, num_samples, thumbnail_px) if thumbnail_px else 0
    return evaluation_bytes(images, mode, num_samples) + rows + separation_bytes(images.num_classes, width)


def thumbnail_bytes(images: Images, num_samples: int, size_px: int) -> int:
    """What the projector's sprite takes: a part of the images as they are and as they are read ahead, and itself."""
    height, width = images.image_size
    count = min(num_samples, max_thumbnails(size_px))
    return 3 * (2 * min(READ_ROWS, count) * height * width + COPIES_OF_SPRITE * count * size_px**2)


def separation_bytes(num_classes: int, num_features: int) -> int:
    """What separation takes: sums of every class, votes between every two in three forms, and blocks of distances."""
    return 8 * num_classes * num_features + 3 * 8 * num_classes**2 + 3 * BLOCK_BYTES


def image_bytes(images: Images) -> int:
    """Decoded images that are kept in memory: those of small splits."""
    height, width = images.image_size
    return sum(min(count * height * width * 3, KEPT_PIXELS) for count in images.sizes.values())
