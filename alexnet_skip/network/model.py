"""The whole network, from images to classes: published as a folder, loaded from one, and used for prediction."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from alexnet_skip.images.file import ImageLike, as_rgb, squeeze
from alexnet_skip.network.backbone import IMAGE_SIZE, STATE_SHAPES, FrozenAlexNet, weights_digest
from alexnet_skip.network.card import model_card
from alexnet_skip.network.factored import FactoredLinear
from alexnet_skip.network.head import SkipHead
from alexnet_skip.network.inputs import Images, given_images
from alexnet_skip.network.prediction import Prediction, probabilities
from alexnet_skip.network.state_files import (
    CONVOLUTIONS,
    HEAD,
    PROJECTION_TENSOR,
    read_state,
    whole_digest,
    write_state,
)
from alexnet_skip.network.uninitialised import Uninitialised
from alexnet_skip.settings.embed import Layer
from alexnet_skip.settings.records import CONFIG_NAME, ModelConfig, read_model_config
from alexnet_skip.system.commands import train_command
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import write_sealed_json, write_text

# Images that predict() hands to the network at once; of files one at a time is in memory at its full size.
PREDICT_IMAGES = 64


class AlexNetWithSkip(nn.Module):
    """Frozen AlexNet, skip connection and head: uint8 images in, logits out.

    Attributes:
        class_names: names of the classes, in the order of the logits.
        image_size: height and width of the images that it was trained on; :meth:`predict` resizes to it.
        temperature: that :meth:`predict` divides logits by before they become probabilities.
    """

    def __init__(
        self,
        backbone: FrozenAlexNet,
        trained: SkipHead,
        class_names: tuple[str, ...],
        image_size: tuple[int, int] = (IMAGE_SIZE, IMAGE_SIZE),
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.trained = trained
        self.class_names = class_names
        self.image_size = image_size
        self.temperature = temperature

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike) -> "AlexNetWithSkip":
        """Load a trained network, in eval mode on the CPU.

        Args:
            folder: a run (``runs/NAME``: its best epoch) or a published model (``runs/NAME/model``), wherever it has
                been copied to.

        Raises:
            UserError: if there is no such model, or it is damaged.
        """
        return load_published(model_folder(Path(folder)))[0]

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, num_classes) of uint8 images (B, H, W, 3) of any size."""
        main, tap = self.backbone(images)
        return self.trained(main.flatten(1), tap.flatten(1))

    def predict(self, images: Images) -> list[Prediction]:
        """Classify images of any size and mode, on the device that the network is on.

        They are read as the training images were: upright, and squeezed to their size. A network that was trained on
        32×32 images has never seen a sharp photograph.

        Args:
            images: one or several, as :func:`alexnet_skip.network.inputs.given_images` takes them: files, folders,
                PIL images, arrays, tensors.

        Returns:
            One prediction per image, in their order.

        Raises:
            ValueError: if an image can't be read, or an array is of another type or shape.
        """
        predictions: list[Prediction] = []
        for given, pixels in self._batches(images):
            with torch.inference_mode():
                logits = self(pixels).float().cpu().numpy()
            for image, row in zip(given, probabilities(logits, self.temperature), strict=True):
                file = os.fspath(image) if isinstance(image, str | os.PathLike) else ""
                predictions.append(Prediction(self.class_names, row, file))
        return predictions

    def features(self, images: Images) -> np.ndarray:
        """What the frozen network makes of images: torchvision's ``alexnet.features``, flat, fp32 (N, 9216).

        Args, raises: as :meth:`predict`.
        """
        return self._rows(images, lambda main, tap: main)

    def embed(self, images: Images, layer: Layer = "features") -> np.ndarray:
        """Where images lie in one of the spaces that ``embed.py`` draws.

        Args:
            images: as :meth:`predict` takes them.
            layer: ``features`` as the head sees them (joined by the skip connection), ``hidden1``, ``hidden2`` or
                ``logits``.

        Returns:
            fp32 (N, D) with D of 9,216 (``concat``: 18,432), 4,096, 1,024 or the number of classes.

        Raises:
            ValueError: for another layer, or as :meth:`predict`.
        """
        if layer not in get_args(Layer):
            raise ValueError(f"layer is {layer!r}; give one of {', '.join(get_args(Layer))}")

        def values(main: Tensor, tap: Tensor) -> Tensor:
            joined = self.trained.skip(main, tap)
            return joined if layer == "features" else self.trained.head.forward_layers(joined)[layer]

        return self._rows(images, values)

    def _rows(self, images: Images, values: Callable[[Tensor, Tensor], Tensor]) -> np.ndarray:
        rows = []
        for _, pixels in self._batches(images):
            with torch.inference_mode():
                main, tap = self.backbone(pixels)
                rows.append(values(main.flatten(1), tap.flatten(1)).float().cpu().numpy())
        if not rows:
            raise ValueError("there is no image; give one or several")
        return np.concatenate(rows)

    def _batches(self, images: Images) -> Iterator[tuple[list[ImageLike], Tensor]]:
        """A few of the images at a time, and the same as the network takes them, on its device."""
        todo, device = given_images(images), next(self.parameters()).device
        for start in range(0, len(todo), PREDICT_IMAGES):
            given = todo[start : start + PREDICT_IMAGES]
            squeezed = [squeeze(as_rgb(image), self.image_size) for image in given]
            yield given, torch.from_numpy(np.stack(squeezed)).to(device)


