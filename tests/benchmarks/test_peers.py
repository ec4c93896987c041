"""Peers are measured alike: on the same images and weights, and until their model is there."""

import importlib.metadata
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from alexnet_skip.network.weights import load_weights
from benchmarks import peers
from benchmarks.peer_processes import measure_peer, python_with
from benchmarks.peer_scripts import answers, cv_example, logistic_regression
from benchmarks.peers import prepare
from benchmarks.report_loop import ReportExtractor, ReportImages

CLASSES, PER_CLASS = ("cat", "dog"), 8


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for name in CLASSES:
        (folder / "train" / name).mkdir(parents=True)
        for number in range(PER_CLASS):
            pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "train" / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def place(dataset, tmp_path_factory) -> peers.Place:
    return prepare(tmp_path_factory.mktemp("place"), dataset, "random", num_train=4, num_held_out=6)


@pytest.fixture
def pretrained(place, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(place.torch_home))
    for module in (cv_example, logistic_regression):
        monkeypatch.setattr(module, "NUM_WORKERS", 0)


def names(split: Path) -> dict[str, set[str]]:
    return {folder.name: {file.name for file in folder.iterdir()} for folder in split.iterdir()}


def test_all_train_on_the_same_images_and_are_judged_on_others_as_many_of_each_class(place, dataset):
    train, held_out = (names(place.images / split) for split in ("train", "test"))
    assert {name: (len(train[name]), len(held_out[name])) for name in CLASSES} == dict.fromkeys(CLASSES, (2, 3))
    assert not any(train[name] & held_out[name] for name in CLASSES)
    copy = place.images / "train" / "cat" / min(train["cat"])
    assert copy.read_bytes() == (dataset / "train" / "cat" / copy.name).read_bytes()


def test_more_images_than_there_are_is_refused_with_both_numbers(dataset, tmp_path):
    with pytest.raises(ValueError, match=r"has 16 images, --train and --held-out ask for 17"):
        prepare(tmp_path, dataset, "random", num_train=10, num_held_out=7)


