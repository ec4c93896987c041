"""TensorBoard gets every tab filled, of real runs only."""

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from alexnet_skip.network.head import SkipHead
from alexnet_skip.plots import gallery
from alexnet_skip.settings.records import DatasetRecord, PrecisionRecord, RunConfig, WeightsRecord
from alexnet_skip.settings.train import TrainingSettings, TrainSettings
from alexnet_skip.training import report, tensorboard

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
SUMMARY = {
    "best_epoch": 2,
    "best": {"val_loss": 0.5, "val_top1": 0.75, "val_top3": 1.0, "train_top1": 0.8, "lr": 1e-4},
    "seconds": {"train": 3.0, "load": 1.5},
}


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    """Everything written to one run, read back as TensorBoard reads it."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    writer, rng = SummaryWriter(str(folder)), np.random.default_rng(0)
    with torch.device("meta"):
        model = SkipHead("conv", 3)
    tensorboard.log_texts(writer, CONFIG, model)
    images, labels = rng.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8), rng.integers(0, 3, 40)
    tensorboard.log_validation(writer, images, rng.normal(size=(40, 3)), labels, NAMES, 2, "mine")
    settings = report.compared_settings(CONFIG)
    tensorboard.log_hparams(writer, settings, report.final_figures(SUMMARY))
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
    pictures = [tag for tag in events.Tags()["images"] if tag.startswith("validation/")]
    assert len(pictures) == 3
    assert all(events.Images(tag)[0].step == 2 for tag in pictures)
    curves = [tag for tag in events.Tags()["tensors"] if tag.startswith("precision and recall/")]
    assert curves == [f"precision and recall/{name}" for name in NAMES]


def test_hparams_put_the_skip_first_and_every_figure_has_its_scalar(events):
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"1 skip" in content
    assert b"4 lr" in content
    assert events.Scalars("whole run/val_top1")[0].value == 0.75
    assert events.Scalars("whole run/seconds")[0].value == 4.5
    assert "whole run/lr" not in events.Tags()["scalars"]


def test_charts_put_train_and_val_of_one_quantity_together(events):
    assert "custom_scalars__config__" in events.Tags()["tensors"]
    for classes, expected in (
        (2, [["top1/train", "top1/val"]]),
        (3, [["top1/train", "top1/val"], ["top1/val", "top3/val"]]),
    ):
        assert [tags for _, tags in tensorboard.charts(classes)["accuracy"].values()] == expected


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
