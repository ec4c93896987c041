"""The space that a run's images lie in, its principal axes, and how far the classes come apart in it."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import Tensor, nn

from alexnet_skip.devices.launch import Job
from alexnet_skip.embedding.samples import FitImages, Points
from alexnet_skip.features.source import CachedFeatures, LiveFeatures, predict
from alexnet_skip.images.dataset import Dataset
from alexnet_skip.images.splits import proportional_positions
from alexnet_skip.network.head import SkipHead
from alexnet_skip.pca.estimator import PCA
from alexnet_skip.runs.folders import evaluation_folder
from alexnet_skip.runs.opened import OpenedRun
from alexnet_skip.runs.predictions import published_digest, read_predictions
from alexnet_skip.settings.embed import EmbedSettings, Layer, SkipView
from alexnet_skip.statistics.separation import Separation, affordable_queries, separation
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.rows import LazyRows, Rows

# Accuracy of the axes: a thousandth of a variance is far below what a picture or a neighbour's vote shows.
FIT_TOL = 1e-3

# Of an embedding, where --components is left out: as many as can be drawn.
COMPONENTS = 3


class Space(nn.Module):
    """A layer's values (B, D) of flat features and tap; for layers of the head, the logits (B, C) beside them.

    Args:
        view: which features, for ``layer`` ``features``.
    """

    def __init__(self, trained: SkipHead, layer: Layer, view: SkipView) -> None:
        super().__init__()
        self.trained = trained
        self.layer = layer
        self.view = view

    @property
    def single(self) -> Literal["main", "tap"] | None:
        """The one cached array that the space is, if it is one."""
        if self.layer != "features":
            return None
        if self.view == "joined":
            return "main" if self.trained.skip.mode == "none" else None
        return self.view

    def forward(self, main: Tensor, tap: Tensor | None = None) -> Tensor:
        """The layer's values; of a layer of the head, with the logits at their right."""
        if self.layer == "features":
            chosen = {"main": main, "tap": tap}[self.single] if self.single else self.trained.skip(main, tap)
            assert chosen is not None, "opened without the tap"
            return chosen
        layers = self.trained.head.forward_layers(self.trained.skip(main, tap))
        return torch.cat((layers[self.layer], layers["logits"]), dim=1)


class RunFeatures:
    """A run's features, those of the same samples opened and verified once; used by all processes together."""

    def __init__(self, run: OpenedRun, dataset: Dataset, job: Job[EmbedSettings]) -> None:
        self.run = run
        self.job = job
        self._dataset = dataset
        self._tap = run.needs_tap or job.settings.skip_view == "tap"
        self._opened: dict[tuple[str, bytes], tuple[CachedFeatures | LiveFeatures, np.ndarray]] = {}

    def of(self, source_split: str, positions: np.ndarray) -> tuple[CachedFeatures | LiveFeatures, np.ndarray]:
        """Features of samples of a stored split, and their rows in them."""
        # Of frozen convolutions the whole split is opened, whichever samples are asked for.
        tuned = self.run.model_config.finetuned_layers
        key = (source_split, positions.tobytes() if tuned else b"")
        if key not in self._opened:
            self._opened[key] = self.run.open_features(self._dataset, source_split, positions, self.job, tap=self._tap)
        features, rows = self._opened[key]
        return features, rows if tuned else positions

    def compute(self, module: nn.Module, source_split: str, positions: np.ndarray) -> np.ndarray:
        """What a module makes (N, width) of the features of samples; each process computes its share."""
        accelerator = self.job.accelerator
        features, rows = self.of(source_split, positions)
        return predict(module.to(accelerator.device), features, rows, accelerator)

    def rows(self, space: Space, source_split: str, positions: np.ndarray) -> tuple[Rows, np.ndarray | None]:
        """Samples (N, D) of a stored split in a space, and logits (N, C) where they come for free.

        Cached features are read when they are needed and never copied; all else is computed once.
        """
        features, places = self.of(source_split, positions)
        if space.single and isinstance(features, CachedFeatures):
            array = features.views[0][0 if space.single == "main" else 1]
            assert array is not None, "opened without the tap"
            return LazyRows((len(positions), array.shape[1]), lambda rows: array[places[rows]]), None
        values = self.compute(space, source_split, positions)
        if space.layer == "features":
            return values, None
        width = len(self.run.model.class_names)
        return values[:, :-width], values[:, -width:]

    def logits(self, points: Points) -> np.ndarray:
        """Logits (N, C) of samples: those that evaluate.py has left, or new ones."""
        known = _known_logits(self.run, points)
        # All or none: a process that predicted alone would wait for the others forever.
        everywhere = all(gather_object([known is not None]))
        if known is not None and everywhere:
            return known
        return self.compute(self.run.model.trained, points.samples.source_split, points.positions)