def model_folder(folder: Path) -> Path:
    """The published model that a folder is, or that a run's best epoch left in it.

    Raises:
        UserError: if there is none.
    """
    for candidate in (folder, folder / "model"):
        if (candidate / "model.safetensors").is_file():
            return candidate
    raise UserError(
        f"{folder} is neither a run with a trained model nor a published model (model.safetensors and config.json); "
        f"give a folder of runs/, or train one:{train_command('--skip')}"
    )


def publish(folder: Path, trained: SkipHead, backbone: FrozenAlexNet, config: ModelConfig) -> None:
    """Write a model that loads without the run, its weights file or any flag, and a card that says what it is.

    Args:
        config: what the model is to say of itself; its checksum is added.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {f"trained.{name}": value for name, value in trained.state_dict().items()}
    state |= {f"backbone.{name}": value for name, value in backbone.torchvision_state().items()}
    tensors = {name: value.detach().float().cpu().contiguous() for name, value in state.items()}
    # Complete or absent: without its config.json a folder is no published model, and that is written last.
    (folder / CONFIG_NAME).unlink(missing_ok=True)
    files = write_state(folder, tensors)
    config = dataclasses.replace(config, files=files, model_sha256=whole_digest(files))
    write_text(folder / "README.md", model_card(config))
    write_sealed_json(folder / CONFIG_NAME, config.as_json())


def published_weights_digest(folder: Path) -> str:
    """Digest of the convolutions of a published model, of which nothing else is read.

    Raises:
        OSError, SafetensorError, KeyError: if they can't be read, or there are none.
    """
    apart = folder / CONVOLUTIONS
    path = apart if apart.is_file() else folder / HEAD
    with safe_open(str(path), framework="pt") as file:
        return weights_digest({name: file.get_tensor(f"backbone.{name}") for name in STATE_SHAPES})


def load_published(folder: Path) -> tuple[AlexNetWithSkip, ModelConfig]:
    """Load a published model, in eval mode on the CPU, and its config.

    Raises:
        UserError: if a file is missing, damaged or does not fit the config.
    """
    config = read_model_config(folder)
    path = folder / HEAD
    try:
        state = read_state(folder, config.files, config.model_sha256)
        trained = _empty_head(config, state)
        trained.load_state_dict({k[8:]: v for k, v in state.items() if k.startswith("trained.")})
        backbone = FrozenAlexNet({k[9:]: v for k, v in state.items() if k.startswith("backbone.")})
    except (OSError, SafetensorError, KeyError, TypeError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path} can't be loaded ({reason}); copy the model folder again or train the run again"
        ) from None
    bad = [name for name, value in state.items() if not torch.isfinite(value).all()]
    if bad:
        raise UserError(f"{path} holds values that are not finite in {bad[0]}; train the run again with a lower --lr")
    network = AlexNetWithSkip(backbone, trained, config.class_names, config.image_size, config.temperature or 1.0)
    return network.eval(), config


def _empty_head(config: ModelConfig, state: Mapping[str, Tensor]) -> SkipHead:
    """The head of a published state, to be loaded into: its values are not initialised, which would take longer."""
    with Uninitialised():
        trained = SkipHead(config.skip_mode, len(config.class_names))
        if (projection := state.get(PROJECTION_TENSOR)) is not None:
            first = trained.head.fc1
            trained.head.fc1 = FactoredLinear.empty(first.out_features, first.in_features, projection.shape[-1])
    return trained
