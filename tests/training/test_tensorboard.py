"""TensorBoard gets every tab filled, of real runs only."""

import dataclasses
import re

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams.backend_context import Context
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from alexnet_skip.network.head import SkipHead
from alexnet_skip.plots import gallery
from alexnet_skip.settings.dataset_record import DatasetRecord
from alexnet_skip.settings.records import PrecisionRecord, RunConfig, WeightsRecord
from alexnet_skip.settings.train import RECIPES, TrainingSettings, TrainSettings
from alexnet_skip.training import report, tensorboard
from alexnet_skip.training.log import TAGS

NAMES = ("cat", "dog", "ship")
CONFIG = RunConfig(
    settings=TrainSettings(skip=True, training=TrainingSettings(lr=0.001, epochs=3, seed=7)),
    dataset=DatasetRecord("pets", "a|b", NAMES, "ab"),
    weights=WeightsRecord("random (seed 0)", "cd"),
    num_train=1800,
    num_val=200,
    image_size=(32, 32),
    device="cpu",
    precision=PrecisionRecord("no", "fp32 on CPU"),
    environment={"torch": "2.14.1"},
)
# Values that are not the usual ones.
OTHER = {"batch_size": 7, "weight_decay": 0.5, "dropout": (0.1, 0.1, 0.1), "hflip": False, "pca_basis": 3}


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    """Everything written to one run, read back as TensorBoard reads it."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    writer, rng = SummaryWriter(str(folder)), np.random.default_rng(0)
    with torch.device("meta"):
        model = SkipHead("conv", 3)
    tensorboard.log_texts(writer, CONFIG)
    tensorboard.log_trained(writer, model, 0)
    images, labels = rng.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8), rng.integers(0, 3, 40)
    tensorboard.log_validation(writer, images, rng.dirichlet((1, 1, 1), 40), labels, NAMES, 2, "mine")
    tensorboard.log_hparams(writer, report.compared_settings(CONFIG))
    writer.close()
    assert [path.name for path in folder.parent.rglob("*") if path.is_dir()] == ["mine"], "no stray run"
    return EventAccumulator(str(folder), {"tensors": 0, "images": 0}).Reload()


def text(events, tag):
    return events.Tensors(f"{tag}/text_summary")[0].tensor_proto.string_val[0].decode()


def test_the_text_tab_says_what_the_run_is(events):
    assert "| training.lr | 0.001 |" in text(events, "1 settings")
    assert "| source | a\\|b |" in text(events, "2 dataset"), "a bar must not start a new cell"
    assert "| images held out | 200 |" in text(events, "2 dataset")
    assert "random (seed 0)" in text(events, "3 weights")
    # The report's head and projection, with 3 classes instead of 10.
    assert f"| all that is trained |  | {41_958_410 + 65_792 - 7 * 1025:,} |" in text(events, "4 model")
    assert "| precision | no (fp32 on CPU) |" in text(events, "5 environment")


def test_images_and_precision_recall_curves_are_of_the_best_epoch(events):
    pictures = events.Tags()["images"]
    assert {tag.partition("/")[0] for tag in pictures} == {"8 val, best epoch"}
    assert len(pictures) == 3
    assert all(events.Images(tag)[0].step == 2 for tag in pictures)
    curves = [tag for tag in events.Tags()["tensors"] if tag.startswith("precision and recall/")]
    assert curves == [f"precision and recall/{name}" for name in NAMES]


def columns_of_hparams(logdir):
    """Settings in the order of TensorBoard's own table, each with whether runs differ in it, and figures."""
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(logdir)).Reload()
    context = TBContext(data_provider=MultiplexerDataProvider(multiplexer, str(logdir)))
    backend, request = Context(context), RequestContext()
    metadata = backend.hparams_metadata(request, "")
    found = backend.experiment_from_metadata(request, "", True, metadata, [], hparams_limit=100)
    settings = {info.name: info.differs for info in found.hparam_infos}
    return settings, [metric.name.tag for metric in found.metric_infos]


