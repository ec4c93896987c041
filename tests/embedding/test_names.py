"""An embedding's folder, and its name in the projector, say all that decides what is in it."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from tiny_run import copy_whole, shrink

import embed
from alexnet_skip.embedding import output
from alexnet_skip.embedding.names import folder_name
from alexnet_skip.embedding.samples import Points
from alexnet_skip.images.dataset import Dataset, Split
from alexnet_skip.images.splits import Selection
from alexnet_skip.settings.embed import EmbedSettings
from alexnet_skip.system.files import read_json

# A value of each setting that is not its default.
OTHER: dict[str, Any] = {
    "split": "val", "layer": "hidden2", "skip_view": "tap", "components": 2, "projector_components": 5,
    "max_points": 9, "fit": "split", "thumbnails": 16, "checkpoint": "epoch-3",
}  # fmt: skip
# What decides nothing that is written into the folder, but for --compare, whose files have the other run's name.
ELSEWHERE = {"run", "compare", "runs_dir", "dry_run", "quiet", "json", "dataset", "verify_images"}


def name_of(settings: EmbedSettings) -> str:
    split = Split(np.zeros((40, 1, 1, 3), np.uint8), np.arange(40) % 2, np.arange(40), "d")
    samples = Selection(settings.split, settings.split, split, np.arange(40))
    positions = np.arange(min(40, settings.max_points or 40))
    return folder_name(Points(Dataset("few", "few", ("a", "b"), {settings.split: split}), samples, positions), settings)


def test_every_setting_that_decides_the_files_is_in_the_name():
    fields = {field.name for field in dataclasses.fields(EmbedSettings)}
    assert fields - ELSEWHERE == set(OTHER)
    names = [name_of(dataclasses.replace(EmbedSettings(), **{name: value})) for name, value in OTHER.items()]
    assert len({name_of(EmbedSettings()), *names}) == 1 + len(OTHER)
    both = dataclasses.replace(EmbedSettings(), components=2, fit="split", thumbnails=0, max_points=9)
    assert name_of(both) == "embedding/test-features-points-9-fit-split-components-2-thumbnails-0"
    spelt = (dataclasses.replace(EmbedSettings(), checkpoint=name) for name in ("epoch-3", "epoch-0003"))
    assert {name_of(settings) for settings in spelt} == {"embedding/test-features-checkpoint-epoch-3"}


def test_every_number_of_points_has_a_place_of_its_own():
    names = [name_of(EmbedSettings(max_points=count)) for count in (10, 20, 39)]
    assert names == [f"embedding/test-features-points-{count}" for count in (10, 20, 39)]


def test_a_limit_that_leaves_nothing_out_and_the_defaults_are_not_in_the_name():
    assert name_of(EmbedSettings()) == name_of(EmbedSettings(max_points=40)) == "embedding/test-features"


@pytest.fixture(autouse=True)
def small(monkeypatch):
    shrink(monkeypatch.setattr)
    monkeypatch.setattr(output, "write_pictures", lambda *_: None)
    # Which files there are is told by their names; what is drawn, by other tests.
    monkeypatch.setattr(output.embedding_plots, "comparison_figure", lambda *_: None)
    monkeypatch.setattr(output, "save_figure", lambda _, path: path.touch())


@pytest.fixture(scope="module")
def runs(whole_run, tmp_path_factory) -> Path:
    """A folder of runs with ``run``, its copy ``copy``, and the studies ``one`` and ``two`` with a copy each."""
    folder = copy_whole(whole_run, tmp_path_factory.mktemp("names"), checkpoints=False)
    for name in ("copy", "one/cell", "two/cell"):
        shutil.copytree(folder / "runs" / "run", folder / "runs" / name)
    return folder / "runs"


def test_fewer_points_another_fit_and_a_comparison_leave_an_embedding_as_it_was(runs, capsys):
    def embedded(*arguments: str) -> dict[str, Any]:
        assert embed.main([*arguments, "--run", "run", "--runs-dir", str(runs), "--quiet"]) == 0
        return json.loads(capsys.readouterr().out)

    whole = embedded("--thumbnails", "0")
    where = Path(whole["embedding"])
    before = {path: path.read_bytes() for path in where.rglob("*") if path.is_file()}
    others = [
        embedded("--thumbnails", "0", "--max-points", "9", "--compare", "copy"),
        embedded("--thumbnails", "0", "--max-points", "15"),
        embedded("--thumbnails", "0", "--fit", "split"),
        embedded("--thumbnails", "0", "--components", "2"),
    ]
    assert {path: path.read_bytes() for path in before} == before
    config = text_format.Parse((runs / "run" / "projector_config.pbtxt").read_text(), ProjectorConfig())
    listed = [entry.tensor_name for entry in config.embeddings]
    assert listed == [result["projector"] for result in (whole, *others)]
    assert len({name.partition(" (")[0] for name in listed}) == 5

    # Comparisons stand beside each other, those with runs of one name in two studies too.
    for other in ("copy", "one/cell", "two/cell"):
        embedded("--thumbnails", "0", "--compare", other)
    assert {path: path.read_bytes() for path in before} == before
    stems = {f"compare-{name}" for name in ("copy", "one-cell", "two-cell")}
    assert {path.stem for path in where.glob("compare-*.png")} == stems
    assert {path.stem for path in where.glob("compare-*.json")} == stems
    model = read_json(runs / "run" / "model" / "config.json")
    for path in (*where.glob("compare-*.json"), where / "metrics.json"):
        assert read_json(path)["model_sha256"] == model["model_sha256"]
