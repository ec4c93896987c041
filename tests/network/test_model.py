"""The whole network: published, loaded, used for prediction."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import alexnet_skip
from alexnet_skip.network import head
from alexnet_skip.network import model as network
from alexnet_skip.network.backbone import FrozenAlexNet
from alexnet_skip.network.head import SkipHead
from alexnet_skip.network.model import AlexNetWithSkip
from alexnet_skip.network.state_files import CONVOLUTIONS, HEAD, PROJECTION
from alexnet_skip.network.weights import load_weights
from alexnet_skip.settings.records import ModelConfig
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import file_digest, read_json, write_json

CONFIG = ModelConfig("conv", ("cat", "dog"), image_size=(224, 224), epoch=3)


@pytest.fixture(scope="module", autouse=True)
def narrow():
    """Heads of 12 MB instead of 168: nothing here depends on their width."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head, "HIDDEN_SIZES", (32, 16))
        yield


@pytest.fixture(scope="module")
def backbone() -> FrozenAlexNet:
    return FrozenAlexNet(load_weights("random").state)


@pytest.fixture
def published(tmp_path, backbone):
    torch.manual_seed(1)
    trained = SkipHead("conv", 2)
    network.publish(tmp_path / "model", trained, backbone, CONFIG)
    return tmp_path / "model", trained


def test_a_published_model_loads_alone_and_predicts_the_same(published, backbone):
    folder, trained = published
    model, config = network.load_published(folder)
    images = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    main, tap = backbone(images)
    with torch.no_grad():
        torch.testing.assert_close(model(images), trained.eval()(main.flatten(1), tap.flatten(1)))
    assert model.class_names == ("cat", "dog")
    assert config.epoch == 3


def test_a_damaged_model_is_refused_with_its_path(published):
    folder, _ = published
    whole = (folder / "model.safetensors").read_bytes()
    for damage in (whole[:-10], whole[:100], b"", b"\xff" * 64 + whole[64:]):
        (folder / "model.safetensors").write_bytes(damage)
        with pytest.raises(UserError, match=r"model\.safetensors can't be loaded"):
            network.load_published(folder)


