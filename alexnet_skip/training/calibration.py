"""The temperature that a model is published with: fitted on the held-out images, which have chosen its epoch, too."""

from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from alexnet_skip.statistics import metrics
from alexnet_skip.training.inputs import Inputs


class HeldOutPredictions:
    """What a stage's epochs make of the held-out images: predicted once for each that is asked for.

    Where the convolutions learn, too, that takes as long as validating.
    """

    def __init__(self, inputs: Inputs, accelerator: Accelerator) -> None:
        self._inputs, self._accelerator = inputs, accelerator
        self._logits: dict[int, np.ndarray | None] = {}

    def logits(self, epoch: int, weights: dict[str, Any]) -> np.ndarray | None:
        """Logits (M, C) by an epoch's weights; None where nothing is held out. To be called on every process."""
        if epoch not in self._logits:
            self._logits[epoch] = self._predict(weights) if self._inputs.held_out is not None else None
        return self._logits[epoch]

    def calibration(self, epoch: int, weights: dict[str, Any]) -> dict[str, Any]:
        """What a model's config says of its temperature; nothing where no image was held out or none is determined."""
        logits, held_out = self.logits(epoch, weights), self._inputs.held_out
        if logits is None or held_out is None:
            return {}
        temperature = metrics.fit_temperature(logits, held_out.targets)
        if not metrics.is_determined(temperature):
            return {}
        return {"temperature": temperature, "temperature_images": len(logits)}

    def _predict(self, weights: dict[str, Any]) -> np.ndarray | None:
        # Initialising the model to be filled draws random numbers: publishing must not change the training.
        with torch.random.fork_rng(devices=[]):
            model = self._inputs.make_model()
        model.load_state_dict(weights)
        return self._inputs.predict_held_out(model.to(self._accelerator.device), self._accelerator)
