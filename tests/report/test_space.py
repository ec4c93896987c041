"""What the script gets is what embed.py has left: coordinates, classes, and each point's own thumbnail."""

import base64
import io
import json

import numpy as np
import pytest
from made_report import IMAGES, make_embedding
from made_runs import make_run
from PIL import Image

from alexnet_skip.report import space
from alexnet_skip.report.page import cloud_titles, render
from alexnet_skip.report.subject import find_subject
from alexnet_skip.report.text import load_text
from alexnet_skip.study.source_report import CLASS_NAMES
from alexnet_skip.system.errors import UserError


def unpacked(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def opened(sheet: dict) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(sheet["uri"].partition(",")[2]))))


def test_a_cloud_arrives_as_it_was_left(study):
    clouds = space.find_clouds(find_subject(study.parent, [study.name]))
    assert [cloud.about["epoch"] for cloud in clouds] == [1, 4]
    packed = space.pack_clouds(clouds, ["first", "second"])
    assert [one["title"] for one in packed["clouds"]] == ["first", "second"]
    for cloud, one in zip(clouds, packed["clouds"], strict=True):
        steps = unpacked(one["xyz"], "<i2").reshape(-1, 3).astype(float)
        reach = np.quantile(np.abs(cloud.scores).max(axis=1), 0.998)
        np.testing.assert_allclose(steps / (space.STEPS / 2) * reach, cloud.scores, atol=reach / 10_000)
        np.testing.assert_array_equal(unpacked(one["label"], "<u2"), np.arange(IMAGES) % 10)
        np.testing.assert_array_equal(unpacked(one["predicted"], "<u2"), np.roll(np.arange(IMAGES) % 10, 1))
        np.testing.assert_allclose(unpacked(one["confidence"], np.uint8) / 100, cloud.confidence, atol=0.006)


def test_clouds_of_the_same_images_share_their_thumbnails_and_each_point_has_its_own(study):
    clouds = space.find_clouds(find_subject(study.parent, [study.name]))
    packed = space.pack_clouds(clouds, ["first", "second"])
    (sheet,) = packed["sheets"]
    assert [one["sheet"] for one in packed["clouds"]] == [0, 0]
    side, columns, pixels = sheet["side"], sheet["columns"], opened(sheet)
    for point in (0, 1, 57, IMAGES - 1):
        row, column = divmod(point, columns)
        tile = pixels[row * side : (row + 1) * side, column * side : (column + 1) * side].astype(int)
        assert np.abs(tile - 2 * point).max() <= 6, "of one grey each, as make_embedding draws them"


def test_thumbnails_give_way_to_the_size_of_the_page(rng):
    tiles = rng.integers(0, 256, (400, 32, 32, 3), dtype=np.uint8)
    roomy, narrow = (space.make_sheet(tiles, most) for most in (2_000_000, 40_000))
    assert roomy.side == 32
    assert narrow.side < 32
    assert len(narrow.uri) <= 4 / 3 * 40_000 + 100
    assert narrow.columns == 20


def test_more_points_than_a_page_holds_are_thinned_class_by_class(study, monkeypatch):
    monkeypatch.setattr(space, "MAX_POINTS", 50)
    (cloud, _) = space.find_clouds(find_subject(study.parent, [study.name]))
    packed = space.pack_clouds([cloud], ["one"])["clouds"][0]
    assert packed["n"] == 50
    np.testing.assert_array_equal(np.bincount(unpacked(packed["label"], "<u2")), [5] * 10)


def test_an_embedding_without_thumbnails_and_of_two_coordinates_is_shown_all_the_same(study):
    cloud = space.find_clouds(find_subject(study.parent, [study.name]))[0]
    flat = space.Cloud(**vars(cloud) | {"scores": cloud.scores * [1, 1, 0], "sprite": None})
    packed = space.pack_clouds([flat], ["flat"])
    assert packed["sheets"] == []
    assert packed["clouds"][0]["flat"]
    assert packed["clouds"][0]["sheet"] is None


