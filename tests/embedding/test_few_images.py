"""What embed.py writes and shows where a vote of neighbours says little or nothing."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from alexnet_skip.embedding import output
from alexnet_skip.embedding.space import Embedding
from alexnet_skip.statistics.separation import separation
from alexnet_skip.system.console import Console


def embedding(labels):
    scores = np.random.default_rng(0).standard_normal((len(labels), 3)) + 9 * np.array(labels)[:, None]
    names = tuple("abcd")[: max(labels) + 1]
    run = SimpleNamespace(folder=Path("run"), model=SimpleNamespace(class_names=names))
    figures = separation(scores, np.array(labels), len(names), np.arange(len(labels)))
    pca = SimpleNamespace(n_features_in_=3)
    return Embedding(run, "features", "train", pca, scores, 3, {"embedding": figures, "full": figures})


ALL_ALONE = (
    "kNN and the silhouette are not stated: every image asked is the only one of its class; "
    "between/within is not stated: no class has two images that differ"
)


@pytest.mark.parametrize(
    ("labels", "knn", "remark"),
    [
        ([0] * 5 + [1] * 5, "100.0 %", ""),
        ([0] * 5 + [1] * 5 + [2], "100.0 %", "kNN does not count 1 image(s) that are the only one of their class"),
        ([0, 1, 2], "not stated", ALL_ALONE),
    ],
)
def test_table_and_note_tell_the_vote_or_why_not(labels, knn, remark, capsys):
    some = embedding(labels)
    output.show_embedding(Console(), some, "a title")
    shown = " ".join(capsys.readouterr().err.split())
    assert knn.replace(".0", ".00") in shown
    assert remark in shown
    assert ("only one of" in shown) == bool(remark)
    lines = output._note(some).splitlines()
    assert all(f"kNN {knn}, silhouette" in line for line in lines[:2])
    assert lines[2:] == ([remark] if remark else [])


def test_a_class_whose_images_were_not_asked_is_not_among_the_least_apart(capsys):
    of = embedding([0, 0, 1, 1, 2, 2, 3, 3])
    figures = separation(of.scores, np.repeat(np.arange(4), 2), 4, np.array([0, 2, 3]))
    output.show_embedding(Console(), dataclasses.replace(of, figures={"embedding": figures, "full": figures}), "these")
    told = " ".join(capsys.readouterr().err.split())
    table = told[told.index("Whose neighbours they have") :]
    assert [name for name in "abcd" if f" {name} 100.0" in table or f" {name} 0.0" in table] == ["a", "b"]
    assert "2 class(es) are not in this table: no image of theirs is among those asked" in told
