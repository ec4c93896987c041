"""fastai, as its quick start has it: `vision_learner(dls, alexnet).fine_tune(3)`.

All else is fastai's default: `Resize(224)` for each image, normalised as ImageNet was, batches of 64, Adam, one cycle,
mixed precision off; its head on AlexNet's convolutions (average and maximum of each of the 256 channels, two linear
layers with batch normalisation and dropout). `fine_tune(3)` trains the head for one epoch, then everything for three,
the lower convolutions more slowly.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from fastai.vision.all import (
    CategoryBlock,
    DataBlock,
    ImageBlock,
    IndexSplitter,
    Learner,
    Resize,
    accuracy,
    alexnet,
    get_image_files,
    parent_label,
    set_seed,
    vision_learner,
)

from benchmarks.peer_scripts.answers import IMAGE_SIZE, NUM_WORKERS, answer

EPOCHS, SEED = 3, 42


def train(split: Path, epochs: int) -> Learner:
    """Fine-tune on the images in ``split/<class>/*``; none is held out, so none has to be judged in every epoch."""
    set_seed(SEED)
    # `ImageDataLoaders.from_folder` is this block with a splitter that must hold out some.
    images = DataBlock(
        blocks=(ImageBlock, CategoryBlock), get_items=get_image_files, get_y=parent_label, splitter=IndexSplitter([]),
        item_tfms=Resize(IMAGE_SIZE),
    ).dataloaders(split, num_workers=NUM_WORKERS)  # fmt: skip
    learner = vision_learner(images, alexnet, metrics=accuracy)
    learner.fine_tune(epochs)
    return learner


def top1(learner: Learner, split: Path) -> float:
    """Accuracy on the images of a folder."""
    _, found = learner.validate(dl=learner.dls.test_dl(get_image_files(split), with_labels=True))
    return float(found)


def main(argv: Sequence[str] | None = None) -> int:
    return answer(argv, train, top1, epochs=EPOCHS, packages=("fastai", "torch", "torchvision"))


if __name__ == "__main__":
    sys.exit(main())
