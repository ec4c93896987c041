"""How long a training would take, from about a second of the real work on this machine as it is now."""

from accelerate import Accelerator

from alexnet_skip.features.basis import ITERATIONS
from alexnet_skip.features.coordinates import BASIS_ROWS
from alexnet_skip.network.backbone import NUM_FEATURES, FrozenAlexNet
from alexnet_skip.network.weights import load_weights
from alexnet_skip.settings.train import TrainSettings
from alexnet_skip.upkeep import speed_probe
from alexnet_skip.upkeep.inventory import CacheState, Images


def expected_seconds(
    settings: TrainSettings, images: Images, state: CacheState, num_train: int, accelerator: Accelerator
) -> tuple[dict[str, float], int]:
    """Seconds of each part of a training, or of all runs of a study; and how many runs these are.

    Args:
        state: what of the features is in the cache.
    """
    options, processes = settings.training, accelerator.num_processes
    backbone = FrozenAlexNet(load_weights("random").state).to(accelerator.device)
    extraction = processes * speed_probe.extraction_rate(backbone, images.image_size, accelerator.device)
    training = processes * speed_probe.training_rate(settings, images.num_classes, accelerator)
    passes = state.missing_images if settings.cache.cache else options.epochs * num_train
    parts = {"extract": passes / extraction, "train": options.epochs * num_train / training}
    if options.pca_basis:
        product = 2 * NUM_FEATURES * options.pca_basis
        fitted = (2 * ITERATIONS + 1) * min(BASIS_ROWS, num_train)  # two products a pass, the last has one
        rows = fitted + (2 if options.hflip else 1) * images.sizes["train"]
        parts["basis"] = rows * product / speed_probe.multiplication_rate(accelerator.device)
    if settings.finetuning.finetune:
        tuning = processes * speed_probe.tuning_rate(
            settings, backbone, images.image_size, images.num_classes, accelerator
        )
        each = num_train / tuning + images.num_val(num_train) / extraction
        parts["fine-tune"] = settings.finetuning.finetune_epochs * each
    runs = len(settings.study.study_variants) * len(settings.study.seeds) if settings.study.study else 1
    for part in ("train", "fine-tune"):
        if part in parts:
            parts[part] *= runs
    return parts, runs
