"""The finished run whose published model a new run begins with (``--finetune-from``)."""

from pathlib import Path

from alexnet_skip.features.basis import SkipHeadInBasis, unfolded
from alexnet_skip.network.head import SkipHead
from alexnet_skip.network.model import load_published
from alexnet_skip.runs.folders import published_folder
from alexnet_skip.runs.predictions import published_digest
from alexnet_skip.settings.dataset_record import DatasetRecord
from alexnet_skip.settings.records import is_published, read_model_config, read_run_config
from alexnet_skip.system.errors import UserError
from alexnet_skip.training.state import RunState, score_of
from alexnet_skip.training.trainer import Trainer


def require_parent(parent: Path, dataset: DatasetRecord, weights_digest: str) -> None:
    """Refuse, before anything is made, a run whose model can't be fine-tuned on these images and weights.

    Of images that are held out here the head of one that was trained on others may have learnt.

    Raises:
        UserError: saying why.
    """
    flag = f"--finetune-from {parent}"
    config = read_run_config(parent)
    if not is_published(parent / "model"):
        raise UserError(f"{flag}: it has no published model yet; finish it first (train.py --resume {parent.name})")
    config.require_same(dataset, weights_digest, flag)
    model = read_model_config(published_folder(parent, "best"))
    if model.finetuned_layers:
        layers = ", ".join(map(str, model.finetuned_layers))
        raise UserError(
            f"{flag}: its convolutions are not those of its --weights, but trained (layers {layers}); give a run whose "
            "convolutions were not"
        )
    if (model.skip_mode, model.class_names) != (config.settings.joined, dataset.class_names):
        raise UserError(
            f"{flag}: its model has another skip connection or other classes than its config says; train it again"
        )


def state_of_parent(trainer: Trainer) -> RunState:
    """Where a run stands that begins with the published model of another: behind its first stage.

    Raises:
        UserError: if that model is another one than the run was started with, or does not fit what is to be trained.
    """
    settings, session = trainer.settings, trainer.session
    folder = Path(settings.finetuning.finetune_from or "")
    flag = f"--finetune-from {folder}"
    if trainer.config.parent_sha256 not in (None, published_digest(folder, "best")):
        raise UserError(f"{flag}: its model is another one than this run was started with; start a new run")
    network, config = load_published(published_folder(folder, "best"))
    if network.backbone.weights_digest != session.backbone.weights_digest:
        raise UserError(
            f"{flag}: its convolutions are not those of --weights {settings.weights} (SHA-256 "
            f"{network.backbone.weights_digest[:12]} and {session.backbone.weights_digest[:12]}); give a run whose "
            "convolutions were not trained, and its weights"
        )
    head: SkipHead | SkipHeadInBasis = network.trained
    if (basis := trainer.inputs.basis) is not None:
        try:
            head = unfolded(network.trained, basis)
        except ValueError as error:
            raise UserError(f"{flag}: {error}; bring its feature cache back, or train the run again") from None
    epoch, figures = settings.training.epochs, config.metrics
    return RunState(
        epoch=epoch + 1, figures=figures, best_epoch=config.epoch or epoch, best_figures=figures,
        best_score=score_of(figures) if "val_top1" in figures else (float(epoch), 0.0),
        best_state={name: value.to(session.accelerator.device) for name, value in head.state_dict().items()},
    )  # fmt: skip
