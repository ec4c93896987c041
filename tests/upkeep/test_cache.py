"""Care of the feature cache: told truly, checked wholly, pruned only when asked."""

import json
import os
import time

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from alexnet_skip.features.cache import BLOCK_ROWS, FeatureCache, FeatureKey
from alexnet_skip.network.backbone import STATE_SHAPES, weights_digest
from alexnet_skip.system.files import file_crc32, part_of_name, write_json
from alexnet_skip.system.locks import GUARD_NAME, folder_lock
from alexnet_skip.upkeep import cache as cache_care

NUM_SAMPLES = BLOCK_ROWS + 88


def make_entry(cache_dir, name, weights="w", finished=True, data="data"):
    cache = FeatureCache(cache_dir / name, FeatureKey(data, weights, NUM_SAMPLES))
    cache.prepare(["main"], lambda line: None)
    array = cache.open("main", "r+")
    with (cache.folder / "progress-0000.jsonl").open("w") as progress:
        for block in range(cache.num_blocks if finished else 1):
            values = np.full((cache.block_length(block), 9216), block + 1, np.float16)
            progress.write(cache.write("main", block, values, array))
    array.flush()
    del array
    if finished:
        cache.finish()
    return cache.folder


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    used = make_entry(tmp_path / "cache", "pets-train-0123")
    (used / "basis-ab.npy").write_bytes(b"coordinates")
    (used / "basis-ab.safetensors").write_bytes(b"axes")
    crcs = [file_crc32(used / f"basis-ab.{suffix}") for suffix in ("safetensors", "npy")]
    write_json(used / "basis-ab.json", {"key": {}, "crc32": crcs})
    unused = make_entry(tmp_path / "cache", "pets-train-4567", weights="others")
    (tmp_path / "cache" / "notes").mkdir()
    (tmp_path / "runs" / "study" / "cell").mkdir(parents=True)
    config = {"settings": {}, "weights": {"sha256": "w"}, "dataset": {"name": "pets"}, "num_processes": 1}
    write_json(tmp_path / "runs" / "study" / "cell" / "config.json", config)
    return used, unused


def run(capsys, *arguments):
    code = cache_care.main(arguments)
    captured = capsys.readouterr()
    return code, json.loads(captured.out.splitlines()[-1]) if code == 0 else None, captured.err


def test_list_tells_size_state_and_the_runs_an_entry_is_for(places, capsys):
    code, result, shown = run(capsys, "list")
    assert code == 0
    first, second = result["entries"]
    assert (first["runs"], second["runs"]) == (["study/cell"], [])
    assert first["num_bytes"] == sum(path.stat().st_size for path in places[0].iterdir())
    assert (first["state"], first["num_samples"], first["num_bases"]) == ("complete", NUM_SAMPLES, 1)
    assert "study/cell" in shown
    assert "no run" in shown


def test_an_interrupted_extraction_is_called_unfinished(tmp_path, capsys):
    make_entry(tmp_path / "cache", "pets-train-89ab", finished=False)
    _, result, _ = run(capsys, "list", "--cache-dir", str(tmp_path / "cache"))
    assert [entry["state"] for entry in result["entries"]] == ["unfinished"]


def test_an_entry_of_another_version_is_foreign_and_one_that_is_being_extended_is_unfinished(places, capsys):
    """Neither a lock's files nor a folder count among what an entry holds."""
    used, unused = places
    manifest = json.loads((used / "manifest.json").read_text())
    write_json(used / "manifest.json", manifest | {"key": manifest["key"] | {"format_version": 99}})
    (unused / "progress-0000.jsonl").write_text('["tap", 0, 1]\n')
    before = {path: sum(file.stat().st_size for file in path.iterdir()) for path in places}
    (used / GUARD_NAME).write_text("held")
    (used / "elsewhere").mkdir()
    foreign, extended = run(capsys, "list")[1]["entries"]
    assert (foreign["state"], foreign["num_samples"], foreign["runs"]) == ("foreign", 0, [])
    assert (extended["state"], extended["num_samples"]) == ("unfinished", NUM_SAMPLES)
    assert [foreign["num_bytes"], extended["num_bytes"]] == list(before.values())


