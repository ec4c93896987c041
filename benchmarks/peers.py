"""What else a user could pick, on the same images and weights: seconds from nothing to a model, and its accuracy.

    python -m benchmarks.peers --dataset FOLDER --weights FILE [--peers-python PYTHON] [--results FILE] [--only NAME]

One after another, each in a process of its own: `train.py` without and with the skip, scikit-learn's logistic
regression on torchvision's features, Accelerate's cv_example, fastai's fine_tune. All get the same images of
FOLDER/train to train on, hold none of them out, keep what their last epoch has made, and are judged on the same others
once their time is stopped. It counts start-up, decoding and features. What each peer does is told in its script in
`peer_scripts/`. A peer whose package is missing is left out, and the result says so. `--results` keeps each line as
soon as it is known, and the ratios are of all lines there that are of these images, weights and machine.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.models import alexnet

from alexnet_skip.network.weights import HUB_FILE, load_weights
from alexnet_skip.system.versions import code_digest
from benchmarks.command_line import benchmark_parser, machine, print_result
from benchmarks.peer_processes import PEERS, measure_peer, python_with
from benchmarks.report_loop import list_training_images
from benchmarks.time_to_accuracy import read_history, run_ours, tell
from benchmarks.timing import ratio_summary

ROOT = Path(__file__).resolve().parent.parent
OURS = {"ours": ["--no-skip"], "ours_skip": ["--skip"]}
QUICK = ["--epochs", "2", "--pca-basis", "8"]


@dataclass(frozen=True)
class Place:
    """What all of them start from.

    Attributes:
        images: folder of ``train/<class>/*`` and ``test/<class>/*``.
        torch_home: where torchvision finds its pretrained AlexNet.
        conditions: what a figure can be compared under.
    """

    images: Path
    torch_home: Path
    conditions: dict[str, Any]


def prepare(folder: Path, dataset: Path, weights: str, num_train: int, num_held_out: int) -> Place:
    """Copy the images, as many of each class, and lay the weights where torchvision looks for them.

    Raises:
        ValueError: if there are too few images.
    """
    paths, _ = list_training_images(dataset)
    wanted = num_train + num_held_out
    if len(paths) < wanted:
        raise ValueError(f"{dataset / 'train'} has {len(paths)} images, --train and --held-out ask for {wanted}")
    digest = hashlib.sha256()
    for number, path in enumerate(paths[:wanted]):
        place = folder / "images" / ("train" if number < num_train else "test") / path.parent.name
        place.mkdir(parents=True, exist_ok=True)
        digest.update(shutil.copyfile(path, place / path.name).read_bytes())
    loaded = load_weights(weights)
    write_pretrained(folder / "torch" / "hub" / "checkpoints" / HUB_FILE, loaded.state)
    conditions = {
        "num_train": num_train, "num_held_out": num_held_out, "images_sha256": digest.hexdigest(),
        "weights_sha256": loaded.sha256,
    }  # fmt: skip
    return Place(folder / "images", folder / "torch", conditions | machine())


def write_pretrained(file: Path, features: Mapping[str, Tensor]) -> None:
    """Write torchvision's file of a whole AlexNet; the layers behind the convolutions, which nobody uses, are zero."""
    with torch.device("meta"):
        whole = alexnet().state_dict()
    file.parent.mkdir(parents=True)
    zero = torch.zeros(())
    torch.save({n: features.get(n.removeprefix("features."), zero.expand(t.shape)) for n, t in whole.items()}, file)


def measure_ours(folder: Path, options: Sequence[str], place: Place) -> dict[str, Any]:
    """Run train.py with an empty cache, then evaluate.py; returns the seconds of one and the top-1 of the other."""
    run = run_ours(folder, ["--dataset", str(place.images), "--val-fraction", "0", *options])
    command = [sys.executable, str(ROOT / "evaluate.py"), "--runs-dir", str(folder / "runs"), "--run", "ours"]
    command += ["--split", "test", "--topk", "1", "--quiet"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    judged = json.loads(done.stdout.splitlines()[-1])
    return {
        "seconds": run["wall_seconds"], "top1": judged["topk"]["1"], "epochs": len(run["history"]),
        "seconds_by_phase": run["seconds"],
    }  # fmt: skip


def as_now(options: Sequence[str]) -> dict[str, str]:
    """What a line of ours says of its options and of the code, and must say to be joined with others."""
    return {"options": " ".join(options), "code": code_digest()}


def summary(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Seconds and top-1 by name, the last line of each; and each peer's seconds over ours."""
    last = {line["name"]: line for line in lines}
    result: dict[str, Any] = {}
    for name, line in last.items():
        result |= {f"seconds_{name}": line["seconds"], f"top1_{name}": line["top1"]}
    ours = [name for name in last if name not in PEERS]
    for our, peer in product(ours, [name for name in last if name in PEERS]):
        ratio = f"ratio{our.removeprefix('ours')}_{peer}"
        result[ratio] = ratio_summary([last[peer]["seconds"]], [last[our]["seconds"]])
    return result


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run what was chosen, one after another; returns the figures."""
    num_train, num_held_out = (8, 4) if arguments.quick else (arguments.train, arguments.held_out)
    second = ["--skip", "--finetune", str(arguments.finetune), "--finetune-epochs", str(arguments.finetune_epochs)]
    ours = OURS | ({"ours_finetune": second} if arguments.finetune else {})
    common = ["--weights", arguments.weights, *(QUICK if arguments.quick else ())]
    chosen = arguments.only or [*ours, *PEERS]
    left_out: dict[str, str] = {}
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        place = prepare(folder, arguments.dataset, arguments.weights, num_train, num_held_out)
        for name in chosen:
            if name in ours:
                found = measure_ours(folder / name, [*common, *ours[name]], place) | as_now(ours[name])
            else:
                script, package = PEERS[name]
                python = python_with(package, [sys.executable, arguments.peers_python])
                if python is None:
                    left_out[name] = f"{arguments.peers_python} has no package {package}; see benchmarks/README.md"
                    continue
                command = [python, "-m", f"benchmarks.peer_scripts.{script}", str(place.images)]
                found = measure_peer([*command, *(["1"] if arguments.quick else [])], place.torch_home)
            lines.append({"name": name} | found | place.conditions)
            tell(**lines[-1])
            if arguments.results:
                with arguments.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(lines[-1]) + "\n")
    if arguments.results:
        asked = {name: as_now(options) for name, options in ours.items()} | {name: {} for name in PEERS}
        known = [line for line in read_history(arguments.results) if line["name"] in asked]
        lines = [line for line in known if (place.conditions | asked[line["name"]]).items() <= line.items()]
    return {"benchmark": "peers"} | summary(lines) | {"left_out": left_out} | place.conditions


def main(argv: Sequence[str] | None = None) -> int:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--train", type=int, default=5000, help="images to train on")
    parser.add_argument("--held-out", type=int, default=2000, help="images to judge on")
    parser.add_argument("--finetune", type=int, default=0, help="--skip with so many convolutions, as well")
    parser.add_argument("--finetune-epochs", type=int, default=15, help="epochs of its second stage")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[*OURS, "ours_finetune", *PEERS])
    parser.add_argument("--peers-python", default=sys.executable, help="a Python that has what this one lacks (fastai)")
    parser.add_argument("--results", type=Path, help="file that a line is added to as soon as one of them is measured")
    arguments = parser.parse_args(argv)
    if "ours_finetune" in (arguments.only or ()) and not arguments.finetune:
        parser.error("--only ours_finetune needs --finetune 1, 2 or 3")
    if not (python := shutil.which(arguments.peers_python)):
        parser.error(
            f"--peers-python {arguments.peers_python} is no program; it must be a Python, such as peers/bin/python"
        )
    arguments.peers_python = str(Path(python).absolute())  # not resolved: a virtual environment's is a link
    print_result(measure(arguments))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
