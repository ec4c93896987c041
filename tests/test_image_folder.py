"""Folders of images: what is read, how, and what is refused by name."""

import numpy as np
import pytest
from PIL import Image

from alexnet_skip import image_folder
from alexnet_skip.data import load_dataset
from alexnet_skip.errors import UserError


def save(path, size=(32, 32), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(len(str(path))).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(values).convert(mode).save(path, **options)
    return values


@pytest.fixture
def folder(tmp_path):
    for split in ("train", "test"):
        for name in ("b", "a"):
            for i in range(3):
                save(tmp_path / "pets" / split / name / f"{i}.png")
    return tmp_path / "pets"


def test_small_square_images_stay_as_they_are_in_sorted_order(folder):
    values = save(folder / "train" / "a" / "0.png")
    dataset = load_dataset(str(folder))
    train = dataset.splits["train"]
    assert (dataset.name, dataset.class_names) == ("pets", ("a", "b"))
    assert train.images.shape == (6, 32, 32, 3)
    assert list(train.labels) == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(train.images[0], values)
    assert load_dataset(str(folder)).splits["train"].digest == train.digest


def test_images_of_several_sizes_become_224(folder):
    save(folder / "train" / "a" / "wide.jpg", (300, 200))
    save(folder / "train" / "b" / "dot.png", (1, 1))
    assert load_dataset(str(folder)).splits["test"].images.shape[1:] == (224, 224, 3)


@pytest.mark.parametrize(
    ("name", "mode"),
    [("x.png", "L"), ("x.png", "RGBA"), ("x.png", "P"), ("x.jpg", "CMYK"), ("x.png", "1"), ("x.png", "LA")],
)
def test_every_mode_becomes_rgb(tmp_path, name, mode):
    save(tmp_path / name, mode=mode)
    assert image_folder.read_image(tmp_path / name, None).shape == (32, 32, 3)


def test_16_bit_grey_is_scaled_not_clipped(tmp_path):
    ramp = np.linspace(0, 65535, 32 * 32).astype(np.uint16).reshape(32, 32)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    values = image_folder.read_image(tmp_path / "deep.png", None)
    np.testing.assert_allclose(values[..., 0], ramp / 257, atol=1)


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert image_folder.read_image(tmp_path / "x.gif", None)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n\x00\x00"])
def test_an_unreadable_file_is_named_or_left_out_on_request(folder, content):
    (folder / "train" / "a" / "bad.png").write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.png can't be read as an image .*--skip-unreadable"):
        load_dataset(str(folder))
    dataset = load_dataset(str(folder), skip_unreadable=True)
    assert dataset.skipped == ("train/a/bad.png",)
    assert len(dataset.splits["train"].labels) == 6


def test_a_truncated_image_is_named(folder):
    path = folder / "train" / "a" / "cut.jpg"
    save(path)
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(UserError, match=r"cut\.jpg"):
        load_dataset(str(folder))


def test_folders_that_cannot_be_a_dataset_are_refused_by_name(folder, tmp_path):
    with pytest.raises(UserError, match="no folder train"):
        load_dataset(str(tmp_path))
    (tmp_path / "empty" / "train").mkdir(parents=True)
    with pytest.raises(UserError, match="holds no class folder"):
        load_dataset(str(tmp_path / "empty"))
    save(tmp_path / "one" / "train" / "only" / "0.png")
    with pytest.raises(UserError, match=r"one class \(only\)"):
        load_dataset(str(tmp_path / "one"))
    (folder / "test" / "c").mkdir()
    with pytest.raises(UserError, match="differ in the classes c"):
        load_dataset(str(folder))
    (folder / "train" / "c").mkdir()
    with pytest.raises(UserError, match="c holds no image"):
        load_dataset(str(folder))


def test_worker_processes_read_the_same_as_one(folder, monkeypatch):
    alone = load_dataset(str(folder)).splits["train"].images
    monkeypatch.setattr(image_folder, "PARALLEL_FILES", 2)
    monkeypatch.setattr(image_folder, "_CHUNK", 4)
    np.testing.assert_array_equal(load_dataset(str(folder)).splits["train"].images, alone)
