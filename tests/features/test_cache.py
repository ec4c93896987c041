"""The feature cache: what is kept, what is rebuilt, and that its values are the live path's."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_run import ARGUMENTS, copy_whole, shrink, train_in

from alexnet_skip.features import cache as feature_cache
from alexnet_skip.features import source
from alexnet_skip.features.cache import FeatureCache, FeatureKey, array_names, compute_features, extract
from alexnet_skip.features.source import CachedFeatures, LiveFeatures
from alexnet_skip.images.folder import ImageFiles
from alexnet_skip.network.backbone import NUM_FEATURES, FrozenAlexNet
from alexnet_skip.network.weights import load_weights
from alexnet_skip.system.errors import UserError

N = 23


@pytest.fixture(scope="module")
def backbone() -> FrozenAlexNet:
    return FrozenAlexNet(load_weights("random").state)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(feature_cache, "BLOCK_ROWS", 8)


@pytest.fixture
def images(rng) -> np.ndarray:
    return rng.integers(0, 256, (N, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def cache(tmp_path) -> FeatureCache:
    return FeatureCache(tmp_path / "entry", FeatureKey("data", "weights", N))


def build(cache, images, backbone, names, blocks=range(3)):
    cache.prepare(names, lambda line: None)
    wanted = cache.missing(names, blocks)
    extract(cache, images, backbone, wanted, 0, lambda n: None)
    return wanted


@pytest.mark.parametrize(
    ("piece_rows", "room"), [(3, 0), (100, 0), (100, 10**6)], ids=["in pieces", "at once", "resident, as on a GPU"]
)
def test_rows_of_maps_are_those_that_were_stored(tmp_path, monkeypatch, rng, piece_rows, room):
    views = []
    for name in ("as it is", "mirrored"):
        np.save(tmp_path / f"{name}.npy", rng.normal(size=(20, 6)).astype(np.float16))
        views.append((np.load(tmp_path / f"{name}.npy", mmap_mode="r"), None))
    monkeypatch.setattr(source, "PIECE_ROWS", piece_rows)
    monkeypatch.setattr(source, "free_device_bytes", lambda device: room)
    rows = rng.permutation(40)[:25]
    features = CachedFeatures(views, torch.device("cpu"))
    fetched, _ = features.fetch(rows)
    assert bool(features._resident) == bool(room)
    np.testing.assert_array_equal(fetched.numpy(), np.concatenate([main for main, _ in views])[rows].astype(np.float32))


def test_features_are_resident_only_where_they_leave_half_of_the_device_free(monkeypatch, rng):
    values = rng.normal(size=(20, 6)).astype(np.float16)
    for tap, room, resident in ((None, 481, 1), (None, 480, 0), (values.copy(), 961, 2), (values.copy(), 960, 0)):
        monkeypatch.setattr(source, "free_device_bytes", lambda device, room=room: room)
        features = CachedFeatures([(values, tap)], torch.device("cpu"))
        features.fetch(np.arange(3))
        assert len(features._resident) == resident


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells what a map occupies")
def test_what_was_read_from_a_map_does_not_stay_in_memory(tmp_path, rng):
    path = tmp_path / "stored.npy"
    np.save(path, rng.normal(size=(4096, 1024)).astype(np.float16))
    stored = np.load(path, mmap_mode="r")

    def resident_kib() -> int:
        after = Path("/proc/self/smaps").read_text(encoding="utf-8").partition(str(path))[2]
        return int(after.partition("Rss:")[2].split()[0])

    np.array(stored)
    assert resident_kib() >= 4096  # it does where nobody gives it back
    CachedFeatures([(stored, None)], torch.device("cpu")).fetch(rng.permutation(4096))
    assert resident_kib() == 0


def test_cached_rows_are_the_live_rows_up_to_fp16(cache, images, backbone):
    names = array_names(tap=True, mirrored=True)
    build(cache, images, backbone, names)
    cache.finish()
    maps = {name: cache.open(name) for name in names}
    views = [(maps["main"], maps["tap"]), (maps["main_mirrored"], maps["tap_mirrored"])]
    rows = np.array([3, N + 3, 22, N + 22, 0, 0])
    cached = CachedFeatures(views, torch.device("cpu")).fetch(rows)
    live = LiveFeatures(images, backbone, torch.device("cpu")).fetch(rows)
    for a, b in zip(cached, live, strict=True):
        assert a.shape == (6, NUM_FEATURES)
        assert a.dtype == torch.float32
        # fp16 keeps 11 bits: half a unit in the last place is 2^-11 of the value.
        torch.testing.assert_close(a, b, rtol=2**-11, atol=1e-4)
    assert not torch.allclose(cached[0][0], cached[0][1])


def test_a_second_pass_finds_nothing_to_do_and_skip_adds_only_the_tap(cache, images, backbone):
    build(cache, images, backbone, ["main"])
    cache.finish()
    assert cache.missing(["main"], range(3)) == {}
    before = (cache.folder / "main.npy").read_bytes()
    assert build(cache, images, backbone, ["main", "tap"]) == {0: ["tap"], 1: ["tap"], 2: ["tap"]}
    cache.finish()
    assert (cache.folder / "main.npy").read_bytes() == before
    assert cache.missing(["main", "tap"], range(3)) == {}


def test_an_interrupted_pass_goes_on_where_it_stopped(cache, images, backbone):
    build(cache, images, backbone, ["main"], blocks=[0, 1])
    with (cache.folder / "progress-0000.jsonl").open("a") as progress:
        progress.write('["main", 2, 12')  # cut off in the middle of a line
    assert build(cache, images, backbone, ["main"]) == {2: ["main"]}
    expected = compute_features(backbone, images[16:], ["main"])["main"]
    np.testing.assert_array_equal(cache.open("main")[16:], expected)


def test_a_pass_over_other_arrays_keeps_what_an_interrupted_one_has_done(cache, images, backbone):
    """With the skip, interrupted; without it; with it again: the tap goes on where it stopped."""
    build(cache, images, backbone, ["main", "tap"], blocks=[0, 1])
    build(cache, images, backbone, ["main"])
    cache.finish()
    assert cache.is_finished(["main"])
    assert not cache.is_finished(["main", "tap"])
    assert build(cache, images, backbone, ["main", "tap"]) == {2: ["tap"]}
    cache.finish()
    assert cache.is_finished(["main", "tap"])
    assert not list(cache.folder.glob("progress-*"))


@pytest.mark.parametrize("offset", [200, 100_000, 300_000])
def test_a_flipped_bit_costs_one_block(cache, images, backbone, offset):
    build(cache, images, backbone, ["main"])
    cache.finish()
    whole = (cache.folder / "main.npy").read_bytes()
    path = cache.folder / "main.npy"
    path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :])
    assert len(build(cache, images, backbone, ["main"])) == 1
    cache.finish()
    assert path.read_bytes() == whole


def test_a_truncated_array_and_a_damaged_manifest_are_rebuilt(cache, images, backbone):
    build(cache, images, backbone, ["main"])
    cache.finish()
    whole = (cache.folder / "main.npy").read_bytes()
    (cache.folder / "main.npy").write_bytes(whole[:5000])
    assert len(build(cache, images, backbone, ["main"])) == 3
    cache.finish()
    assert (cache.folder / "main.npy").read_bytes() == whole
    for damage in ("", "{", "[]", "null", json.dumps({"key": {}, "crc32": {"main": [1, 2, 3]}})):
        (cache.folder / "manifest.json").write_text(damage)
        assert len(cache.missing(["main"], range(3))) == 3
    build(cache, images, backbone, ["main"])
    cache.finish()
    assert not cache.missing(["main"], range(3))


def test_every_part_of_the_key_changes_the_entry():
    keys = [
        FeatureKey("a", "b", 5),
        FeatureKey("x", "b", 5),
        FeatureKey("a", "x", 5),
        FeatureKey("a", "b", 6),
        FeatureKey("a", "b", 5, image_size=64),
        FeatureKey("a", "b", 5, tap="elsewhere"),
    ]
    assert len({key.short for key in keys}) == len(keys)


def test_a_disk_without_room_for_every_value_is_told_before_anything_is_written(tmp_path, monkeypatch):
    cache = FeatureCache(tmp_path / "cache" / "entry", FeatureKey("data", "weights", N))
    need = 2 * N * NUM_FEATURES * 2  # two arrays of two bytes a value
    for free in (need - 1, need):
        monkeypatch.setattr(feature_cache.shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        if free < need:
            with pytest.raises(UserError, match="MiB free, but the features need"):
                cache.prepare(["main", "tap"], lambda line: None)
            assert not list(cache.folder.iterdir())
        else:
            cache.prepare(["main", "tap"], lambda line: None)
    monkeypatch.setattr(feature_cache.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    cache.prepare(["main", "tap"], lambda line: None)  # they have their room


def test_images_that_lie_in_files_give_the_features_of_the_array(tmp_path, cache, images, backbone):
    paths = [tmp_path / f"{number}.png" for number in range(N)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    files, names = ImageFiles(paths, 32, exact=True), array_names(tap=False, mirrored=True)
    build(cache, files, backbone, names)
    other = FeatureCache(tmp_path / "other", cache.key)
    build(other, images, backbone, names)
    for name in names:
        np.testing.assert_array_equal(cache.open(name), other.open(name))
    rows = np.array([4, N + 4, 30])
    live, same = (LiveFeatures(source, backbone, torch.device("cpu")).fetch(rows)[0] for source in (files, images))
    assert torch.equal(live, same)


def test_an_entry_whose_extraction_was_killed_before_its_last_word_is_finished_by_the_next_run(
    whole_run, tmp_path, monkeypatch
):
    """Or it would be taken for nobody's, and pruned."""
    monkeypatch.undo()  # the run's blocks are of the usual size
    shrink(monkeypatch.setattr)
    place = copy_whole(whole_run, tmp_path, checkpoints=False)
    (manifest,) = place.glob("cache/*-train-*/manifest.json")
    before = json.loads(manifest.read_text("utf-8"))
    lines = [[name, block, crc] for name, values in before["crc32"].items() for block, crc in enumerate(values)]
    progress = manifest.with_name("progress-0000.jsonl")
    progress.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    manifest.unlink()
    assert train_in(place, *ARGUMENTS, "--name", "next", "--quiet") == 0
    assert json.loads(manifest.read_text("utf-8")) == before
    assert not progress.exists()
