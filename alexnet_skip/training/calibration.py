"""The temperature that a model is published with: fitted on the held-out images, which have chosen its epoch, too."""

from typing import Any

import torch
from accelerate import Accelerator

from alexnet_skip.statistics import metrics
from alexnet_skip.training.inputs import Inputs


def fit_calibration(inputs: Inputs, weights: dict[str, Any], accelerator: Accelerator) -> dict[str, Any]:
    """What a model's config says of its temperature; nothing where no image was held out or they do not determine it.

    To be called on every process.

    Args:
        weights: the state of a model for these inputs.
    """
    if inputs.held_out is None:
        return {}
    # Initialising the model to be filled draws random numbers: publishing must not change the training.
    with torch.random.fork_rng(devices=[]):
        model = inputs.make_model()
    model.load_state_dict(weights)
    logits = inputs.predict_held_out(model.to(accelerator.device), accelerator)
    assert logits is not None
    temperature = metrics.fit_temperature(logits, inputs.held_out.targets)
    if not metrics.is_determined(temperature):
        return {}
    return {"temperature": temperature, "temperature_images": len(logits)}