@pytest.mark.usefixtures("pretrained")
def test_scikit_learn_gets_torchvisions_features_of_the_very_weights_and_images(place):
    body, classifier = logistic_regression.train(place.images / "train", epochs=0)
    assert classifier.score(*logistic_regression.extract(body, place.images / "train")) == 1.0
    features, labels = logistic_regression.extract(body, place.images / "test")
    paths = sorted((place.images / "test").glob("*/*"))
    assert [CLASSES[label] for label in labels] == [path.parent.name for path in paths]
    images = torch.stack([image for image, _ in ReportImages(paths, labels.tolist())])
    extractor = ReportExtractor(load_weights("random").state, skip=False).eval()
    with torch.no_grad():
        expected = extractor(images).flatten(1).numpy()
    assert features.shape == (6, 9216)
    assert np.abs(features - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.usefixtures("pretrained")
def test_cv_example_trains_its_classifier_on_convolutions_that_stay_as_they_are(place, capsys):
    accelerator, model = cv_example.train(place.images / "train", epochs=2)
    _, body, _, classifier = model
    expected = load_weights("random").state
    assert all(torch.equal(tensor, expected[name]) for name, tensor in body.state_dict().items())
    assert classifier.weight.shape == (2, 9216)
    assert classifier.weight.abs().max() > 9216**-0.5  # what nn.Linear begins within
    right = cv_example.top1((accelerator, model), place.images / "test")
    assert right in [n / 6 for n in range(7)]


# A peer whose model takes no time, but is judged for half a second; and two that fail, before and after.
JUDGED = f"print({answers.MODEL_IS_THERE!r}, flush=True); import time; time.sleep(0.5); print('{{\"top1\": 0.5}}')"
EARLY, LATE = "import sys; sys.exit(3)", f"print({answers.MODEL_IS_THERE!r}); import sys; sys.exit(3)"


def test_a_peers_time_ends_when_its_model_is_there(tmp_path):
    began = time.perf_counter()
    found = measure_peer([sys.executable, "-c", JUDGED], tmp_path)
    assert found["top1"] == 0.5
    assert 0 < found["seconds"] <= time.perf_counter() - began - 0.5


@pytest.mark.parametrize("code", [EARLY, LATE])
def test_a_peer_that_fails_has_no_figures(tmp_path, code):
    with pytest.raises(RuntimeError, match="exit code 3"):
        measure_peer([sys.executable, "-c", code], tmp_path)


def test_a_peer_says_what_it_is_and_what_it_has_right_and_nothing_else_on_stdout(tmp_path, capsys):
    def train(split: Path, epochs: int) -> str:
        print("chatter of a library")
        return f"{split.name} for {epochs}"

    answers.answer([str(tmp_path), "2"], train, lambda model, split: 0.25, epochs=3, packages=["torch"])
    first, last = capsys.readouterr().out.splitlines()
    assert first == answers.MODEL_IS_THERE
    versions = {"torch": importlib.metadata.version("torch")}
    assert json.loads(last) == {"epochs": 2, "top1": 0.25, "versions": versions}


def test_the_first_python_that_has_a_package_is_taken():
    assert python_with("json", [sys.executable]) == sys.executable
    assert python_with("no_such_package", [sys.executable]) is None


@pytest.fixture
def measured(monkeypatch, dataset, tmp_path, capsys):
    """The benchmark with figures that are made up, and all lines in one file; returns its last line."""
    monkeypatch.setattr(peers, "measure_ours", lambda folder, options, place: {"seconds": 2.0, "top1": 0.75})
    monkeypatch.setattr(peers, "measure_peer", lambda command, home: {"seconds": 5.0, "top1": 0.5})
    monkeypatch.setattr(
        peers, "PEERS", {"cv_example": ("cv_example", "json"), "fastai": ("fastai_fine_tune", "no_such")}
    )
    common = ["--dataset", str(dataset), "--weights", "random", "--held-out", "4"]
    common += ["--results", str(tmp_path / "peers.jsonl")]

    def run(*arguments: str) -> dict[str, Any]:
        assert peers.main([*common, *arguments]) == 0
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return run


def test_what_an_interrupted_run_has_kept_is_joined_with_what_is_measured_later_under_the_same_conditions(measured):
    first = measured("--train", "6", "--only", "ours")
    assert (first["seconds_ours"], first["top1_ours"]) == (2.0, 0.75)
    assert "ratio_cv_example" not in first
    assert measured("--train", "6", "--only", "cv_example")["ratio_cv_example"] == 2.5
    assert "ratio_cv_example" not in measured("--train", "8", "--only", "cv_example")


def test_ours_with_other_options_or_of_other_code_is_not_taken_for_todays(measured, monkeypatch):
    tuned = ("--train", "6", "--only", "ours_finetune", "--finetune", "3", "--finetune-epochs")
    assert "top1_ours_finetune" in measured(*tuned, "3")
    assert "top1_ours_finetune" in measured(
        "--train", "6", "--only", "ours", "--finetune", "3", "--finetune-epochs", "3"
    )
    assert "top1_ours_finetune" not in measured("--train", "6", "--only", "ours", "--finetune", "3")
    assert "top1_ours_finetune" not in measured("--train", "6", "--only", "ours")
    monkeypatch.setattr(peers, "code_digest", lambda: "another")
    assert "top1_ours" not in measured("--train", "6", "--only", "cv_example")


def test_a_peer_whose_package_is_missing_is_left_out_by_name(measured):
    result = measured("--train", "6")
    assert "no package no_such" in result["left_out"]["fastai"]
    assert {name for name in result if name.startswith("top1")} == {"top1_ours", "top1_ours_skip", "top1_cv_example"}


@pytest.mark.parametrize("wrong", [["--only", "ours_finetune"], ["--peers-python", "no/such/python"]])
def test_what_cannot_be_measured_is_refused_by_the_name_of_its_flag(measured, wrong, capsys):
    with pytest.raises(SystemExit) as end:
        measured(*wrong)
    assert end.value.code == 2
    assert wrong[0] in capsys.readouterr().err