@pytest.mark.parametrize("victim", ["main.npy", "basis-ab.npy", "basis-ab.safetensors"])
def test_verify_finds_one_flipped_bit_anywhere(places, capsys, victim):
    assert run(capsys, "verify")[0] == 0
    path = places[0] / victim
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    code, _, shown = run(capsys, "verify")
    assert code == 2
    assert "pets-train-0123" in shown
    assert ("1 of 2 blocks" if victim == "main.npy" else "basis-ab") in shown


def test_verify_finds_an_array_that_was_cut_off(places, capsys):
    os.truncate(places[1] / "main.npy", 1000)
    code, _, shown = run(capsys, "verify")
    assert code == 2
    assert "main.npy can't be read" in shown


@pytest.mark.parametrize("content", ["", '{"key": {', "[" * 9999])
def test_a_manifest_that_can_not_be_read_is_damage(places, capsys, content):
    (places[1] / "manifest.json").write_text(content)
    assert [entry["state"] for entry in run(capsys, "list")[1]["entries"]] == ["complete", "damaged"]
    code, _, shown = run(capsys, "verify")
    assert code == 2
    assert "pets-train-4567: manifest.json can't be read" in " ".join(shown.split())


def test_verify_calls_intact_only_what_it_has_checksums_of(places, tmp_path, capsys):
    used, unused = places
    make_entry(tmp_path / "cache", "pets-train-89ab", finished=False)
    (unused / "tap.npy").write_bytes((unused / "main.npy").read_bytes())
    manifest = json.loads((used / "manifest.json").read_text())
    write_json(used / "manifest.json", manifest | {"key": manifest["key"] | {"format_version": 99}})
    code, result, shown = run(capsys, "verify")
    assert (code, result["verified"]) == (0, [])
    told = "0 entries intact; not judged: pets-train-0123 (foreign), pets-train-4567 (unfinished), pets-train-89ab "
    assert f"{told}(unfinished)" in " ".join(shown.split())


def test_verify_reads_what_is_there_of_an_entry_that_is_being_extended(places, capsys):
    (places[0] / "progress-0000.jsonl").write_text('["tap", 0, 1]\n')
    assert run(capsys, "verify")[1]["verified"] == [places[1].name]
    (places[0] / "main.npy").write_bytes((places[0] / "main.npy").read_bytes()[:-1] + b"x")
    code, _, shown = run(capsys, "verify")
    assert code == 2
    assert "main.npy: 1 of 2 blocks" in " ".join(shown.split())


def test_prune_only_tells_until_it_is_told_yes_and_keeps_what_a_run_uses(places, capsys):
    used, unused = places
    assert run(capsys, "prune")[1]["removed"] == []
    assert unused.is_dir()
    assert run(capsys, "prune", "--older-than", "1", "--yes")[1]["removed"] == []
    for path in unused.iterdir():
        os.utime(path, (time.time() - 3 * 86400,) * 2)
    assert run(capsys, "prune", "--older-than", "1", "--yes")[1]["removed"] == [unused.name]
    assert not unused.exists()
    assert used.is_dir()
    assert (used.parent / "notes").is_dir(), "what training did not write is not touched"


def publish(folder, seed):
    """A published model's file, as far as the cache looks; returns the digest of its convolutions."""
    torch.manual_seed(seed)
    state = {name: torch.randn(shape) for name, shape in STATE_SHAPES.items()}
    folder.mkdir(parents=True)
    save_file({f"backbone.{name}": value for name, value in state.items()}, folder / "model.safetensors")
    return weights_digest(state)


