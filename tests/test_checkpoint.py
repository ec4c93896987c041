"""Run folders and published models."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from alexnet_skip import checkpoint
from alexnet_skip.backbone import FrozenAlexNet
from alexnet_skip.errors import UserError
from alexnet_skip.model import SkipHead
from alexnet_skip.weights import load_weights

CONFIG = {"class_names": ["cat", "dog"], "epoch": 3}


@pytest.fixture(scope="module")
def backbone() -> FrozenAlexNet:
    return FrozenAlexNet(load_weights("random").state)


@pytest.fixture
def published(tmp_path, backbone):
    torch.manual_seed(1)
    trained = SkipHead("conv", 2)
    checkpoint.publish(tmp_path / "model", trained, backbone, CONFIG)
    return tmp_path / "model", trained


def test_a_published_model_loads_alone_and_predicts_the_same(published, backbone):
    folder, trained = published
    model, config = checkpoint.load_published(folder)
    images = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    main, tap = backbone(images)
    with torch.no_grad():
        torch.testing.assert_close(model(images), trained.eval()(main.flatten(1), tap.flatten(1)))
    assert model.class_names == ("cat", "dog")
    assert config["epoch"] == 3


def test_a_damaged_model_is_refused_with_its_path(published):
    folder, _ = published
    whole = (folder / "model.safetensors").read_bytes()
    for damage in (whole[:-10], whole[:100], b"", b"\xff" * 64 + whole[64:]):
        (folder / "model.safetensors").write_bytes(damage)
        with pytest.raises(UserError, match=r"model\.safetensors can't be loaded"):
            checkpoint.load_published(folder)


def test_weights_that_are_not_finite_or_of_another_shape_are_refused(published):
    folder, _ = published
    state = load_file(str(folder / "model.safetensors"))
    save_file(state | {"trained.head.fc3.bias": torch.tensor([1.0, float("nan")])}, str(folder / "model.safetensors"))
    with pytest.raises(UserError, match="not finite"):
        checkpoint.load_published(folder)
    save_file(state | {"trained.head.fc3.bias": torch.zeros(3)}, str(folder / "model.safetensors"))
    with pytest.raises(UserError, match="can't be loaded"):
        checkpoint.load_published(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_a_damaged_config_is_refused_with_its_path(published, text):
    folder, _ = published
    (folder / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json"):
        checkpoint.load_published(folder)


def test_a_run_folder_is_never_used_twice(tmp_path):
    assert checkpoint.create_run_folder(tmp_path, "mine", "x").name == "mine"
    with pytest.raises(UserError, match="exists already"):
        checkpoint.create_run_folder(tmp_path, "mine", "x")
    folders = {checkpoint.create_run_folder(tmp_path, None, "cifar10-skip") for _ in range(3)}
    assert len(folders) == 3
    assert all(":" not in folder.name for folder in folders)


def make_run(runs, name, created, finished=True):
    (runs / name / "model").mkdir(parents=True)
    (runs / name / "config.json").write_text(json.dumps({"created": created}))
    if finished:
        (runs / name / "model" / "config.json").write_text("{}")


def test_the_newest_finished_run_is_found_by_the_time_in_its_config(tmp_path):
    make_run(tmp_path, "b", "2026-01-01T00:00:00+00:00")
    make_run(tmp_path, "a", "2026-01-02T00:00:00+00:00")
    make_run(tmp_path, "c", "2026-01-03T00:00:00+00:00", finished=False)
    assert checkpoint.find_run(tmp_path, None).name == "a"
    assert checkpoint.find_run(tmp_path, "b").name == "b"
    assert checkpoint.find_run(tmp_path, str(tmp_path / "b")).name == "b"
    with pytest.raises(UserError, match="existing runs: a, b, c"):
        checkpoint.find_run(tmp_path, "z")


def test_without_any_run_the_message_says_how_to_train_one(tmp_path):
    with pytest.raises(UserError, match=r"accelerate launch train\.py --skip"):
        checkpoint.find_run(tmp_path, None)


def test_a_checkpoint_that_was_not_kept_is_refused_with_those_that_were(tmp_path):
    make_run(tmp_path, "a", "2026")
    (tmp_path / "a" / "snapshots" / "epoch-0005").mkdir(parents=True)
    (tmp_path / "a" / "snapshots" / "epoch-0005" / "config.json").write_text("{}")
    assert checkpoint.published_folder(tmp_path / "a", "epoch-5").name == "epoch-0005"
    assert checkpoint.published_folder(tmp_path / "a", "best").name == "model"
    with pytest.raises(UserError, match="has best, epoch-5"):
        checkpoint.published_folder(tmp_path / "a", "last")
