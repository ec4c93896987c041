"""What the script gets is what embed.py has left: coordinates, classes, and each point's own thumbnail."""

import base64
import io

import numpy as np
from made_report import IMAGES
from PIL import Image

from alexnet_skip.report import space
from alexnet_skip.report.subject import find_subject


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
