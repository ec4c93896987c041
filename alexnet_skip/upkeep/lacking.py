"""What a training computes before its first step: features and PCA bases that the cache lacks."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from alexnet_skip.features.basis import joined_in_basis
from alexnet_skip.features.cache import array_names
from alexnet_skip.features.coordinates import kept_basis
from alexnet_skip.features.source import cache_entry
from alexnet_skip.network.weights import AlexNetWeights
from alexnet_skip.settings.shared import SkipMode
from alexnet_skip.settings.train import TrainSettings
from alexnet_skip.upkeep import memory
from alexnet_skip.upkeep.inventory import CacheState, Images, look_into_cache_of, nothing_cached
from alexnet_skip.upkeep.remaining import Remaining


@dataclass(frozen=True)
class Lacking:
    """What is to be computed first.

    Attributes:
        features: of all splits that are read, what is in the cache.
        bases: what is joined in each basis that is fitted.
    """

    features: CacheState
    bases: tuple[SkipMode, ...]


def what_is_lacking(
    settings: TrainSettings, remaining: Remaining, images: Images, positions: np.ndarray,
    weights: AlexNetWeights | None, device: torch.device,
) -> Lacking:  # fmt: skip
    """What the runs that are left need, and do not find in the cache.

    Args:
        positions: the samples (N,) to train on.
    """
    dataset, cache_dir = images.dataset, settings.cache.cache_dir
    arrays = _arrays_read(settings, remaining, images)
    modes = [joined_in_basis(run.settings.joined).mode for run in remaining.runs if settings.training.pca_basis]
    if dataset is None or weights is None:
        states = [nothing_cached(images.sizes[split], names) for split, names in arrays.items()]
        return Lacking(sum(states, CacheState()), tuple(dict.fromkeys(modes) if settings.cache.cache else modes))
    look = partial(look_into_cache_of, cache_dir, dataset, weights_digest=weights.sha256, device=device)
    features = sum((look(split, names=names) for split, names in arrays.items()), CacheState())
    if not settings.cache.cache:  # every run fits its own
        return Lacking(features, tuple(modes))
    folder, options = cache_entry(cache_dir, dataset, "train", weights.sha256, device).folder, settings.training
    basis_of = partial(
        kept_basis, folder, positions, images.sizes["train"], num_components=options.pca_basis, mirrored=options.hflip
    )
    return Lacking(features, tuple(mode for mode in dict.fromkeys(modes) if not basis_of(mode).recorded))


def _arrays_read(settings: TrainSettings, remaining: Remaining, images: Images) -> dict[str, tuple[str, ...]]:
    """Names of the arrays of features that are read, by their stored split."""
    study = settings.study
    tap = study.study_variants != ("none",) if study.study else settings.joined != "none"
    arrays = {}
    if remaining.runs:
        arrays["train"] = array_names(tap, settings.training.hflip)
    if remaining.runs and "val" in images.sizes:
        arrays["val"] = array_names(tap, False)
    if remaining.judged:
        arrays.setdefault(images.judged_split[1], array_names(tap, False))
    return arrays


def coordinates_bytes(settings: TrainSettings, images: Images, lacking: Lacking) -> int:
    """What the coordinates of all images in the bases that are fitted take in the cache."""
    views, options = 2 if settings.training.hflip else 1, settings.training
    columns = sum(min(options.pca_basis, memory.joined_width(mode)) for mode in lacking.bases)
    return 2 * views * images.sizes["train"] * columns