@pytest.mark.parametrize("place", ["model", "last", "snapshots/epoch-0003"])
def test_features_of_a_models_own_convolutions_are_its_runs_and_not_pruned(places, tmp_path, capsys, place):
    """A published file whose convolutions were changed since has features of its own in the cache."""
    _, unused = places
    digest = publish(tmp_path / "runs" / "study" / "cell" / place, 0)
    own = make_entry(tmp_path / "cache", "pets-test-89ab", weights=digest)
    # Some samples of other images, which a fine-tuned model was evaluated on: their digest is said nowhere else.
    part = make_entry(tmp_path / "cache", "elsewhere-test-89ab", weights=digest, data="a part of them")
    entries = {entry["folder"]: entry["runs"] for entry in run(capsys, "list")[1]["entries"]}
    for folder in (own, part):
        assert entries[str(folder.relative_to(tmp_path))] == ["study/cell"]
    assert run(capsys, "prune", "--yes")[1]["removed"] == [unused.name]
    assert own.is_dir()
    assert part.is_dir()


def test_a_dataset_whose_name_is_too_long_for_a_folder_keeps_its_entries(places, tmp_path, capsys):
    used, unused = places
    config = tmp_path / "runs" / "study" / "cell" / "config.json"
    write_json(config, json.loads(config.read_text("utf-8")) | {"dataset": {"name": "p" * 200}})
    make_entry(tmp_path / "cache", f"{part_of_name('p' * 200)}-val-0123")
    assert run(capsys, "prune", "--yes")[1]["removed"] == sorted([used.name, unused.name])


def test_a_model_that_can_not_be_read_keeps_nothing_and_stops_nothing(places, tmp_path, capsys):
    (tmp_path / "runs" / "study" / "cell" / "model").mkdir()
    (tmp_path / "runs" / "study" / "cell" / "model" / "model.safetensors").write_bytes(b"half a mo")
    assert [entry["runs"] for entry in run(capsys, "list")[1]["entries"]] == [["study/cell"], []]


def test_features_of_other_images_that_a_run_was_evaluated_on_are_its_own(places, tmp_path, capsys):
    used, unused = places
    other = make_entry(tmp_path / "cache", "elsewhere-test-89ab", data="other images")
    assert {path.name for path in (other, unused)} == {
        entry["folder"].split("/")[-1] for entry in run(capsys, "list")[1]["entries"] if not entry["runs"]
    }
    where = tmp_path / "runs" / "study" / "cell" / "evaluation" / "test-best-on-elsewhere-12345678"
    where.mkdir(parents=True)
    write_json(where / "metrics.json", {"images_sha256": "other images"})
    assert run(capsys, "prune", "--yes")[1]["removed"] == [unused.name]
    assert used.is_dir()
    assert other.is_dir()


def test_a_named_entry_goes_even_if_a_run_uses_it_and_a_wrong_name_removes_nothing(places, capsys):
    used, unused = places
    code, _, shown = run(capsys, "prune", "--entries", unused.name, "nothing", "--yes")
    assert code == 2
    assert "--entries names nothing" in shown
    assert unused.is_dir()
    assert run(capsys, "prune", "--entries", used.name, "--yes")[1]["removed"] == [used.name]
    assert (used.is_dir(), unused.is_dir()) == (False, True)


def test_a_folder_that_is_not_there_is_named(tmp_path, capsys):
    code, _, shown = run(capsys, "list", "--cache-dir", str(tmp_path / "nowhere"))
    assert code == 2
    assert "nowhere" in shown


def test_nothing_is_pruned_while_an_entry_is_being_written(places, capsys):
    used, unused = places
    with folder_lock(unused, print):
        code, _, shown = run(capsys, "prune", "--entries", used.name, unused.name, "--yes")
        assert code == 2
        assert f"{unused.name} is in use by process {os.getpid()}" in shown
        assert "Removed" not in shown
        assert used.is_dir()
    assert run(capsys, "prune", "--entries", used.name, unused.name, "--yes")[1]["removed"] == [used.name, unused.name]
    assert not used.exists()
