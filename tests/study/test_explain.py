"""Where models look is drawn of the images that tell most, from what they said of them and the models themselves."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tiny_run import copy_whole, shrink

import evaluate
from alexnet_skip.network.model import load_published
from alexnet_skip.runs.predictions import read_predictions
from alexnet_skip.statistics.metrics import softmax
from alexnet_skip.study import explain
from alexnet_skip.system.console import per_cent
from alexnet_skip.system.files import read_json


@pytest.fixture(scope="module")
def pair(whole_run, tmp_path_factory) -> Path:
    """Folder of runs with ``a``, and ``b``, whose best model is another epoch's; both evaluated on test."""
    folder = copy_whole(whole_run, tmp_path_factory.mktemp("explained"), checkpoints=False)
    runs = folder / "runs"
    copy_whole(whole_run, folder / "other", checkpoints=False)
    (folder / "other" / "runs" / "run").rename(runs / "b")
    (runs / "run").rename(runs / "a")
    (runs / "b" / "model").rename(runs / "b" / "before")
    (runs / "b" / "snapshots" / "epoch-0002").rename(runs / "b" / "model")
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch.setattr)
        for name in ("a", "b"):
            assert evaluate.main(["--runs-dir", str(runs), "--run", name, "--quiet"]) == 0
    return runs


@pytest.fixture(autouse=True)
def small(monkeypatch):
    shrink(monkeypatch.setattr)


def explained(capsys, runs: Path, *arguments: str):
    code = evaluate.main(["--explain", "6", "--runs-dir", str(runs), *arguments])
    captured = capsys.readouterr()
    return code, json.loads(captured.out.splitlines()[-1]) if code == 0 else None, " ".join(captured.err.split())


def test_of_two_runs_images_are_drawn_that_one_alone_gets_right_the_clearest_of_each(pair, capsys):
    code, result, said = explained(capsys, pair, "--compare", "a", "b")
    assert code == 0
    a, b = (read_predictions(pair / name / "evaluation" / "test-best") for name in ("a", "b"))
    only_a, only_b = (np.flatnonzero(one.correct & ~other.correct) for one, other in ((a, b), (b, a)))
    assert len(only_a) + len(only_b) > 0, "or nothing would be shown"
    assert result["counts"] == {"right only b": len(only_b), "right only a": len(only_a)}
    assert result["images"] == min(3, len(only_a)) + min(3, len(only_b))
    assert f"right only a {len(only_a)}" in said
    path = Path(result["picture"])
    assert path.name == "b-against-a-where-they-look.png"
    with Image.open(path) as image:
        assert min(image.size) > 250
    told = read_json(path.with_suffix(".json"))
    for image in told["images"]:
        row = int(np.flatnonzero(a.index == image["index"])[0])
        assert [model["right"] for model in image["models"]] == [bool(a.correct[row]), bool(b.correct[row])]
        for model, name, one in zip(image["models"], ("a", "b"), (a, b), strict=True):
            _, config = load_published(pair / name / "model")
            chance = softmax(one.logits[[row]] / config.temperature).max()
            assert model["says"] == f"{config.class_names[one.predicted[row]]} {per_cent(chance, 0)} %"
        for model in image["models"]:
            for heat in model["maps"].values():
                assert np.shape(heat) == (13, 13)
                assert np.max(heat) in (0, 1)


def test_of_one_run_its_surest_mistakes_and_hits_are_drawn(pair, capsys):
    code, result, _ = explained(capsys, pair, "--run", "a")
    assert code == 0
    found = read_predictions(pair / "a" / "evaluation" / "test-best")
    assert result["counts"] == {"mistakes": int((~found.correct).sum()), "hits": int(found.correct.sum())}
    assert Path(result["picture"]) == pair / "a" / "evaluation" / "test-best" / "where-they-look.png"
    shown = read_json(Path(result["picture"]).with_suffix(".json"))["images"]
    rights = [image["models"][0]["right"] for image in shown]
    assert rights == sorted(rights)
    assert 0 < rights.count(True) < len(rights)


def test_what_it_can_not_be_is_refused_and_where_runs_agree_nothing_is_drawn(pair, capsys):
    for arguments, message in (
        (("--compare", "a"), "with --explain name two runs, or a study"),
        (("--compare", "a", "b", "--run", "a"), "--run is a, but must be left out with --explain --compare"),
        (("--run", "a", "--split", "val"), "has no predictions of best on val; make them first"),
        (("--run", "a", "--checkpoint", "last"), "has no predictions of last on test; make them first"),
        (("--run", "a", "--dataset", "nowhere"), "--dataset is nowhere"),
        (("--run", "a", "--topk", "2"), "--topk is 2, which has no effect with --explain"),
    ):
        code, _, said = explained(capsys, pair, *arguments)
        assert code == 2
        assert message in said
    code, result, said = explained(capsys, pair, "--compare", "a", "a")
    assert (code, result["picture"], result["images"]) == (0, None, 0)
    assert "There is no such image" in said
    assert evaluate.main(["--explain", "41", "--runs-dir", str(pair)]) == 2


def test_of_a_study_the_forms_first_seeds_are_looked_at_at_the_high_epoch(monkeypatch, tmp_path):
    sides = {name: object() for name in ("none", "identity", "conv", "concat")}
    config = type("Config", (), {"settings": type("S", (), {"run": type("R", (), {"snapshot_epochs": (3, 15)})})})
    made = [type("Side", (), {"variant": name, "config": config})() for name in sides]
    monkeypatch.setattr(explain, "find_study", lambda *_: tmp_path)
    monkeypatch.setattr(explain, "sides_of_study", lambda _: made)
    monkeypatch.setattr(
        explain, "left_out", lambda study, sides: {"conv-seed7": "not finished"} if sides == made else 1
    )
    told = []
    console = SimpleNamespace(line=lambda text, **_: told.append(text))
    settings = evaluate.parse_evaluate(["--explain", "4", "--compare", "study"])
    study, chosen, checkpoint_name = explain._chosen(settings, console)
    assert told == ["Left out, 1 of the study's runs: conv-seed7 (not finished)."]
    assert (study, [side.variant for side in chosen], checkpoint_name) == (tmp_path, ["none", "conv"], "epoch-15")
    made.pop(2)
    assert [side.variant for side in explain._chosen(settings, console)[1]] == ["none", "concat"]