@dataclass(frozen=True)
class Embedding:
    """Samples of a run in their principal coordinates.

    Attributes:
        space: what the space is called.
        fitted_on: which images the axes were fitted on, in words.
        scores: principal coordinates (N, K).
        components: how many coordinates are the embedding.
        figures: separation in the embedding and in the whole space.
    """

    run: OpenedRun
    space: str
    fitted_on: str
    pca: PCA
    scores: np.ndarray
    components: int
    figures: dict[str, Separation]

    @property
    def num_features(self) -> int:
        """Dimensions of the whole space."""
        return self.pca.n_features_in_


def embed_run(features: RunFeatures, points: Points, fit: FitImages) -> tuple[Embedding | None, np.ndarray | None]:
    """Embed samples of a split; to be called by all processes, which share what must be computed.

    Returns:
        The embedding, on the main process only, and logits (N, C) if they came with it.

    Raises:
        UserError: if more components are asked for than there are, or values can't be used.
    """
    run, settings, source_split = features.run, features.job.settings, points.samples.source_split
    space = Space(run.model.trained, settings.layer, settings.skip_view)
    rows, logits = features.rows(space, source_split, points.positions)
    same = fit.source_split == source_split and np.array_equal(fit.positions, points.positions)
    fit_rows = rows if same else features.rows(space, fit.source_split, fit.positions)[0]
    most = min(fit_rows.shape)
    components = settings.components or min(COMPONENTS, most)
    if components > most:
        raise UserError(
            f"--components is {components}, but {fit_rows.shape[0]:,} images of {fit_rows.shape[1]:,} values "
            f"have {most} principal components; give 2 to {most}"
        )
    if not features.job.accelerator.is_main_process:
        return None, logits
    wanted = min(most, max(components, settings.projector_components))
    try:
        pca = PCA(wanted, tol=FIT_TOL).fit(fit_rows)
        scores = pca.transform(rows)
    except ValueError as error:
        what = f"the {settings.layer} of {run.folder.name}"
        raise UserError(f"{what} can't be embedded: {error}; train the run again") from None
    labels, num_classes = points.labels, len(run.model.class_names)
    figures = {
        # Each class in proportion: of another mix of classes the same space would have other figures.
        where: separation(X, labels, num_classes, proportional_positions(labels, affordable_queries(*X.shape)))
        for where, X in (("embedding", scores[:, :components]), ("full", rows))
    }
    mode = run.model_config.skip_mode
    joined = "main" if mode == "none" else f"joined by {mode}"
    view = joined if settings.skip_view == "joined" else settings.skip_view
    name = f"features ({view})" if settings.layer == "features" else settings.layer
    return Embedding(run, name, fit.words, pca, scores, components, figures), logits


def metrics_of(embedding: Embedding) -> dict[str, Any]:
    """What metrics.json says of one embedding."""
    names, pca = embedding.run.model.class_names, embedding.pca
    return {
        "run": embedding.run.folder.name,
        "epoch": embedding.run.model_config.epoch,
        "model_sha256": published_digest(embedding.run.folder, embedding.run.checkpoint_name),
        "space": embedding.space,
        "num_features": embedding.num_features,
        "fitted_on": embedding.fitted_on,
        "solver": pca.solver_,
        "explained_variance_ratio": [float(value) for value in pca.explained_variance_ratio_],
        "separation": {space: figures.as_json(names) for space, figures in embedding.figures.items()},
    }


def _known_logits(run: OpenedRun, points: Points) -> np.ndarray | None:
    """Logits (N, C) that evaluate.py has left for these samples of this very model, or None."""
    samples = points.samples
    try:
        known = read_predictions(evaluation_folder(run.folder, samples.name, run.checkpoint_name))
        wanted = (published_digest(run.folder, run.checkpoint_name), samples.split.digest)
    except (OSError, UserError):
        return None
    if (known.model, known.digest) != wanted or not np.array_equal(known.index, samples.index):
        return None
    return known.logits[np.searchsorted(samples.positions, points.positions)]
