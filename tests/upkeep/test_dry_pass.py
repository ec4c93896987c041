"""What an embedding is told to extract is what it then extracts."""

import contextlib
import dataclasses
import io
import json
import shutil

import pytest
from made_runs import make_images
from tiny_run import ARGUMENTS, LEARNT, TEST_IMAGES, TRAIN_IMAGES, copy_whole, shrink, train_in

import embed
from alexnet_skip.features import cache
from alexnet_skip.features.cache import compute_features
from alexnet_skip.runs.opened import open_run
from alexnet_skip.upkeep import dry_pass


@pytest.fixture
def place(whole_run, tmp_path, monkeypatch):
    """A folder with a finished run that has lost its cache."""
    shrink(monkeypatch.setattr)
    copy_whole(whole_run, tmp_path)
    shutil.rmtree(tmp_path / "cache")
    return tmp_path


def told(place, *arguments):
    with contextlib.redirect_stdout(io.StringIO()) as output:
        assert embed.main(["--dry-run", "--quiet", "--runs-dir", str(place / "runs"), *arguments]) == 0
    return json.loads(output.getvalue())


def test_the_images_that_axes_are_fitted_on_are_extracted_too(place, monkeypatch):
    extracted = []

    def count(backbone, images, names):
        extracted.append(len(images))
        return compute_features(backbone, images, names)

    facts = told(place)
    assert not (place / "cache").exists()
    monkeypatch.setattr(cache, "compute_features", count)
    monkeypatch.setattr("alexnet_skip.embedding.output.write_all", lambda *_: {})
    with contextlib.redirect_stdout(io.StringIO()):
        assert embed.main(["--quiet", "--runs-dir", str(place / "runs")]) == 0
    assert facts["images_to_extract"] == sum(extracted) == TEST_IMAGES + TRAIN_IMAGES
    monkeypatch.setattr(cache, "compute_features", compute_features)
    assert told(place)["images_to_extract"] == 0


def test_nothing_is_written_of_images_that_were_moved_and_what_embedding_would_refuse_is_refused(
    tmp_path, monkeypatch, capsys
):
    shrink(monkeypatch.setattr)
    images = make_images(tmp_path / "images", 0, (("train", 9), ("val", 3)))
    asked = [*ARGUMENTS, "--epochs", "1", "--snapshot-epochs", "1", "--dataset", str(images)]
    assert train_in(tmp_path, *asked, "--quiet") == 0
    moved = images.rename(tmp_path / "moved")
    shutil.rmtree(tmp_path / "cache")
    assert told(tmp_path, "--dataset", str(moved), "--split", "val", "--verify-images")["num_samples"] == 6
    assert not (tmp_path / "cache").exists()
    shutil.rmtree(moved / "val")
    make_images(moved, 1, (("val", 3),))
    capsys.readouterr()
    flags = ["--dataset", str(moved), "--split", "val", "--quiet", "--runs-dir", str(tmp_path / "runs")]
    for script in (["--dry-run"], []):
        assert embed.main([*script, *flags]) == 2
        assert "the val images of moved have changed" in " ".join(capsys.readouterr().err.split())


def test_a_split_that_is_part_of_the_training_images_has_their_features(place):
    assert told(place, "--split", "val")["images_to_extract"] == TRAIN_IMAGES


def test_of_trained_convolutions_the_images_that_are_read_are_extracted_and_no_others(place, monkeypatch):
    def tuned(*arguments):
        run = open_run(*arguments)
        return dataclasses.replace(run, model_config=dataclasses.replace(run.model_config, finetuned_layers=(10,)))

    monkeypatch.setattr(dry_pass, "open_run", tuned)
    assert told(place)["images_to_extract"] == TEST_IMAGES + LEARNT
    assert told(place, "--split", "train")["images_to_extract"] == LEARNT
    assert told(place, "--max-points", "9")["images_to_extract"] == 9 + LEARNT
    assert told(place, "--fit", "split")["images_to_extract"] == TEST_IMAGES