def test_weights_that_are_not_finite_or_of_another_shape_are_refused(published):
    """Whatever wrote the file: one that fits its checksum, or has none."""
    folder, _ = published
    config = read_json(folder / "config.json")
    known = {name: value for name, value in config.items() if name not in ("model_sha256", "files")}
    write_json(folder / "config.json", known)
    state = load_file(str(folder / "model.safetensors"))
    save_file(state | {"trained.head.fc3.bias": torch.tensor([1.0, float("nan")])}, str(folder / "model.safetensors"))
    with pytest.raises(UserError, match="not finite"):
        network.load_published(folder)
    save_file(state | {"trained.head.fc3.bias": torch.zeros(3)}, str(folder / "model.safetensors"))
    with pytest.raises(UserError, match="can't be loaded"):
        network.load_published(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_a_damaged_config_is_refused_with_its_path(published, text):
    folder, _ = published
    (folder / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json"):
        network.load_published(folder)


def test_a_model_folder_holds_all_it_needs_wherever_it_is_moved(published, tmp_path):
    folder, _ = published
    moved = tmp_path / "elsewhere" / "with a space"
    moved.parent.mkdir()
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    before = AlexNetWithSkip.from_pretrained(folder.parent).predict(image)[0]
    folder.rename(moved)
    after = AlexNetWithSkip.from_pretrained(str(moved)).predict(image)[0]
    np.testing.assert_array_equal(after.probabilities, before.probabilities)
    assert (moved / "README.md").is_file()


def test_a_model_of_one_file_from_before_loads_as_it_was(published):
    folder, _ = published
    images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        expected = network.load_published(folder)[0](images)
    state = {k: v for path in folder.glob("*.safetensors") for k, v in load_file(str(path)).items()}
    (folder / CONVOLUTIONS).unlink()
    save_file(state, str(folder / HEAD))
    config = {name: value for name, value in read_json(folder / "config.json").items() if name != "files"}
    write_json(folder / "config.json", config | {"model_sha256": file_digest(folder / HEAD)})
    with torch.no_grad():
        torch.testing.assert_close(network.load_published(folder)[0](images), expected)
    assert network.published_weights_digest(folder) == network.load_published(folder)[0].backbone.weights_digest
    write_json(folder / "config.json", config | {"model_sha256": "0" * 64})
    with pytest.raises(UserError, match="does not fit the checksum"):
        network.load_published(folder)


def test_each_file_of_a_model_is_held_against_its_checksum(published, backbone):
    """A file of another model in its place is sound in itself, and still refused."""
    folder, _ = published
    whole = (folder / CONVOLUTIONS).read_bytes()
    state = load_file(str(folder / CONVOLUTIONS))
    (folder / CONVOLUTIONS).unlink()
    with pytest.raises(UserError, match=r"content of convolutions\.safetensors does not fit"):
        network.load_published(folder)
    save_file(state | {"backbone.0.bias": state["backbone.0.bias"] + 1}, str(folder / CONVOLUTIONS))
    with pytest.raises(UserError, match=r"content of convolutions\.safetensors does not fit"):
        network.load_published(folder)
    (folder / CONVOLUTIONS).write_bytes(whole)
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", config | {"model_sha256": "0" * 64})
    with pytest.raises(UserError, match="does not fit the checksum"):
        network.load_published(folder)


def test_a_projection_of_a_model_that_has_none_any_more_does_not_stay(published, backbone):
    folder, trained = published
    (folder / PROJECTION).write_bytes(b"of the model before")
    network.publish(folder, trained, backbone, CONFIG)
    assert not (folder / PROJECTION).exists()


def test_what_is_no_model_is_refused_with_what_would_be_one(tmp_path):
    with pytest.raises(UserError, match=r"neither a run .* nor a published model"):
        AlexNetWithSkip.from_pretrained(tmp_path)


@pytest.fixture(scope="module")
def small(backbone) -> AlexNetWithSkip:
    torch.manual_seed(2)
    return AlexNetWithSkip(backbone, SkipHead("none", 4), ("a", "b", "c", "d"), (32, 32)).eval()


def test_predictions_are_probabilities_of_the_logits_in_the_order_of_the_images(small, monkeypatch):
    monkeypatch.setattr(network, "PREDICT_IMAGES", 8)
    images = np.random.default_rng(1).integers(0, 256, (8 + 3, 32, 32, 3), dtype=np.uint8)
    predictions = small.predict(images)
    with torch.no_grad():
        expected = small(torch.from_numpy(images)).softmax(1).numpy()
    np.testing.assert_allclose(np.stack([p.probabilities for p in predictions]), expected, atol=1e-6)
    first = predictions[0]
    assert first.label == small.class_names[expected[0].argmax()] == first.top(2)[0][0]
    assert first.probability == first.probabilities.max() >= first.top(2)[1][1]
    assert len(first.top(9)) == 4
    assert sum(p for _, p in first.top(4)) == pytest.approx(1)
    assert str(first).startswith(f"{first.label} {100 * first.probability:.1f} %, ")


def test_a_file_a_pil_image_and_an_array_of_one_image_are_predicted_alike(small, tmp_path):
    array = np.random.default_rng(2).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    Image.fromarray(array).save(tmp_path / "a.png")
    forms = (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(array), array)
    alone = [small.predict(form)[0].probabilities for form in forms]
    together = [prediction.probabilities for prediction in small.predict(list(forms))]
    for probabilities in (*alone, *together):
        np.testing.assert_allclose(probabilities, alone[0], atol=1e-6)


def test_a_folder_is_the_images_in_it_and_what_else_it_holds_is_told(small, tmp_path):
    arrays = np.random.default_rng(4).integers(0, 256, (2, 20, 20, 3), dtype=np.uint8)
    (tmp_path / "inner").mkdir()
    for name, array in zip(("b.png", "inner/a.png"), arrays, strict=True):
        Image.fromarray(array).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("none")
    with pytest.warns(UserWarning, match=r"left out: 1 file \(1 \.txt\)"):
        predictions = small.predict(tmp_path)
    assert [p.file for p in predictions] == [str(tmp_path / "b.png"), str(tmp_path / "inner" / "a.png")]
    for prediction, alone in zip(predictions, small.predict(arrays), strict=True):
        np.testing.assert_allclose(prediction.probabilities, alone.probabilities, atol=1e-6)
        assert alone.file == ""


def test_tensors_of_either_order_and_of_floats_are_the_same_images(small):
    images = torch.randint(0, 256, (2, 24, 20, 3), dtype=torch.uint8)
    expected = small.features(images.numpy())
    for form in (images, images.permute(0, 3, 1, 2), images.permute(0, 3, 1, 2) / 255, list(images)):
        np.testing.assert_array_equal(small.features(form), expected)
    with pytest.raises(ValueError, match="values from -1 to 2; give floats from 0 to 1"):
        small.predict(torch.tensor([-1.0, 2.0]).repeat(3, 8, 4))


@pytest.mark.parametrize("mode", ["none", "conv", "identity", "concat"])
def test_embedding_is_what_the_head_makes_of_the_features(backbone, mode):
    torch.manual_seed(3)
    model = AlexNetWithSkip(backbone, SkipHead(mode, 4), ("a", "b", "c", "d"), (32, 32)).eval()
    images = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    main, tap = (part.flatten(1) for part in backbone(images))
    with torch.no_grad():
        layers = model.trained.head.forward_layers(joined := model.trained.skip(main, tap))
        np.testing.assert_allclose(model.embed(images), joined.numpy(), atol=1e-6)
        np.testing.assert_allclose(model.embed(images, layer="logits"), model(images).numpy(), atol=1e-5)
    for layer in ("hidden1", "hidden2"):
        np.testing.assert_allclose(model.embed(images, layer=layer), layers[layer].numpy(), atol=1e-5)
    np.testing.assert_array_equal(model.features(images), main.numpy())
    assert model.features(images).shape == (3, 9216)


def test_a_layer_or_images_that_are_none_are_refused(small):
    with pytest.raises(ValueError, match="layer is 'fc7'; give one of features, hidden1, hidden2, logits"):
        small.embed(np.zeros((8, 8, 3), np.uint8), layer="fc7")
    with pytest.raises(ValueError, match="there is no image"):
        small.features([])
    assert small.predict([]) == []


def test_images_are_squeezed_to_the_size_of_the_training_images_first(small):
    sharp = np.random.default_rng(3).integers(0, 256, (320, 256, 3), dtype=np.uint8)
    blurred = np.asarray(Image.fromarray(sharp).resize((32, 32), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(small.predict(sharp)[0].probabilities, small.predict(blurred)[0].probabilities)


def test_the_class_is_offered_by_the_package_itself():
    assert alexnet_skip.AlexNetWithSkip is AlexNetWithSkip
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        alexnet_skip.Nothing  # noqa: B018
