"""What TensorBoard shows of a finished run beside its curves."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from alexnet_skip.images.dataset import Dataset
from alexnet_skip.network.backbone import FrozenAlexNet
from alexnet_skip.network.head import SkipHead
from alexnet_skip.network.model import AlexNetWithSkip
from alexnet_skip.network.plain import PlainNetwork
from alexnet_skip.network.prediction import probabilities
from alexnet_skip.network.uninitialised import Uninitialised
from alexnet_skip.settings.command_line import to_dict
from alexnet_skip.settings.records import RunConfig, read_model_config
from alexnet_skip.settings.train import TrainSettings
from alexnet_skip.system.commands import tensorboard_address
from alexnet_skip.system.console import Console, per_cent
from alexnet_skip.system.progress import duration
from alexnet_skip.training import tensorboard
from alexnet_skip.training.log import run_title
from alexnet_skip.training.trainer import Trainer

# What most runs have, and HParams does not show.
USUAL = {"dataset": "cifar10", "recipe": TrainSettings.recipe, "weights": TrainSettings.weights, "limit_train": None}


def report_run(trainer: Trainer, summary: dict[str, Any]) -> None:
    """Give TensorBoard the pictures and tables of a finished run; on every process, since all of them predict.

    Args:
        summary: the run's summary.json.
    """
    session, inputs, config = trainer.session, trainer.inputs, trainer.config
    dataset, held_out = session.dataset, inputs.held_out
    logits = trainer.held_out.logits(trainer.state.best_epoch, trainer.state.best_state)
    if not session.accelerator.is_main_process:
        return
    writer = SummaryWriter(str(trainer.folder))
    if held_out is not None and logits is not None:
        split = dataset.splits["val" if "val" in dataset.splits else "train"]
        epoch, images = summary["best_epoch"], split.subset(held_out.positions).images
        title = f"{run_title(config, trainer.folder.name)}, {len(images):,} held-out images, epoch {epoch}"
        chances = probabilities(logits, read_model_config(trainer.folder / "model").temperature)
        tensorboard.log_validation(writer, images, chances, held_out.targets, dataset.class_names, epoch, title)
    tensorboard.log_hparams(writer, compared_settings(config))
    network = _untrained_network(session.backbone, summary["skip_mode"], dataset)
    tensorboard.log_graph(writer, network, network.network.image_size)
    writer.close()


def compared_settings(config: RunConfig) -> dict[str, Any]:
    """Settings for the tab "HParams": form of the skip and seed, and of the others those that are not the recipe's own.

    A column in which all runs are alike would only push aside those in which they differ.
    """
    settings, training = config.settings, to_dict(config.settings.training)
    of_recipe = TrainSettings.of_recipe(settings.recipe)
    usual = to_dict(of_recipe.training.for_images(config.num_train))
    found = {"skip": settings.joined, "seed": training["seed"]}
    found |= {name: value for name, value in training.items() if value != usual[name]}
    if settings.finetuning.finetune:
        found |= {name: value for name, value in to_dict(settings.finetuning).items() if value not in (None, False)}
    others: dict[str, Any] = {"dataset": config.dataset.name, "recipe": settings.recipe}
    others |= {
        "weights": Path(settings.weights).name,
        "limit_train": settings.data.limit_train,
        "train_on": settings.data.train_on,
    }
    usual |= USUAL | {"train_on": of_recipe.data.train_on}
    return found | {name: value for name, value in others.items() if value != usual[name]}


def _untrained_network(backbone: FrozenAlexNet, mode: Any, dataset: Dataset) -> PlainNetwork:
    """The published form, with values that mean nothing: a graph shows none, and initialising them takes seconds."""
    with Uninitialised():
        trained = SkipHead(mode, len(dataset.class_names))
    frozen = FrozenAlexNet({name: value.cpu() for name, value in backbone.torchvision_state().items()})
    height, width = dataset.splits["train"].image_size
    network = AlexNetWithSkip(frozen, trained, dataset.class_names, (height, width))
    return PlainNetwork(network.eval())


def show_run(console: Console, summary: Mapping[str, Any], runs_dir: Path) -> None:
    """Print the best epoch's figures, where the time went, and what can be done with the run.

    Args:
        summary: as :func:`alexnet_skip.training.run.train_run` returns it.
    """
    best, seconds = summary["best"], summary["seconds"]
    figures = [f"top-{k} {per_cent(best[f'val_top{k}'], 2)} %" for k in (1, 3) if f"val_top{k}" in best]
    told = ", ".join(figures) + " of the held-out images" if figures else "nothing was held out to measure on"
    parts = sorted(seconds.items(), key=lambda item: -item[1])
    spent = ", ".join(f"{name} {duration(value)}" for name, value in parts if value >= 1)
    console.line(f"Best epoch {summary['best_epoch']} of {summary['epochs']}: {told}")
    console.line(f"{duration(sum(seconds.values()))} in all ({spent})")
    console.line(f"Model in {summary['model']}, curves in {Path(summary['run']) / 'learning_curves.png'}. Next:")
    run = summary["run"]
    console.commands(
        ("python", "evaluate.py", "--run", run),
        ("python", "embed.py", "--run", run),
        ("python", "evaluate.py", "--images", "FILE", "--run", run),
        ("tensorboard", "--logdir", runs_dir),
    )
    console.line(f"then open {tensorboard_address('timeseries')}")


def show_study(console: Console, study: str, runs_dir: Path) -> None:
    """Print what can be done with a study."""
    console.line(f"Runs in {study}. Next:")
    console.commands(
        ("python", "evaluate.py", "--compare", study),
        ("python", "evaluate.py", "--table", study),
        ("tensorboard", "--logdir", runs_dir),
    )
    console.line(f"then open {tensorboard_address('timeseries')}")
