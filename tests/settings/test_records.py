"""What runs and models say of themselves reads back as it was written, whatever version wrote it."""

import dataclasses
import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest

from alexnet_skip.features.cache import FeatureKey
from alexnet_skip.features.entries import read_entries
from alexnet_skip.network.card import model_card
from alexnet_skip.settings.command_line import to_dict
from alexnet_skip.settings.dataset_record import DatasetRecord
from alexnet_skip.settings.finetune import FinetuneSettings
from alexnet_skip.settings.records import ModelConfig, RunConfig, read_model_config, read_run_config
from alexnet_skip.settings.train import TrainSettings
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import read_json, write_json, write_sealed_json

# A run of shapes as commit 45f7acc left it, before there were records: 600 images, 3 epochs, conv; paths made relative.
OLD = Path(__file__).resolve().parents[1] / "runs" / "made_by_45f7acc"


# Settings that came later, as what that run did.
LATER = {
    "training": {"class_weights": "none"},
    "data": {"verify_images": False, "data_url": None, "train_on": None},
    "run": {"json": False},
    "finetuning": to_dict(FinetuneSettings()),
}


def with_later(settings):
    return settings | {group: settings.get(group, {}) | later for group, later in LATER.items()}


def test_a_run_made_before_there_were_records_is_read_in_full():
    raw, config = read_json(OLD / "run" / "config.json"), read_run_config(OLD / "run")
    assert to_dict(config.settings) == with_later(raw["settings"])
    assert config.settings.joined == "conv"
    images = to_dict(config.dataset)
    assert images == raw["dataset"] | {"splits": [], "val_digest": ""}
    assert (config.weights_digest, config.created) == (raw["weights"]["sha256"], raw["created"])
    assert (config.num_train, config.num_val, list(config.image_size)) == (540, 60, raw["image_size"])
    assert config.precision.reason == raw["precision"]["reason"]
    assert config.environment == raw["environment"]


def test_a_model_made_before_there_were_records_is_read_in_full_and_has_its_card():
    raw, config = read_json(OLD / "run" / "model" / "config.json"), read_model_config(OLD / "run" / "model")
    raw["settings"] = with_later(raw["settings"])
    raw["dataset"] |= {"splits": [], "val_digest": ""}
    assert {name: value for name, value in config.as_json().items() if name in raw} == raw
    assert config.metrics["val_top1"] == raw["metrics"]["val_top1"]
    assert "* epochs: 3" in model_card(config)


def test_a_cache_entry_made_before_there_were_records_is_known_as_complete_and_as_its_runs(tmp_path):
    raw = read_json(OLD / "cache" / "manifest.json")["key"]
    key = FeatureKey(raw["data_digest"], raw["weights_digest"], raw["num_samples"])
    assert {name: key.as_json()[name] for name in raw} == raw
    entry = tmp_path / "cache" / "shapes-train-e14192a96e25"
    entry.mkdir(parents=True)
    shutil.copy(OLD / "cache" / "manifest.json", entry)
    (entry / "main.npy").touch()
    assert key.short == "e14192a96e25", "the entry must be found under the name that it has"
    (tmp_path / "runs").mkdir()
    shutil.copytree(OLD / "run", tmp_path / "runs" / "old")
    (found,) = read_entries(tmp_path / "cache", tmp_path / "runs")
    assert (found.state, found.num_samples, found.runs) == ("complete", 600, ("old",))


@pytest.fixture
def config() -> RunConfig:
    return read_run_config(OLD / "run")


def test_what_is_written_reads_back_equal(tmp_path, config):
    write_sealed_json(tmp_path / "config.json", config.as_json())
    assert read_run_config(tmp_path) == config
    model = ModelConfig.of_run(config, "conv", 2, {"val_top1": 0.5})
    write_sealed_json(tmp_path / "config.json", model.as_json())
    assert read_model_config(tmp_path) == model


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": None}, "settings is None"),
        ({"settings": {"training": {"epochs": "many"}}}, "epochs is 'many'"),
        ({"settings": {"training": {"epochs": 0}}}, "--epochs is 0"),
        ({"dataset": {"source": "x"}}, "it lacks 'name'"),
        ({"num_train": "all"}, "num_train is 'all'"),
    ],
)
def test_a_run_config_that_is_none_is_refused_with_its_path(tmp_path, config, change, message):
    write_json(tmp_path / "config.json", config.as_json() | change)
    with pytest.raises(UserError, match=r"config\.json is no run's config") as refused:
        read_run_config(tmp_path)
    assert message in str(refused.value)
    assert str(tmp_path) in str(refused.value)


