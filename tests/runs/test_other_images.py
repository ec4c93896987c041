"""What is kept of an evaluation is named by all that decides it: nothing of other images or models passes as own."""

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from made_runs import make_images
from PIL import Image
from tiny_run import ARGUMENTS as TINY
from tiny_run import VAL_FRACTION, shrink

import embed
import evaluate
import train
from alexnet_skip.embedding import output
from alexnet_skip.embedding import space as embedding
from alexnet_skip.images.dataset import load_dataset
from alexnet_skip.images.folder_record import FOLDER
from alexnet_skip.network.model import AlexNetWithSkip
from alexnet_skip.runs.predictions import read_predictions, write_predictions
from alexnet_skip.statistics.metrics import softmax
from alexnet_skip.study import run as study
from alexnet_skip.system.files import read_json, write_sealed_json

# Of two classes more is learnt in fewer steps.
ARGUMENTS = (*TINY, "--lr", "0.01")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    shrink(monkeypatch.setattr)
    monkeypatch.setattr(output, "write_pictures", lambda *_: None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with the images ``two``, a cache, and the evaluated run ``mine``."""
    folder = tmp_path_factory.mktemp("other")
    make_images(folder / "two", 0)
    places = ["--cache-dir", str(folder / "cache"), "--runs-dir", str(folder / "runs"), "--quiet"]
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch.setattr)
        assert train.main([*ARGUMENTS, "--dataset", str(folder / "two"), "--name", "mine", *places]) == 0
        assert evaluate.main(["--runs-dir", str(folder / "runs"), "--quiet"]) == 0
    return folder


@pytest.fixture
def runs(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained / "runs", tmp_path / "runs"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def evaluated(runs: Path, capsys, *arguments: str) -> Path:
    assert evaluate.main([*arguments, "--runs-dir", str(runs), "--quiet"]) == 0
    return Path(json.loads(capsys.readouterr().out)["evaluation"])


def refusal(capsys, *arguments: str) -> str:
    assert evaluate.main(list(arguments)) == 2
    return " ".join(capsys.readouterr().err.split())


def card_rows(runs: Path) -> list[str]:
    lines = (runs / "mine" / "model" / "README.md").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith("| ") and " test" in line]


@pytest.mark.parametrize("tta", [(), ("--tta",)])
def test_an_evaluation_on_other_images_leaves_the_runs_own_as_it_was(runs, tmp_path, capsys, tta):
    own = contents(evaluated(runs, capsys, *tta))
    rows = card_rows(runs)
    # Of the same name, too: the digest tells them apart.
    others = [make_images(tmp_path / "other2", 1), make_images(tmp_path / "elsewhere" / "two", 2)]
    places = [evaluated(runs, capsys, "--dataset", str(other), *tta) for other in others]
    for place, other in zip(places, others, strict=True):
        digest = load_dataset(str(other)).splits["test"].digest
        assert place.name == f"test-best{'-tta' if tta else ''}-on-{other.name}-{digest[:8]}"
        assert read_predictions(place).digest == read_json(place / "metrics.json")["images_sha256"] == digest
    assert contents(evaluated(runs, capsys, *tta)) == own
    now = card_rows(runs)
    assert len(now) == len(rows) + 2
    assert [row for row in now if "two test" in row] == rows
    assert sum("| other2-" in row for row in now) == sum("| two-" in row for row in now) == 1


def test_the_runs_own_images_at_another_place_are_its_own(trained, runs, tmp_path, capsys):
    own = contents(runs / "mine" / "evaluation" / "test-best")
    moved = Path(shutil.copytree(trained / "two", tmp_path / "moved"))
    where = evaluated(runs, capsys, "--dataset", str(moved))
    assert where == runs / "mine" / "evaluation" / "test-best"
    assert contents(where)["predictions.npz"] == own["predictions.npz"]


@pytest.fixture
def quietly_changed(trained, request) -> Iterator[None]:
    """An image of a split with another content, but the size and the time of before; put back in the end."""
    image, records = trained / "two" / request.param / "cat" / "00.png", (trained / "cache" / FOLDER).iterdir()
    before, times = {path: path.read_bytes() for path in (image, *records)}, (image.stat().st_mtime_ns,) * 2
    Image.new("RGB", (32, 32)).save(image)
    image.write_bytes(image.read_bytes().ljust(len(before[image]), b"\0"))
    os.utime(image, ns=times)
    yield
    for path, content in before.items():
        path.write_bytes(content)
    os.utime(image, ns=times)


@pytest.mark.parametrize(
    ("script", "quietly_changed", "written"),
    [
        (train, "train", "run/config.json"), (evaluate, "test", "evaluation/metrics.json"),
        (embed, "test", "embedding/metrics.json"),
    ],
    indirect=["quietly_changed"],
)  # fmt: skip
def test_images_are_read_again_where_that_is_asked_for(trained, runs, capsys, quietly_changed, script, written):
    asked = ["--runs-dir", str(runs), "--quiet"]
    if script is train:
        asked += [*ARGUMENTS, "--dataset", str(trained / "two"), "--cache-dir", str(trained / "cache")]
    digests = []
    for flags in ([], ["--verify-images"]):
        assert script.main([*asked, *flags]) == 0
        place, _, file = written.partition("/")
        found = read_json(Path(json.loads(capsys.readouterr().out)[place]) / file)
        digests.append(found["dataset"]["digest"] if script is train else found["images_sha256"])
    known = load_dataset(str(trained / "two")).splits["train" if script is train else "test"].digest
    assert digests[0] != digests[1] == known


@pytest.mark.parametrize("quietly_changed", ["train"], indirect=True)
def test_training_images_that_have_changed_are_no_longer_the_runs_own(trained, runs, capsys, quietly_changed):
    asked = ["--dry-run", "--dataset", str(trained / "two"), "--runs-dir", str(runs), "--quiet"]
    assert embed.main(asked) == 0
    capsys.readouterr()
    assert embed.main([*asked, "--verify-images"]) == 2
    assert "does not hold the images that mine was trained on" in " ".join(capsys.readouterr().err.split())
    for script, *flags in ((embed,), (evaluate, "--split", "val")):
        assert script.main(["--dry-run", *asked[-3:], *flags]) == 0
        capsys.readouterr()
        assert script.main(["--dry-run", "--verify-images", *asked[-3:], *flags]) == 2
        assert "images of two have changed since mine was trained" in " ".join(capsys.readouterr().err.split())


def test_the_same_training_images_with_another_test_split_are_not_the_runs_own(trained, runs, tmp_path, capsys):
    shutil.copytree(trained / "two" / "train", tmp_path / "two" / "train")
    make_images(tmp_path / "two", 3, (("test", 5),))
    own = contents(runs / "mine" / "evaluation" / "test-best")
    assert evaluated(runs, capsys, "--dataset", str(tmp_path / "two")).name.startswith("test-best-on-two-")
    assert contents(runs / "mine" / "evaluation" / "test-best") == own
    # What is held out of the training images is the run's own val, wherever it lies.
    assert evaluated(runs, capsys, "--dataset", str(tmp_path / "two"), "--split", "val").name == "val-best"


def test_a_long_name_of_a_dataset_fits_into_a_folders_name(runs, tmp_path, capsys):
    place = evaluated(runs, capsys, "--dataset", str(make_images(tmp_path / ("가" * 60), 4)))
    assert len(place.name.encode()) < 255
    assert place.name.startswith("test-best-on-가가")


def test_test_images_that_have_changed_since_they_were_evaluated_are_told(trained, tmp_path, capsys):
    shutil.copytree(trained / "two", tmp_path / "two")
    places = ["--cache-dir", str(tmp_path / "cache"), "--runs-dir", str(tmp_path / "runs")]
    assert train.main([*ARGUMENTS, "--dataset", str(tmp_path / "two"), "--name", "mine", *places, "--quiet"]) == 0
    for _ in range(2):
        assert evaluate.main(["--runs-dir", str(tmp_path / "runs")]) == 0
        assert "have changed since" not in capsys.readouterr().err
    shutil.rmtree(tmp_path / "two" / "test")
    make_images(tmp_path / "two", 5, (("test", 5),))
    assert evaluate.main(["--runs-dir", str(tmp_path / "runs"), "--checkpoint", "last"]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "have changed since" in line]
    assert "test" in line
    assert "test-best" in line


def of_model(where: Path, model: str) -> None:
    """Make an evaluation's predictions those of another model, or of a version that did not say whose they are."""
    figures = (where / "metrics.json").read_bytes()
    write_predictions(where, dataclasses.replace(read_predictions(where), model=model))
    (where / "metrics.json").write_bytes(figures)


def test_predictions_say_which_model_they_are_of(runs):
    sha256 = read_json(runs / "mine" / "model" / "config.json")["model_sha256"]
    where = runs / "mine" / "evaluation" / "test-best"
    assert read_predictions(where).model == read_json(where / "metrics.json")["model_sha256"] == sha256


@pytest.fixture
def pair(runs) -> list[str]:
    """Two runs that can be compared."""
    shutil.copytree(runs / "mine", runs / "other")
    return ["--runs-dir", str(runs), "--quiet"]


def test_predictions_of_another_model_are_neither_compared_nor_drawn_again(runs, pair, capsys):
    assert evaluate.main(["--compare", "mine", "other", *pair]) == 0
    capsys.readouterr()
    of_model(runs / "other" / "evaluation" / "test-best", "0" * 64)
    for asked in (["--compare", "mine", "other"], ["--redraw", "--run", "other"]):
        message = refusal(capsys, *asked, *pair)
        assert "another model's than it has now" in message
        assert f"python evaluate.py --run {runs / 'other'} --split test --checkpoint best" in message
    assert evaluate.main(["--redraw", "--run", "mine", *pair]) == 0


def test_predictions_from_before_they_said_whose_they_are_are_compared_unless_their_epoch_contradicts(
    runs, pair, capsys
):
    where = runs / "other" / "evaluation" / "test-best"
    of_model(where, "")
    assert evaluate.main(["--compare", "mine", "other", *pair]) == 0
    assert evaluate.main(["--redraw", "--run", "other", *pair]) == 0
    write_sealed_json(where / "metrics.json", read_json(where / "metrics.json") | {"epoch": 99})
    assert "another model's" in refusal(capsys, "--compare", "mine", "other", *pair)


@pytest.mark.parametrize("model", ["", "0" * 64])
def test_what_is_not_surely_of_this_model_is_predicted_anew(trained, runs, capsys, monkeypatch, model):
    calls, predict = [], embedding.predict
    monkeypatch.setattr(embedding, "predict", lambda *a, **k: calls.append(1) or predict(*a, **k))
    asked = ["--run", "mine", "--runs-dir", str(runs), "--quiet", "--components", "2", "--skip-view", "main"]
    assert embed.main(asked) == 0
    assert not calls, "what evaluate.py has left is taken"
    of_model(runs / "mine" / "evaluation" / "test-best", model)
    assert embed.main(asked) == 0
    assert calls
    # A study takes an evaluation for done only where it is of this model and these images.
    test = load_dataset(str(trained / "two")).splits["test"]
    samples = study.Selection("test", "test", test, np.arange(len(test.labels)))
    assert not study._is_evaluated(runs / "mine", "best", samples)
    of_model(runs / "mine" / "evaluation" / "test-best", read_json(runs / "mine/model/config.json")["model_sha256"])
    assert study._is_evaluated(runs / "mine", "best", samples)
    other = dataclasses.replace(samples, split=dataclasses.replace(test, digest="0" * 64))
    assert not study._is_evaluated(runs / "mine", "best", other)


def test_a_card_has_no_row_of_another_model(runs, capsys):
    where = runs / "mine" / "evaluation" / "test-last"
    shutil.copytree(runs / "mine" / "evaluation" / "test-best", where)
    write_sealed_json(where / "metrics.json", read_json(where / "metrics.json") | {"model_sha256": "0" * 64})
    evaluated(runs, capsys)
    assert len(card_rows(runs)) == 1


def test_images_that_were_moved_are_accepted_wherever_they_can_be_named_and_others_are_not(tmp_path, capsys):
    moved = make_images(tmp_path / "before", 0)
    places = ["--runs-dir", str(tmp_path / "runs"), "--quiet"]
    asked = ["--dataset", str(moved), "--limit-train", "20", "--limit-test", "6", "--name", "mine", *places]
    assert train.main([*ARGUMENTS, *asked, "--cache-dir", str(tmp_path / "cache")]) == 0
    moved = moved.rename(tmp_path / "after")
    assert evaluate.main(["--dataset", str(moved), "--fit-temperature", *places]) == 0
    assert read_json(tmp_path / "runs" / "mine" / "model" / "config.json")["temperature"] > 0
    where = tmp_path / "runs" / "mine" / "evaluation"
    assert [path.name for path in where.iterdir()] == ["test-best"]
    assert len(read_predictions(where / "test-best").labels) == 6
    embedded = ["--components", "2", "--thumbnails", "0", *places]
    for flags in ([], ["--dry-run"]):
        some = places if flags else embedded
        assert embed.main(["--dataset", str(moved), *some, *flags]) == 0
        capsys.readouterr()
        other = make_images(tmp_path / f"other{len(flags)}", 7)
        assert embed.main(["--dataset", str(other), *some, *flags]) == 2
        assert "does not hold the images that mine was trained on" in " ".join(capsys.readouterr().err.split())


def test_what_was_evaluated_on_other_images_is_drawn_again_where_they_are_named(runs, tmp_path, capsys):
    other = make_images(tmp_path / "other2", 1)
    where = evaluated(runs, capsys, "--dataset", str(other))
    asked = ["--redraw", "--runs-dir", str(runs), "--quiet"]
    for name, flags in ((where.name, ["--dataset", str(other)]), ("test-best", [])):
        place = runs / "mine" / "evaluation" / name
        before = read_json(place / "metrics.json")
        (place / "metrics.json").unlink()
        assert evaluate.main([*asked, *flags]) == 0
        assert Path(json.loads(capsys.readouterr().out)["evaluation"]) == place
        assert read_json(place / "metrics.json") == before
    never = make_images(tmp_path / "never", 2)
    message = refusal(capsys, *asked, "--dataset", str(never))
    assert "has no predictions of best on test; make them first" in message
    assert f"--split test --checkpoint best --dataset {never}" in message
    assert f"--checkpoint best --dataset {never}" in message


def test_a_run_goes_on_and_is_compared_where_its_images_are_now_and_on_others_it_is_not(tmp_path, capsys):
    moved = make_images(tmp_path / "before", 0)
    places = ["--runs-dir", str(tmp_path / "runs"), "--quiet"]
    limits = ["--limit-train", "20", "--limit-test", "6"]
    kept = ["--checkpoint-epochs", "1", "--epochs", "2", "--cache-dir", str(tmp_path / "cache")]
    for name in ("mine", "other"):
        asked = [*ARGUMENTS, *kept, *limits, "--dataset", str(moved), "--name", name, *places]
        assert train.main(asked) == 0
        assert evaluate.main(["--run", name, *places]) == 0
    moved = moved.rename(tmp_path / "after")
    others = make_images(tmp_path / "others", 7)
    capsys.readouterr()

    further = ["--resume", "mine", "--epochs", "3", *places]
    config = (tmp_path / "runs" / "mine" / "config.json").read_bytes()
    for dry in ([], ["--dry-run"]):
        assert train.main([*further, *dry, "--dataset", str(others)]) == 2
        message = " ".join(capsys.readouterr().err.split())
        assert "the training images have changed since it was started" in message
        assert f"in {others})" in message
    assert (tmp_path / "runs" / "mine" / "config.json").read_bytes() == config
    assert train.main([*further, "--dataset", str(moved)]) == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 3
    # From now on it finds its images by itself.
    assert evaluate.main(["--run", "mine", *places]) == 0
    assert evaluate.main(["--run", "other", "--dataset", str(moved), *places]) == 0

    compared = ["--compare", "other", "mine", *places]
    assert evaluate.main([*compared, "--dataset", str(moved)]) == 0
    drawn = tmp_path / "runs" / "other" / "comparison" / "test-best"
    assert list(drawn.glob("*-only-*.png")), "the images were found"
    assert "does not hold the images that were evaluated" in refusal(capsys, *compared, "--dataset", str(others))

    capsys.readouterr()
    assert evaluate.main(["--run", "other", "--dry-run", "--dataset", str(moved), *places]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["num_samples"] == 6, "with the limits of the run, as the evaluation takes them"
    assert facts["images_to_extract"] == 0
    assert evaluate.main(["--run", "other", "--dry-run", "--dataset", str(others), *places]) == 0
    assert json.loads(capsys.readouterr().out)["num_samples"] == 10


def test_moved_images_of_a_run_that_left_out_unreadable_files_are_its_own(trained, runs, tmp_path, capsys):
    moved = shutil.copytree(trained / "two", tmp_path / "moved")
    (moved / "train" / "cat" / "broken.png").write_bytes(b"no image")
    asked = ["--dataset", str(moved), "--runs-dir", str(runs), "--quiet"]
    assert "or train with --skip-unreadable" in refusal(capsys, *asked)
    config = read_json(runs / "mine" / "config.json")
    config["settings"]["data"]["skip_unreadable"] = True
    write_sealed_json(runs / "mine" / "config.json", config)
    assert evaluate.main([*asked, "--dry-run"]) == 0
    capsys.readouterr()
    assert evaluated(runs, capsys, "--dataset", str(moved), "--split", "val").name == "val-best"


def of_size(folder: Path, width: int, height: int, splits: tuple[tuple[str, int], ...]) -> Path:
    """The images of :func:`make_images`, sharp, in another size."""
    make_images(folder, 8, splits)
    for path in (path for split, _ in splits for path in (folder / split).rglob("*.png")):
        noise = np.random.default_rng(len(path.name)).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.blend(Image.open(path).resize((width, height)), Image.fromarray(noise), 0.5).save(path)
    return folder


def test_a_folder_of_photographs_is_judged_as_the_shipped_model_sees_them(runs, tmp_path, capsys):
    """Which has learnt from images of 32×32 pixels, and squeezes others to that."""
    photos = of_size(tmp_path / "photos", 100, 80, (("train", 2), ("test", 4)))
    where = evaluated(runs, capsys, "--dataset", str(photos))
    found = read_predictions(where)
    network = AlexNetWithSkip.from_pretrained(runs / "mine")
    shipped = [one.probabilities for one in network.predict([photos / file for file in found.files])]
    np.testing.assert_allclose(softmax(found.logits / network.temperature), np.stack(shipped), atol=2e-3)
    # What an evaluation finds is what its dry run reads and what is drawn again.
    assert evaluated(runs, capsys, "--redraw", "--dataset", str(photos)) == where


def test_images_of_another_size_that_join_a_folder_leave_those_of_the_run_as_they_were(tmp_path, capsys):
    images, places = (
        make_images(tmp_path / "two", 0, (("train", 10),)),
        ["--runs-dir", str(tmp_path / "runs"), "--quiet"],
    )
    kept = ["--checkpoint-epochs", "1", "--epochs", "1", "--snapshot-epochs", "1", "--name", "mine"]
    asked = [*ARGUMENTS, *kept, "--dataset", str(images), "--cache-dir", str(tmp_path / "cache")]
    assert train.main([*asked, *places]) == 0
    of_size(images, 100, 80, (("test", 4),))
    capsys.readouterr()
    assert evaluated(tmp_path / "runs", capsys, "--split", "val").name == "val-best"
    assert evaluated(tmp_path / "runs", capsys, "--split", "train", "--dataset", str(images)).name == "train-best"
    for dry in (["--dry-run"], []):
        assert train.main(["--resume", "mine", *places, "--epochs", "2", *dry]) == 0


def test_of_other_images_none_was_held_out_and_their_train_is_all_of_them(runs, tmp_path, capsys):
    for name, count in (("many", 20), ("few", 1)):
        other = str(make_images(tmp_path / name, 1, (("train", count), ("test", 1))))
        assert (
            len(read_predictions(evaluated(runs, capsys, "--split", "train", "--dataset", other)).labels) == 2 * count
        )


def test_other_classes_are_refused_and_of_many_those_are_named_that_make_the_difference(runs, tmp_path, capsys):
    other = make_images(tmp_path / "other", 1)
    for split in ("train", "test"):
        for number in range(20):
            shutil.copytree(other / split / "cat", other / split / f"a{number:02}")
    for flags in ([], ["--dry-run"]):
        message = refusal(capsys, "--dataset", str(other), "--runs-dir", str(runs), *flags)
        assert f"--dataset {other} has the classes a00, a01, a02, a03, a04, 17 more, but mine was trained on" in message
        assert "the classes cat, dog; give a folder with the same classes" in message


def test_of_other_images_it_is_not_said_that_they_chose_an_epoch_or_a_temperature(runs, tmp_path, capsys):
    other, model = make_images(tmp_path / "other", 1), runs / "mine" / "model" / "config.json"
    shutil.rmtree(other / "test")
    write_sealed_json(model, read_json(model) | {"temperature": 0.5, "temperature_images": 6})
    assert evaluate.main(["--runs-dir", str(runs), "--split", "val"]) == 0
    assert "fitted on these very images" in " ".join(capsys.readouterr().err.split())
    for arguments, taken in (((), f"{100 * VAL_FRACTION:.0f} % of train"), (("--split", "val"), None)):
        assert evaluate.main(["--runs-dir", str(runs), "--dataset", str(other), *arguments]) == 0
        told = " ".join(capsys.readouterr().err.split())
        assert taken is None or f"other has no test split: taking {taken} " in told
        for false in ("which chose the best epoch", "fitted on these very images"):
            assert false not in told


def test_a_model_is_not_tuned_where_its_best_epoch_was_chosen_on_other_images(tmp_path, capsys):
    """Those in the folder's own val/, which it would be held against."""
    images = make_images(tmp_path / "two", 0, (("train", 15), ("val", 5)))
    places = ["--cache-dir", str(tmp_path / "cache"), "--runs-dir", str(tmp_path / "runs"), "--quiet"]
    assert train.main([*ARGUMENTS, "--dataset", str(images), "--name", "mine", *places]) == 0
    shutil.rmtree(images / "val")
    make_images(tmp_path / "two", 1, (("val", 5),))
    capsys.readouterr()
    assert train.main(["--finetune-from", str(tmp_path / "runs" / "mine"), "--finetune", "1", *places]) == 2
    assert "the images in val/, on which its best epoch was chosen, have changed" in capsys.readouterr().err


def test_other_images_need_not_have_room_for_the_limits_of_a_run_that_learnt_from_some(runs, tmp_path, capsys):
    config = read_json(runs / "mine" / "config.json")
    config["settings"]["data"]["train_on"] = 20
    write_sealed_json(runs / "mine" / "config.json", config)
    few = make_images(tmp_path / "few", 1, (("train", 1), ("test", 5)))  # of which none can be held out
    asked = ["--dataset", str(few), "--runs-dir", str(runs), "--quiet"]
    assert evaluate.main([*asked, "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["num_samples"] == 10
    assert len(read_predictions(evaluated(runs, capsys, "--dataset", str(few))).labels) == 10


def test_the_command_that_makes_another_models_predictions_again_makes_those_very_ones(runs, tmp_path, capsys):
    other = make_images(tmp_path / "other", 1)
    for flags in (["--tta"], ["--dataset", str(other)], ["--dataset", str(other), "--tta"]):
        where = evaluated(runs, capsys, *flags)
        of_model(where, "0" * 64)
        asked = ["--redraw", "--runs-dir", str(runs), "--quiet", *flags]
        assert evaluate.main(asked) == 2
        *_, command = capsys.readouterr().err.splitlines()
        assert evaluated(runs, capsys, *command.split()[2:]) == where
        assert evaluate.main(asked) == 0
        capsys.readouterr()
