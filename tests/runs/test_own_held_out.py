"""The images that a run has held out are those that it was trained beside: no others pass for them."""

import json
import shutil
from pathlib import Path

import pytest
from made_runs import make_images
from tiny_run import ARGUMENTS, shrink

import embed
import evaluate
import train
from alexnet_skip.embedding import output
from alexnet_skip.evaluation import evaluate as evaluation
from alexnet_skip.system.files import read_json

SPLITS = (("train", 15), ("val", 6), ("test", 5))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    shrink(monkeypatch.setattr)
    monkeypatch.setattr(evaluation, "draw_evaluation", lambda *_: None)
    monkeypatch.setattr(output, "write_pictures", lambda *_: None)


@pytest.fixture
def place(tmp_path) -> Path:
    return tmp_path


def trained(place: Path, *arguments: str) -> list[str]:
    """Train the run ``mine`` on the folder ``images``; returns what names it."""
    places = ["--runs-dir", str(place / "runs"), "--quiet"]
    asked = [
        *ARGUMENTS,
        "--dataset",
        str(place / "images"),
        "--name",
        "mine",
        "--epochs",
        "1",
        "--snapshot-epochs",
        "1",
    ]
    assert train.main([*asked, *arguments, "--cache-dir", str(place / "cache"), *places]) == 0
    return places


def interrupted(*_):
    """As Ctrl-C does it; below a shell that starts it in the background, a real one would be ignored."""
    raise KeyboardInterrupt


def contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_val_beside_the_same_training_images_is_not_the_runs_own(place, capsys):
    make_images(place / "images", 0, SPLITS)
    places = trained(place)
    run, copy = place / "runs" / "mine", shutil.copytree(place / "images", place / "copy")
    shutil.rmtree(copy / "val")
    make_images(copy, 3, (("val", 9),))
    published = read_json(run / "model" / "config.json")
    capsys.readouterr()

    # A temperature is never fitted on them ...
    assert evaluate.main(["--dataset", str(copy), "--fit-temperature", *places]) == 2
    assert "the val images of copy have changed since mine was trained" in " ".join(capsys.readouterr().err.split())
    assert read_json(run / "model" / "config.json") == published
    # ... an evaluation on them has a name of its own, and nobody says that they have fitted it ...
    assert evaluate.main(["--dataset", str(copy), "--split", "val", *places[:2]]) == 0
    told = capsys.readouterr()
    assert Path(json.loads(told.out.splitlines()[-1])["evaluation"]).name.startswith("val-best-on-copy-")
    assert "fitted on these very images" not in told.err + told.out
    # ... and in the run's own place they are refused, evaluated before or not.
    shutil.rmtree(place / "images" / "val")
    shutil.copytree(copy / "val", place / "images" / "val")
    for command in (evaluate.main, embed.main):
        assert command(["--split", "val", *places]) == 2
        assert "the val images of images have changed" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("own", [True, False])
def test_a_val_that_came_or_went_is_noticed_wherever_it_decides_what_was_trained_on(place, capsys, own):
    """What is in one that came was not held out, and what is taken in the place of one that went was trained on."""
    make_images(place / "images", 0, SPLITS if own else SPLITS[::2])
    places = trained(place, "--checkpoint-epochs", "1")
    copy = shutil.copytree(place / "images", place / "copy")
    if own:
        shutil.rmtree(copy / "val")
    else:
        make_images(copy, 3, SPLITS[1:2])
    published = read_json(place / "runs" / "mine" / "model" / "config.json")
    told = "val/ is gone" if own else "val/ is new"
    moved = ["--dataset", str(copy), *places]
    commands = [(evaluate, "--fit-temperature"), *((evaluate, f"--split={split}") for split in ("val", "train"))]
    for script, flag in (*commands, (embed, "--split=train")):
        capsys.readouterr()
        assert script.main([flag, *moved]) == 2
        assert f"held out: {told} since it was trained" in " ".join(capsys.readouterr().err.split())
    assert train.main(["--resume", "mine", "--epochs", "2", *moved]) == 2
    assert f"({told} in {copy})" in " ".join(capsys.readouterr().err.split())
    assert read_json(place / "runs" / "mine" / "model" / "config.json") == published
    # The test images are what they were.
    assert evaluate.main(moved) == 0
    assert Path(json.loads(capsys.readouterr().out)["evaluation"]).name == "test-best"


def test_a_run_on_few_images_is_not_judged_on_those_it_has_seen_when_the_folder_has_grown(place, capsys):
    """Its val is cut out of all of train anew: of another folder it is other images, some of which were trained on."""
    make_images(place / "images", 0, (("train", 15),))
    places = trained(place, "--train-on", "14")
    make_images(place / "more", 5, (("train", 4),))
    for path in (place / "more" / "train" / "cat").iterdir():
        path.rename(place / "images" / "train" / "cat" / f"new-{path.name}")
    capsys.readouterr()
    for flags in (["--split", "val"], []):
        assert evaluate.main([*flags, *places]) == 2
        assert "the val images of images have changed" in " ".join(capsys.readouterr().err.split())


def test_an_embedding_of_other_images_leaves_that_of_the_runs_own_as_it_was(place, capsys, monkeypatch):
    make_images(place / "images", 0)
    places = trained(place)
    assert evaluate.main(places) == 0
    assert embed.main(places) == 0
    own = place / "runs" / "mine" / "embedding" / "test-features"
    before = contents(own)
    assert Path("metrics.json") in before
    copy = shutil.copytree(place / "images", place / "copy")
    shutil.rmtree(copy / "test")
    make_images(copy, 3, (("test", 7),))
    capsys.readouterr()
    assert embed.main(["--dataset", str(copy), *places]) == 0
    result = json.loads(capsys.readouterr().out)
    assert Path(result["embedding"]).name.startswith("test-features-on-copy-")
    assert result["num_samples"] == 14
    assert contents(own) == before
    # Made again but interrupted, it is not one any more: new pictures would stand beside old figures.
    with monkeypatch.context() as patch:
        patch.setattr(output, "write_pictures", interrupted)
        assert embed.main(places) == 130
    assert not (own / "metrics.json").exists()
    # Changed in place they are told.
    shutil.rmtree(place / "images" / "test")
    shutil.copytree(copy / "test", place / "images" / "test")
    assert embed.main(places[:2]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "The images of test are not those of test-best: they have changed since" in told


def test_an_embedding_alone_tells_of_which_images_the_runs_own_split_is(place, capsys):
    make_images(place / "images", 0)
    places = trained(place)
    assert embed.main(places) == 0
    own = place / "runs" / "mine" / "embedding" / "test-features"
    before = contents(own)
    copy = shutil.copytree(place / "images", place / "copy")
    shutil.rmtree(copy / "test")
    make_images(copy, 3, (("test", 7),))
    capsys.readouterr()
    assert embed.main(["--dataset", str(copy), *places]) == 0
    assert Path(json.loads(capsys.readouterr().out)["embedding"]).name.startswith("test-features-on-copy-")
    assert contents(own) == before
