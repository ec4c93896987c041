"""The whole network as one file for other programs: uint8 images of any size in, probabilities out."""

import importlib.util
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from alexnet_skip.evaluation.classify import open_network
from alexnet_skip.network.model import AlexNetWithSkip
from alexnet_skip.network.plain import PlainNetwork
from alexnet_skip.settings.evaluate import EvaluateSettings
from alexnet_skip.system.console import Console
from alexnet_skip.system.errors import UserError

# How far the exported network's probabilities may be from PyTorch's: fp32 sums in another order.
TOLERANCE = 1e-4
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")

ONNX_OPSET = 18  # the first whose Resize antialiases
FILES: dict[str, str] = {"onnx": "model.onnx", "torch": "model.pt2"}

Run = Callable[[np.ndarray], np.ndarray]


def export(settings: EvaluateSettings) -> tuple[dict[str, Any], bool]:
    """Write what ``--export`` asks for, and hold it against PyTorch; returns figures and paths for programs."""
    form: Literal["onnx", "torch"] = "onnx" if settings.export == "onnx" else "torch"
    console = Console(settings.quiet)
    require_packages(form)
    with console.working("Reading the model"):
        network, config, folder = open_network(settings, console)
    path = folder / FILES[form]
    with console.working(f"Exporting {folder}"):
        difference = export_network(network, path, form)
    console.line(f"{path}: {path.stat().st_size / 2**20:,.0f} MiB, within {difference:.1e} of PyTorch's probabilities")
    console.line("It takes uint8 images (N, height, width, 3) of any size and returns probabilities (N, classes).")
    console.line(f"They are those of {config.calibration}.")
    return {"export": str(path), "class_names": network.class_names, "largest_difference": difference}, True


def require_packages(form: Literal["onnx", "torch"]) -> None:
    """Refuse to begin what can't be ended.

    Raises:
        UserError: if a package is missing.
    """
    missing = [name for name in ONNX_PACKAGES if form == "onnx" and importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f'--export is onnx, which needs {", ".join(missing)}; install them with python -m pip install ".[export]", '
            "or use --export torch, which needs nothing more"
        )


def export_network(network: AlexNetWithSkip, path: Path, form: Literal["onnx", "torch"]) -> float:
    """Write the network, read it back, and compare it with PyTorch on random images of two sizes.

    Returns:
        The largest difference of a probability.

    Raises:
        RuntimeError: if that is above ``TOLERANCE``; nothing is left then, nor after any other error.
    """
    plain = PlainNetwork(network.cpu().eval())
    temporary = path.with_name(f"unchecked-{path.name}")
    example = torch.zeros(2, 48, 40, 3, dtype=torch.uint8)
    dims = torch.export.Dim
    sizes = {"images": {0: dims("batch", max=4096), 1: dims("height", max=16384), 2: dims("width", max=16384)}}
    try:
        with warnings.catch_warnings():
            # The exporters warn of their own internals; what they wrote is held against PyTorch below.
            warnings.simplefilter("ignore")
            program = torch.export.export(plain, (example,), dynamic_shapes=sizes, strict=False)
            write = _write_onnx if form == "onnx" else _write_torch
            run = write(program, temporary, network)
            rng = np.random.default_rng(0)
            differences = []
            for shape in ((1, 32, 32, 3), (3, 150, 97, 3)):
                images = rng.integers(0, 256, shape, dtype=np.uint8)
                with torch.inference_mode():
                    expected = plain(torch.from_numpy(images)).numpy()
                differences.append(float(np.abs(run(images) - expected).max()))
        if not max(differences) < TOLERANCE:
            raise RuntimeError(f"{form} differs from PyTorch by {max(differences)}; nothing was written")
        os.replace(temporary, path)
    finally:  # whatever it ended with
        temporary.unlink(missing_ok=True)
    return max(differences)


def _write_onnx(program: torch.export.ExportedProgram, path: Path, network: AlexNetWithSkip) -> Run:
    import onnxruntime

    exported = torch.onnx.export(
        program, (), input_names=["images"], output_names=["probabilities"], opset_version=ONNX_OPSET, dynamo=True,
        verbose=False,
    )  # fmt: skip
    assert exported is not None  # it is what torch.onnx.export returns with dynamo=True
    exported.model.metadata_props["class_names"] = json.dumps(network.class_names)
    exported.save(str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: session.run(["probabilities"], {"images": images})[0]


def _write_torch(program: torch.export.ExportedProgram, path: Path, network: AlexNetWithSkip) -> Run:
    # torch.export insists on the suffix .pt2, which the temporary name keeps.
    torch.export.save(program, path, extra_files={"class_names.json": json.dumps(network.class_names)})
    module = torch.export.load(path).module()
    return lambda images: module(torch.from_numpy(images)).detach().numpy()