def test_figures_that_cannot_be_had_are_left_out_of_the_page_and_of_the_clouds_name(tmp_path, rng):
    run = make_run(tmp_path / "run", {}, CLASS_NAMES)
    for epoch, (knn, silhouette, ratio) in ((1, (0.0, -0.25, 0.5)), (4, (None, None, None))):
        about = make_embedding(run, epoch, CLASS_NAMES, rng) / "metrics.json"
        full = {"knn_top1": knn, "silhouette": silhouette, "variance_ratio": ratio}
        about.write_text(json.dumps(json.loads(about.read_text()) | {"separation": {"full": full}}))
    page = render(find_subject(tmp_path, ["run"]), load_text("en"))
    assert "<td>0.00</td><td>-0.250</td><td>0.500</td>" in page
    assert "<td>–</td><td>–</td><td>–</td><td>30 train images</td>" in page
    assert "epoch 4 (test, 120 images)</option>" in page


def test_no_two_embeddings_are_called_alike_and_each_says_what_it_is_of(study, monkeypatch):
    (cloud, _) = space.find_clouds(find_subject(study.parent, [study.name]))
    left = {
        "test-features": "joined by conv",
        "test-features-fit-split": "joined by conv",
        "test-features-main": "main",
        "test-features-main-on-other-0123abcd": "main",
    }
    views = [
        space.Cloud(**vars(cloud) | {"about": cloud.about | {"space": f"features ({view})"}, "name": name})
        for name, view in left.items()
    ]
    titles = cloud_titles(views, load_text("en"))
    told = "epoch 1 (test, 120 images; kNN 50.0 %)"
    assert titles == [
        f"conv-seed0, features (joined by conv), {told}: test-features",
        f"conv-seed0, features (joined by conv), {told}: test-features-fit-split",
        f"conv-seed0, features (main), {told}",
        f"conv-seed0, features (main), {told.replace('test', 'test-on-other-0123abcd')}",
    ]
    monkeypatch.setattr(space, "MAX_POINTS", 50)
    assert "50 of 120 images" in cloud_titles([cloud], load_text("en"))[0]
    assert "이미지 120장 가운데 50장" in cloud_titles([cloud], load_text("ko"))[0]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:900]),
        lambda path: path.write_bytes(b"no picture"),
        lambda path: Image.new("RGB", (37, 41)).save(path),
    ],
)
def test_a_damaged_sheet_of_thumbnails_costs_no_more_than_the_thumbnails(tmp_path, rng, damage):
    run = make_run(tmp_path / "run", {}, CLASS_NAMES)
    (sheet,) = make_embedding(run, 4, CLASS_NAMES, rng).glob("sprite-*.jpg")
    damage(sheet)
    (cloud,) = space.find_clouds(find_subject(tmp_path, ["run"]))
    packed = space.pack_clouds([cloud], ["one"])
    assert packed["sheets"] == []
    assert packed["clouds"][0]["sheet"] is None


def test_an_embedding_that_does_not_say_what_it_is_of_is_named_with_the_command_that_makes_it_again(tmp_path, rng):
    run = make_run(tmp_path / "run", {}, CLASS_NAMES)
    about = make_embedding(run, 4, CLASS_NAMES, rng) / "metrics.json"
    whole = json.loads(about.read_text())
    for lacking in (("epoch",), ("separation",), ("separation", "full", "silhouette")):
        told = json.loads(json.dumps(whole))
        inner = told
        for key in lacking[:-1]:
            inner = inner[key]
        del inner[lacking[-1]]
        about.write_text(json.dumps(told))
        with pytest.raises(UserError, match=rf"damaged .*{lacking[-1]}.*make it again: python embed\.py"):
            space.find_clouds(find_subject(tmp_path, ["run"]))