@pytest.mark.parametrize("missing", ["settings", "dataset"])
def test_a_run_config_names_what_it_lacks(tmp_path, config, missing):
    write_json(tmp_path / "config.json", {k: v for k, v in config.as_json().items() if k != missing})
    with pytest.raises(UserError, match=f"it lacks '{missing}'"):
        read_run_config(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 0.0}, "its temperature is 0.0"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"class_names": ["cat", "cat"]}, "its class_names are"),
        ({"image_size": [0, 32]}, "its image_size is"),
        ({"skip_mode": "sideways"}, "skip_mode is 'sideways'"),
    ],
)
def test_a_model_config_that_can_not_be_is_refused(tmp_path, change, message):
    values = ModelConfig("none", ("cat", "dog")).as_json() | change
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match="is no published model's config") as refused:
        read_model_config(tmp_path)
    assert message in str(refused.value)


def test_what_another_version_adds_is_no_reason_to_refuse(tmp_path, config):
    values = config.as_json() | {"moon": "full"}
    values["settings"]["training"]["momentum"] = 0.9
    write_json(tmp_path / "config.json", values)
    assert read_run_config(tmp_path) == config


def test_a_model_is_not_lost_over_the_record_of_its_training(tmp_path, config):
    values = ModelConfig.of_run(config, "conv", 2, {}).as_json()
    values["settings"]["training"]["epochs"] = "many"
    write_json(tmp_path / "config.json", values)
    found = read_model_config(tmp_path)
    assert found.settings is None
    assert found.class_names == config.dataset.class_names


def test_the_images_of_a_run_are_named_as_they_were_found(config):
    """``auto`` must not become other images later."""
    asked = dataclasses.replace(config.settings.data, dataset="auto")
    auto = dataclasses.replace(config, settings=dataclasses.replace(config.settings, data=asked))
    assert auto.data.dataset == "shapes"
    assert auto.data.limit_train == 600


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": DatasetRecord("shapes", "shapes", ("a", "b"), "other")}, "the training images have changed"),
        ({"weights": None}, "the backbone's weights are not those it was started with"),
    ],
)
def test_a_run_does_not_go_on_with_other_images_or_weights(config, change, message):
    with pytest.raises(UserError, match=message):
        config.taken_up(dataclasses.replace(config, **change), Path("run"))


@pytest.mark.parametrize(
    ("recorded", "now", "refused"), [("a", "b", True), ("a", "", True), ("a", "a", False), ("", "b", False)]
)
def test_a_run_does_not_go_on_where_its_best_epoch_was_chosen_on_other_images(config, recorded, now, refused):
    """Its score would be held against one on those of now; a run from before this was recorded goes on."""
    before, after = (
        dataclasses.replace(config, dataset=dataclasses.replace(config.dataset, val_digest=digest))
        for digest in (recorded, now)
    )
    with pytest.raises(UserError, match=r"images in val/, .* have changed") if refused else nullcontext():
        before.taken_up(after, Path("run"))


def test_a_run_goes_on_with_its_images_at_another_place_and_finds_them_there_later(config):
    moved = dataclasses.replace(config.dataset, name="elsewhere", source="/mnt/elsewhere")
    after = config.taken_up(dataclasses.replace(config, dataset=moved), Path("run"))
    assert after.data.dataset == after.dataset.source == "/mnt/elsewhere"
    assert (after.dataset.name, after.dataset.digest) == (config.dataset.name, config.dataset.digest)


def test_a_run_goes_on_with_its_weights_from_another_file_and_says_so(config):
    moved = dataclasses.replace(config.weights, source="/mnt/alexnet.pth")
    assert config.taken_up(dataclasses.replace(config, weights=moved), Path("run")).weights == moved


def test_a_run_that_goes_on_keeps_what_it_was_and_tells_where_it_was_taken_up(config):
    settings = dataclasses.replace(config.settings, training=dataclasses.replace(config.settings.training, epochs=9))
    now = dataclasses.replace(config, settings=settings, created="later", device="cuda:0", num_train=1)
    after = config.taken_up(now, Path("run")).taken_up(now, Path("run"))
    assert (after.settings.training.epochs, after.created, after.num_train) == (9, config.created, config.num_train)
    assert [where["time"] for where in after.resumed] == ["later", "later"]
    assert after.resumed[0]["device"] == "cuda:0"


def test_an_empty_record_of_settings_means_their_defaults(tmp_path):
    write_json(tmp_path / "config.json", {"settings": {}, "dataset": {"name": "pets"}})
    assert read_run_config(tmp_path).settings == TrainSettings()
