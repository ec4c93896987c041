"""The PCA basis: what it captures, that it folds back exactly, and that a damaged one is never used."""

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from alexnet_skip.features import coordinates
from alexnet_skip.features import source as feature_source
from alexnet_skip.features.basis import RANK, CorrectionInBasis, SkipHeadInBasis, fit_basis
from alexnet_skip.features.coordinates import open_basis
from alexnet_skip.features.source import CachedFeatures
from alexnet_skip.network.backbone import NUM_FEATURES
from alexnet_skip.network.head import SkipConnection, SkipHead
from alexnet_skip.system.console import Console
from alexnet_skip.system.errors import UserError

MODES = ("none", "identity", "conv", "concat")


@pytest.fixture
def features() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    main, tap = torch.randn(2, 40, NUM_FEATURES, generator=generator)
    return main.relu() * 3, tap


@pytest.mark.parametrize("mode", MODES)
def test_the_fold_gives_the_same_predictions_in_the_published_form(mode, features, monkeypatch):
    """Multiplied out, the form is that of plain training; the logits are the same to 1e-4."""
    monkeypatch.setattr("alexnet_skip.network.head.HIDDEN_SIZES", (512, 128))
    main, tap = features
    fixed = SkipConnection("identity" if mode == "conv" else mode)
    basis = fit_basis(lambda: [fixed(main, tap)], 20, seed=0)
    model = SkipHeadInBasis(mode, 10, basis).eval()
    if mode == "conv":
        torch.nn.init.normal_(model.skip.up, std=0.05)
        torch.nn.init.normal_(model.skip.bias)
    coordinates = basis.transform(fixed(main, tap))
    folded = model.fold(basis)
    plain = SkipHead(mode, 10)
    # What follows from the basis is neither trained nor saved, and is there for conv alone.
    assert len(list(model.buffers())) == (2 if mode == "conv" else 0)
    assert folded.skip.state_dict().keys() == plain.skip.state_dict().keys()
    first = plain.head.fc1 = nn.Linear(folded.head.fc1.in_features, folded.head.fc1.out_features)
    with torch.no_grad():
        first.weight.copy_(folded.head.fc1.weight)
        first.bias.copy_(folded.head.fc1.bias)
        for name in ("skip", "head.fc2", "head.fc3"):
            plain.get_submodule(name).load_state_dict(folded.get_submodule(name).state_dict())
        torch.testing.assert_close(plain(main, tap), folded(main, tap), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(folded(main, tap), model(coordinates, tap), rtol=1e-4, atol=1e-4)


def test_conv_begins_as_identity_and_learns_a_kernel_of_low_rank(features):
    main, tap = features
    basis = fit_basis(lambda: [main + tap], 20, seed=0)
    model, identity = SkipHeadInBasis("conv", 10, basis), SkipHeadInBasis("identity", 10, basis)
    identity.head.load_state_dict(model.head.state_dict())
    coordinates = basis.transform(main + tap)
    assert torch.equal(model(coordinates, tap), identity(coordinates))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(coordinates, tap), torch.arange(len(main)) % 10).backward()
        optimizer.step()
    folded = model.eval().fold(basis)
    learnt = folded.skip.projection.weight.flatten(1) - torch.eye(256)
    assert torch.linalg.matrix_rank(learnt, rtol=1e-4) == RANK
    assert folded.skip.projection.bias.abs().min() > 0
    with torch.no_grad():
        torch.testing.assert_close(folded(main, tap), model(coordinates, tap), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("rank", [0, 3, RANK, 40, 256])
def test_a_published_kernel_of_any_rank_is_found_again_and_can_learn_on(features, rank):
    """One of 256, too, as runs had it whose kernels were trained whole."""
    main, tap = features
    basis = fit_basis(lambda: [main + tap], 20, seed=0)
    # Now and then a matrix of full rank is drawn that has a direction too small to be found.
    torch.manual_seed(0)
    skip = SkipConnection("conv")
    with torch.no_grad():
        skip.projection.weight += (torch.randn(256, rank) @ torch.randn(rank, 256) / 256)[:, :, None, None]
        skip.projection.bias.normal_()
    found = CorrectionInBasis.unfold(skip, basis)
    assert len(found.down) == max(RANK, rank)
    again = SkipConnection("conv")
    found.fold(again)
    torch.testing.assert_close(again.state_dict(), skip.state_dict(), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        expected = (skip.project(tap) - tap) @ basis.projection
        torch.testing.assert_close(found(tap), expected, rtol=1e-3, atol=1e-3)
    found(tap).square().sum().backward()
    assert found.up.grad.norm() > 0, "a kernel that is the identity is no dead end"


def test_the_coordinates_of_conv_are_those_of_identity_and_lie_there_once(features, tmp_path):
    main, tap = (array.half().numpy() for array in features)
    source = CachedFeatures([(main, tap)], torch.device("cpu"), tmp_path)
    console, accelerator = Console(quiet=True), Accelerator(cpu=True)
    opened = {
        mode: open_basis(source, np.arange(40), mode, 8, accelerator, console, mirrored=False)[1]
        for mode in ("identity", "conv")
    }
    (_, no_tap), (_, with_tap) = (opened[mode].fetch(np.arange(4)) for mode in opened)
    assert torch.equal(opened["identity"].fetch(np.arange(40))[0], opened["conv"].fetch(np.arange(40))[0])
    assert no_tap is None
    assert torch.equal(with_tap, torch.from_numpy(tap[:4]).float())
    assert len(list(tmp_path.glob("basis-*.npy"))) == 1


def test_the_basis_is_orthogonal_deterministic_and_captures_what_pca_captures(rng):
    low_rank = rng.normal(size=(300, 12)) @ rng.normal(size=(12, 80)) + 0.01 * rng.normal(size=(300, 80)) + 5
    values = torch.from_numpy(low_rank).float()
    basis = fit_basis(lambda: [values], 12, seed=3)
    again = fit_basis(lambda: [values], 12, seed=3)
    assert torch.equal(basis.projection, again.projection)
    in_parts = fit_basis(lambda: iter(values.split(70)), 12, seed=3)
    torch.testing.assert_close(in_parts.projection.abs(), basis.projection.abs(), rtol=1e-3, atol=1e-4)
    axes = basis.projection / basis.projection.norm(dim=0)
    torch.testing.assert_close(axes.T @ axes, torch.eye(12), rtol=1e-4, atol=1e-4)
    kept = ((values - basis.mean) @ axes).var(0).sum().item()
    exact = np.linalg.eigvalsh(np.cov(low_rank, rowvar=False))[::-1][:12].sum()
    assert kept == pytest.approx(exact, rel=1e-3)


def test_coordinates_have_mean_square_one_and_stay_ordered_by_variance(rng):
    values = torch.from_numpy(rng.normal(size=(500, 30)) * np.linspace(1, 9, 30) + 3).float()
    coordinates = fit_basis(lambda: [values], 30, seed=0).transform(values)
    assert coordinates.square().mean().item() == pytest.approx(1, rel=1e-2)
    torch.testing.assert_close(coordinates.mean(0), torch.zeros(30), rtol=0, atol=1e-4)
    deviation = coordinates.std(0)
    assert (deviation.diff() <= 1e-3).all()


def test_two_maps_side_by_side_count_alike(rng):
    main, tap = (torch.from_numpy(rng.normal(size=(60, NUM_FEATURES))).float() for _ in range(2))
    main, tap = 0.1 * main, 3 * tap
    basis = fit_basis(lambda: [torch.cat((main, tap), dim=1)], 40, seed=0)
    from_main, from_tap = (
        (part @ rows).square().sum().item() for part, rows in zip((main, tap), basis.projection.chunk(2), strict=True)
    )
    assert from_main == pytest.approx(from_tap, rel=0.2)


def test_axes_without_variance_do_not_break_the_basis():
    values = torch.randn(40, 3) @ torch.randn(3, 50)
    assert torch.isfinite(fit_basis(lambda: [values], 20, seed=0).projection).all()


def test_a_basis_never_has_more_axes_than_the_samples_allow():
    values = torch.randn(10, 50)
    assert fit_basis(lambda: [values], 40, seed=0).projection.shape == (50, 9)


def test_folding_survives_a_mean_much_larger_than_the_coordinates():
    torch.manual_seed(0)
    values = torch.randn(200, 500) + 1000
    basis = fit_basis(lambda: [values], 30, seed=0)
    layer = torch.nn.Linear(30, 7)
    with torch.no_grad():
        exact = (
            values.double() - basis.mean.double()
        ) @ basis.projection.double() @ layer.weight.double().T + layer.bias
        torch.testing.assert_close(basis.fold(layer)(values).double(), exact, rtol=1e-2, atol=1e-2)


def open_small(folder: Path, values: np.ndarray):
    source = CachedFeatures([(values, None)], torch.device("cpu"), folder)
    arguments = (np.arange(30), "none", 8, Accelerator(cpu=True), Console(quiet=True))
    basis, opened = open_basis(source, *arguments, mirrored=False)
    return basis, opened.fetch(np.arange(40))[0]


def test_the_kept_coordinates_are_those_of_the_basis(tmp_path, rng):
    values = rng.normal(size=(40, 50)).astype(np.float16)
    basis, found = open_small(tmp_path, values)
    torch.testing.assert_close(found, basis.transform(torch.from_numpy(values).float()), rtol=2**-10, atol=1e-2)


def test_beside_features_on_a_disk_that_can_not_be_written_the_basis_is_used_and_not_kept(tmp_path, rng, monkeypatch):
    values = rng.normal(size=(40, 50)).astype(np.float16)
    (tmp_path / "kept").mkdir()
    (tmp_path / "read-only").mkdir()
    expected, coordinates_kept = open_small(tmp_path / "kept", values)
    monkeypatch.setattr(coordinates, "writable", lambda folder: False)
    basis, found = open_small(tmp_path / "read-only", values)
    assert torch.equal(basis.projection, expected.projection)
    torch.testing.assert_close(found, coordinates_kept, rtol=2**-10, atol=1e-2)
    assert list((tmp_path / "read-only").iterdir()) == []
    assert open_small(tmp_path / "kept", values)[1].equal(coordinates_kept), "what is there is used"


@pytest.mark.parametrize(("asked", "told"), [(8, 8), (1024, 29)])
def test_the_line_of_the_basis_says_how_many_coordinates_there_will_be(rng, capsys, asked, told):
    source = Live(*(torch.from_numpy(rng.normal(size=(80, 50))).float() for _ in range(2)))
    basis, _ = open_basis(source, np.arange(30), "none", asked, Accelerator(cpu=True), Console(), mirrored=False)
    assert basis.projection.shape[1] == told
    assert f"PCA basis: {told} coordinates from 30 images" in capsys.readouterr().err


class Live:
    """Features that are computed anew at every fetch; counts the rows that were asked for."""

    device = torch.device("cpu")

    def __init__(self, main: torch.Tensor, tap: torch.Tensor) -> None:
        self.main, self.tap, self.num_samples, self.asked = main, tap, len(main) // 2, 0

    def fetch(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        self.asked += len(rows)
        return self.main[rows], self.tap[rows]


@pytest.mark.parametrize("kind", ["kept", "on several disks", "live"])
@pytest.mark.parametrize("mode", MODES)
def test_coordinates_of_both_views_are_those_of_the_joined_features(tmp_path, rng, monkeypatch, mode, kind):
    monkeypatch.setattr(coordinates, "PROJECT_ROWS", 16)
    views = [tuple(rng.normal(size=(2, 40, 50)).astype(np.float16)) for _ in range(2)]
    main, tap = (torch.from_numpy(np.concatenate(arrays)).float() for arrays in zip(*views, strict=True))
    source = CachedFeatures(views, torch.device("cpu"), tmp_path if kind == "kept" else None)
    source = Live(main, tap) if kind == "live" else source
    arguments = (np.arange(30), mode, 8, Accelerator(cpu=True), Console(quiet=True))
    basis, opened = open_basis(source, *arguments, mirrored=True)
    assert kind != "live" or source.asked == 30, "in one pass over the images"

    joined = {"none": main, "concat": torch.cat((main, tap), dim=1)}.get(mode, main + tap)
    # Which samples are taken, in which order, and that views alternate: bases of earlier runs are found by it.
    sample = np.random.default_rng(0).permutation(30) + 40 * (np.arange(30) % 2)
    torch.testing.assert_close(basis.mean, joined[sample].mean(0), rtol=1e-4, atol=1e-5)
    rows = rng.permutation(80)
    found, kept_tap = opened.fetch(rows)
    # What conv learns is added to them in every step.
    expected = basis.transform(joined)[rows]
    torch.testing.assert_close(found, expected, rtol=2**-10, atol=1e-2)
    assert (kept_tap is not None) == (mode == "conv")
    if kept_tap is not None:
        assert torch.equal(kept_tap, tap[rows])
    for path in tmp_path.glob("*.npy"):
        assert np.load(path, mmap_mode="r").dtype == np.float16


def test_a_basis_is_fitted_on_no_more_samples_than_choose_it_well(rng, monkeypatch):
    monkeypatch.setattr(coordinates, "BASIS_ROWS", 12)
    source = Live(*(torch.from_numpy(rng.normal(size=(80, 50))).float() for _ in range(2)))
    basis, _ = open_basis(source, np.arange(30), "none", 8, Accelerator(cpu=True), Console(quiet=True), mirrored=False)
    assert source.asked == 12
    mean = source.main[np.random.default_rng(0).permutation(30)[:12]].mean(0)
    torch.testing.assert_close(basis.mean, mean, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["safetensors", "npy", "json"])
def test_a_damaged_basis_or_its_coordinates_are_made_again(tmp_path, rng, kind):
    values = rng.normal(size=(40, 50)).astype(np.float16)
    basis, _ = open_small(tmp_path, values)
    path = next(tmp_path.glob(f"basis-*.{kind}"))
    whole = path.read_bytes()
    for damage in (whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:], whole[:20], b""):
        path.write_bytes(damage)
        again, _ = open_small(tmp_path, values)
        assert torch.equal(again.projection, basis.projection)
        assert path.read_bytes() == whole


def test_features_whose_coordinates_are_kept_are_brought_to_no_device(tmp_path, rng, monkeypatch):
    brought = []
    monkeypatch.setattr(feature_source, "free_device_bytes", lambda device: [brought.append(device), 10**9][1])
    values = rng.normal(size=(40, 50)).astype(np.float16)
    _, fitted = open_small(tmp_path, values)
    assert len(brought) == 2, "the features to be fitted on, and their coordinates"
    _, found = open_small(tmp_path, values)
    assert len(brought) == 3, "the coordinates alone"
    assert torch.equal(found, fitted)


@pytest.mark.parametrize("scale", [0.0, 3.0])
def test_images_that_are_all_alike_have_no_axes_and_that_is_said(scale):
    one = scale * torch.randn(1, 50, generator=torch.Generator().manual_seed(0)).abs()
    with pytest.raises(UserError, match=r"all 40 images .* have the same features; .*--pca-basis 0"):
        fit_basis(lambda: [one.repeat(40, 1)], 8, seed=0)


def test_images_that_differ_by_what_fp16_can_tell_have_axes():
    generator = torch.Generator().manual_seed(0)
    alike = torch.randn(1, 50, generator=generator).abs() + 0.01 * torch.randn(40, 50, generator=generator)
    assert torch.isfinite(fit_basis(lambda: [alike], 8, seed=0).projection).all()
