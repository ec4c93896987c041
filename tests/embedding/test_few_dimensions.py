"""A space of fewer dimensions than an embedding usually has: two classes' logits."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from alexnet_skip.embedding import output, space
from alexnet_skip.embedding.space import embed_run
from alexnet_skip.images.splits import limit_positions
from alexnet_skip.settings.embed import EmbedSettings, parse_embed
from alexnet_skip.statistics.separation import separation
from alexnet_skip.system.errors import UserError


def embedded(num_classes, settings, main_process=True):
    """What is made of logits of well separated classes."""
    labels = np.arange(60) % num_classes
    rng = np.random.default_rng(0)
    logits = 4 * np.eye(num_classes)[labels] + rng.standard_normal((60, num_classes))
    rows = np.arange(60)
    model = SimpleNamespace(trained=None, class_names=tuple(f"class {i}" for i in range(num_classes)))
    features = SimpleNamespace(
        run=SimpleNamespace(folder=Path("run"), model=model, model_config=SimpleNamespace(skip_mode="none")),
        job=SimpleNamespace(settings=settings, accelerator=SimpleNamespace(is_main_process=main_process)),
        rows=lambda space, source_split, positions: (logits, logits),
    )
    points = SimpleNamespace(samples=SimpleNamespace(source_split="test"), positions=rows, labels=labels)
    return embed_run(features, points, SimpleNamespace(source_split="test", positions=rows, words="these"))[0], labels


@pytest.mark.parametrize(("num_classes", "components"), [(2, 2), (3, 3), (5, 3)])
def test_without_components_an_embedding_has_three_or_as_many_as_there_are(num_classes, components):
    embedding, _ = embedded(num_classes, parse_embed(["--layer", "logits"]))
    assert embedding.components == components
    assert embedding.scores.shape == (60, num_classes)
    assert embedding.figures["embedding"].knn_top1 > 0.8


def test_two_dimensions_are_drawn_in_two_dimensions(tmp_path):
    embedding, labels = embedded(2, parse_embed(["--layer", "logits"]))
    output.write_pictures(tmp_path, embedding, labels, "logits of two classes")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["explained_variance.png", "pca_2d.png"]
    # Both coordinates are all there is: nothing is lost.
    whole = embedding.figures["full"]
    assert embedding.figures["embedding"].silhouette == pytest.approx(whole.silhouette)
    assert output._note(embedding).startswith("2-D: kNN ")


@pytest.mark.parametrize("components", [3, 4])
@pytest.mark.parametrize("main_process", [True, False])
def test_more_components_than_there_are_are_refused_where_they_were_asked_for(components, main_process):
    settings = parse_embed(["--layer", "logits", "--components", str(components)])
    message = f"--components is {components}, but 60 images of 2 values have 2 principal components; give 2 to 2"
    with pytest.raises(UserError, match=message):
        embedded(2, settings, main_process)


def test_components_asked_for_are_those_of_the_embedding():
    assert embedded(5, EmbedSettings(layer="logits", components=2))[0].components == 2
    assert embedded(5, EmbedSettings(layer="logits", components=5))[0].components == 5


def test_a_part_of_the_images_is_asked_in_the_mix_of_all(monkeypatch):
    """The same space, all of whose images are asked here and a part there; balanced, it would have other figures."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [540, 60])
    logits = rng.standard_normal((600, 3)) + 1.2 * labels[:, None]
    monkeypatch.setattr(space, "affordable_queries", lambda n, d: n if d == 2 else 150)
    rows = np.arange(600)
    model = SimpleNamespace(trained=None, class_names=("many", "few"))
    features = SimpleNamespace(
        run=SimpleNamespace(folder=Path("run"), model=model, model_config=SimpleNamespace(skip_mode="none")),
        job=SimpleNamespace(
            settings=EmbedSettings(layer="logits", components=2), accelerator=SimpleNamespace(is_main_process=True)
        ),
        rows=lambda *_: (logits, logits),
    )
    points = SimpleNamespace(samples=SimpleNamespace(source_split="test"), positions=rows, labels=labels)
    figures = embed_run(features, points, SimpleNamespace(source_split="test", positions=rows, words="these"))[
        0
    ].figures
    asked = {name: found.num_queries for name, found in figures.items()}
    assert asked == {"embedding": 600, "full": 150}
    assert figures["full"].knn_top1 == pytest.approx(figures["embedding"].knn_top1, abs=0.05)
    # As balanced as they allow, the part would have 60 of either class, and half of the votes would be of the few.
    balanced = separation(logits, labels, 2, limit_positions(labels, 150))
    assert abs(balanced.knn_top1 - figures["embedding"].knn_top1) > 0.1