def test_hparams_show_settings_that_differ_first_and_the_curves(tmp_path):
    for name, changes in {"a": {"seed": 1}, "b": {"seed": 2}, "c": {"seed": 2, "dropout": (0.1, 0.1, 0.1)}}.items():
        training = dataclasses.replace(CONFIG.settings.training, **changes)
        settings = dataclasses.replace(CONFIG.settings, training=training)
        with SummaryWriter(str(tmp_path / name)) as writer:
            writer.add_scalar("1 accuracy/top-1 val", 0.5, 1)
            tensorboard.log_hparams(writer, report.compared_settings(dataclasses.replace(CONFIG, settings=settings)))
    settings, figures = columns_of_hparams(tmp_path)
    assert next(iter(settings.items())) == ("seed", True)
    assert {"skip", "dropout", "dataset"} <= {name for name, differs in settings.items() if not differs}
    assert not {"hflip", "pca_basis", "recipe"} & set(settings), "all runs have the recipe's own"
    assert figures == ["1 accuracy/top-1 val"]
    assert {path.name for path in tmp_path.rglob("*") if path.is_dir()} == {"a", "b", "c"}, "no stray run"


@pytest.mark.parametrize("recipe", RECIPES)
def test_of_a_run_as_most_are_only_form_and_seed_are_shown(recipe):
    settings = TrainSettings.of_recipe(recipe)
    settings = dataclasses.replace(settings, training=settings.training.for_images(45_000))
    config = dataclasses.replace(
        CONFIG, settings=settings, dataset=DatasetRecord("cifar10", "", NAMES, ""), num_train=45_000
    )
    shown = report.compared_settings(config)
    assert shown == {"skip": "none", "seed": 0} | ({"recipe": recipe} if recipe != "fast" else {})


def test_fewer_images_than_the_recipe_trains_on_are_shown():
    few = dataclasses.replace(CONFIG.settings.data, train_on=30)
    settings = dataclasses.replace(CONFIG.settings, data=few)
    assert report.compared_settings(dataclasses.replace(CONFIG, settings=settings))["train_on"] == 30


@pytest.mark.parametrize("name", OTHER)
def test_a_setting_that_is_not_the_recipes_own_is_shown(name):
    training = dataclasses.replace(CONFIG.settings.training, **{name: OTHER[name]})
    settings = dataclasses.replace(CONFIG.settings, training=training)
    shown = report.compared_settings(dataclasses.replace(CONFIG, settings=settings))
    assert name in shown


def test_charts_show_val_alone_first_and_their_patterns_match_one_tag_each():
    shown = tensorboard.charts(10)
    assert list(shown) == ["val", "train beside val", "optimizer"]
    assert list(shown["val"]) == ["top-1", "top-3", "loss"]
    assert "top-3" not in tensorboard.charts(2)["val"]
    for charts in shown.values():
        for _, patterns in charts.values():
            # As the tab's plugin looks for them.
            matched = [[tag for tag in TAGS.values() if re.match(pattern, tag)] for pattern in patterns]
            assert [len(tags) for tags in matched] == [1] * len(patterns)
    both = [re.match(pattern, tag) and tag for pattern in shown["train beside val"]["loss"][1] for tag in TAGS.values()]
    assert [tag for tag in both if tag] == ["2 loss/train", "2 loss/val"]


def test_the_graph_opens_on_the_layers_not_on_one_closed_box(tmp_path):
    class PlainNetwork(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, images):
            return self.layer(images.float())

    writer = SummaryWriter(str(tmp_path))
    tensorboard.log_graph(writer, PlainNetwork(), (4, 4))
    writer.close()
    names = {node.name for node in EventAccumulator(str(tmp_path)).Reload().Graph().node}
    assert any(name.startswith("Linear[layer]/") for name in names)
    assert not any(name.startswith("PlainNetwork") for name in names)


def test_confident_mistakes_are_wrong_and_the_most_confident_first():
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]])
    assert gallery.confident_mistakes(probabilities, np.array([1, 0, 1, 0])).tolist() == [0, 3, 1]
    assert len(gallery.confident_mistakes(probabilities, np.array([0, 1, 1, 1]))) == 0


def test_the_sample_is_the_same_in_every_run():
    assert gallery.sample(200).tolist() == gallery.sample(200).tolist()
    assert len(set(gallery.sample(200))) == gallery.GALLERY
    assert gallery.sample(3).tolist() == [0, 1, 2]
