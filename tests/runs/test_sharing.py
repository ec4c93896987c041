"""Equal files of published models take the room of one, and each folder is still complete and its own."""

import os
import shutil
from pathlib import Path

import pytest
import torch

from alexnet_skip.network import head
from alexnet_skip.network.backbone import FrozenAlexNet
from alexnet_skip.network.factored import FactoredLinear
from alexnet_skip.network.head import SkipHead
from alexnet_skip.network.model import load_published, publish
from alexnet_skip.network.state_files import CONVOLUTIONS, HEAD, NAMES, PROJECTION
from alexnet_skip.network.weights import load_weights
from alexnet_skip.runs import sharing
from alexnet_skip.runs.sharing import share_files
from alexnet_skip.settings.records import ModelConfig
from alexnet_skip.system.files import file_digest

ABOUT = ModelConfig("none", ("cat", "dog"), image_size=(32, 32))


@pytest.fixture(scope="module")
def backbone() -> FrozenAlexNet:
    return FrozenAlexNet(load_weights("random").state)


@pytest.fixture
def make(tmp_path, backbone, monkeypatch):
    """Publishes and shares a model of ``runs/RUN/PLACE`` whose head is of a seed, in the one projection there is."""
    monkeypatch.setattr(head, "HIDDEN_SIZES", (32, 16))
    projection = torch.randn(9216, 8, generator=torch.Generator().manual_seed(0))

    def made(run: str, place: str = "model", seed: int = 0, convolutions: FrozenAlexNet = backbone) -> Path:
        torch.manual_seed(seed)
        trained = SkipHead("none", 2)
        trained.head.fc1 = FactoredLinear(torch.randn(32, 8), projection, torch.randn(32))
        folder = tmp_path / "runs" / run
        publish(folder / place, trained, convolutions, ABOUT)
        (folder / "config.json").write_text("{}")
        share_files(folder / place, folder)
        return folder / place

    return made


def shared(one: Path, other: Path) -> set[str]:
    return {name for name in NAMES if (one / name).samefile(other / name)}


def logits(folder: Path) -> torch.Tensor:
    images = torch.arange(2 * 32 * 32 * 3).remainder(256).to(torch.uint8).view(2, 32, 32, 3)
    with torch.no_grad():
        return load_published(folder)[0](images)


def test_a_run_whose_best_epoch_is_its_last_has_its_model_once_and_runs_share_what_they_have_in_common(make):
    best, last = make("a"), make("a", "last")
    assert shared(best, last) == {*NAMES}
    other, of_study = make("b", seed=1), make("study/none-seed0", seed=2)
    assert shared(best, other) == {CONVOLUTIONS, PROJECTION}
    assert shared(of_study, make("study/none-seed1", "snapshots/epoch-0003", seed=3)) == {CONVOLUTIONS, PROJECTION}
    assert not list(best.parents[1].rglob("*.tmp"))


def test_each_folder_is_complete_when_it_is_moved_or_copied_or_the_other_is_removed(make, tmp_path):
    best, last = make("a"), make("a", "last")
    expected = logits(best)
    shutil.copytree(last, tmp_path / "copied")
    assert not shared(last, tmp_path / "copied")
    shutil.rmtree(best)
    last.rename(tmp_path / "moved")
    for folder in (tmp_path / "copied", tmp_path / "moved"):
        torch.testing.assert_close(logits(folder), expected)


def test_publishing_again_changes_no_other_model_that_shares_its_files(make):
    best, last = make("a"), make("a", "last")
    before = {path.name: path.read_bytes() for path in best.iterdir()}
    other = FrozenAlexNet({name: value + 0.01 for name, value in load_weights("random").state.items()})
    make("a", "last", seed=5, convolutions=other)
    assert {path.name: path.read_bytes() for path in best.iterdir()} == before
    assert shared(best, last) == {PROJECTION}
    assert (logits(best) - logits(last)).abs().max() > 0.01


def test_nothing_is_shared_with_a_damaged_file(make):
    best = make("a")
    whole = (best / CONVOLUTIONS).read_bytes()
    (best / CONVOLUTIONS).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    last = make("a", "last")
    assert shared(best, last) == {HEAD, PROJECTION}
    assert (last / CONVOLUTIONS).read_bytes() == whole
    load_published(last)


def test_where_a_disk_has_no_links_each_model_has_its_own_files(make, monkeypatch):
    def refuse(source, target):
        raise OSError(1, os.strerror(1), str(source))

    monkeypatch.setattr(os, "link", refuse)
    best, last = make("a"), make("a", "last")
    assert not shared(best, last)
    torch.testing.assert_close(logits(best), logits(last))
    assert not list(best.parents[1].rglob("*.tmp"))


def test_where_a_disk_has_no_links_only_one_of_all_equal_files_is_read(make, monkeypatch):
    for run in ("a", "b", "c", "d"):
        make(run)

    def refuse(source, target):
        raise OSError(1, os.strerror(1), str(source))

    read = []
    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(sharing, "file_digest", lambda path: read.append(path.name) or file_digest(path))
    make("e")
    assert sorted(read) == sorted(NAMES)


def test_what_another_user_keeps_is_not_shared_with_and_stops_no_publishing(make, another_users, monkeypatch, tmp_path):
    best = make("a")
    another_users(tmp_path / "runs" / "private")
    assert shared(best, make("b")) == {*NAMES}

    def refuse(path):
        raise PermissionError(13, os.strerror(13), str(path))

    monkeypatch.setattr(sharing, "file_digest", refuse)
    assert not shared(best, make("c"))


def test_a_trained_run_shares_what_its_models_have_in_common(whole_run):
    run = whole_run / "runs" / "run"
    for other in (run / "last", run / "snapshots" / "epoch-0002"):
        assert shared(run / "model", other) >= {CONVOLUTIONS, PROJECTION}
