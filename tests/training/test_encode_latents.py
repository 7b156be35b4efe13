"""encode_latents.py on a tiny dataset: what is written, captions that stay true, going on after a stop."""

import json
import shutil
from itertools import product

import numpy as np
import pytest
import torch

from diffgs_diffusers.data.captions import colors_in
from diffgs_diffusers.data.dataset import GaussianObjectDataset
from diffgs_diffusers.data.latents import LatentDataset, latent_path, read_latents
from diffgs_diffusers.data.object_views import picture, side_camera, small_view
from diffgs_diffusers.functional.spherical_harmonics import sh0_to_rgb
from diffgs_diffusers.models import GaussianVAE
from diffgs_diffusers.training.encoding import object_version, object_versions, version_views, weights_digest

AUGMENTATIONS = 3
VIEW_SIZE = 16


@pytest.fixture
def words(dataset_folder, vae_folder, tmp_path):
    return [
        f"--pretrained_model_name_or_path={vae_folder}",
        f"--train_data_dir={dataset_folder}",
        f"--output_dir={tmp_path / 'latents'}",
        f"--num_augmentations={AUGMENTATIONS}",
        "--save_logvar",
        "--batch_size=3",
    ]


def test_every_object_but_the_test_split_is_encoded(encode_latents, words, tmp_path, dataset_folder, vae_folder):
    encode_latents.main(words)
    latents = tmp_path / "latents"
    train, validation = LatentDataset(latents, "train"), LatentDataset(latents, "validation")
    assert [record.id for record in train.records] == ["chair_0", "chair_1", "chair_2", "chair_3"]
    assert [record.id for record in validation.records] == ["chair_4"]
    assert not latent_path(latents, "chair_5").exists()
    assert train.latent_shape == (4, GaussianVAE.from_pretrained(vae_folder).latent_length)
    assert read_latents(latents, "chair_0")[1]["mean"].shape[0] == 1 + AUGMENTATIONS
    assert read_latents(latents, "chair_4")[1]["mean"].shape[0] == 1
    assert [record.weight for record in train.records] == [0.5, 1.5, 2.5, 3.5]


@torch.no_grad()
def test_the_first_version_is_the_object_itself(encode_latents, words, tmp_path, dataset_folder, vae_folder):
    encode_latents.main(words)
    vae = GaussianVAE.from_pretrained(vae_folder)
    expected = vae.encode(GaussianObjectDataset(dataset_folder).splats(2)).latent_dist
    tensors = read_latents(tmp_path / "latents", "chair_2")[1]
    torch.testing.assert_close(tensors["mean"][0].float(), expected.mean[0], rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(tensors["logvar"][0].float(), expected.logvar[0], rtol=2e-3, atol=2e-3)
    assert (tensors["mean"][1] - tensors["mean"][0]).abs().max() > 1e-3


def test_the_vae_learns_its_statistics_and_keeps_its_weights(encode_latents, words, tmp_path, vae_folder):
    digest = weights_digest(vae_folder)
    config = json.loads((vae_folder / "config.json").read_text())
    encode_latents.main(words)
    settings = json.loads((tmp_path / "latents" / "latents.json").read_text())
    after = json.loads((vae_folder / "config.json").read_text())
    assert after["latents_mean"] == settings["latents_mean"]
    assert after["latents_std"] == settings["latents_std"]
    assert weights_digest(vae_folder) == digest
    assert sorted(path.name for path in vae_folder.iterdir()) == [
        "config.json",
        "diffusion_pytorch_model.safetensors",
    ]
    same = {key for key in config if key not in ("latents_mean", "latents_std")}
    assert {key: after[key] for key in same} == {key: config[key] for key in same}
    vae, train = GaussianVAE.from_pretrained(vae_folder), LatentDataset(tmp_path / "latents")
    raw = read_latents(tmp_path / "latents", "chair_1")[1]["mean"][2].float()
    torch.testing.assert_close(vae.normalize_latents(raw[None])[0], train.latents(1, 2))


def test_a_stopped_run_goes_on_to_the_same_result(encode_latents, words, tmp_path):
    words = [*words, f"--view_size={VIEW_SIZE}"]
    encode_latents.main(words)
    whole = tmp_path / "latents"
    shutil.copytree(whole, tmp_path / "copy")
    latent_path(whole, "chair_1").unlink()
    kept = latent_path(whole, "chair_0")
    written = kept.stat().st_mtime_ns
    (whole / "latents.json").unlink()
    encode_latents.main(words)
    assert kept.stat().st_mtime_ns == written
    for path in (tmp_path / "copy").rglob("*"):
        if path.is_file():
            assert (whole / path.relative_to(tmp_path / "copy")).read_bytes() == path.read_bytes(), path


def test_other_settings_or_another_vae_need_another_folder(encode_latents, words, vae_folder):
    encode_latents.main(words)
    with pytest.raises(ValueError, match="num_augmentations was 3, is 5"):
        encode_latents.main([*words, "--num_augmentations=5"])
    with pytest.raises(ValueError, match="view_size was 0, is 16"):
        encode_latents.main([*words, f"--view_size={VIEW_SIZE}"])
    vae = GaussianVAE.from_pretrained(vae_folder)
    torch.nn.init.ones_(next(vae.parameters()))
    vae.save_pretrained(str(vae_folder))
    with pytest.raises(ValueError, match="vae_sha256"):
        encode_latents.main(words)


def test_captions_of_versions_name_the_colours_of_versions(dataset_folder):
    """The single material's colour is read off the version's Gaussians and must be named in all its captions."""
    from diffgs_diffusers.data.colors import nearest_color_name

    versions, record = object_versions(GaussianObjectDataset(dataset_folder), 0, 20, seed=0)
    assert len(versions) == len(record.captions) == 21
    named = set()
    for splats, captions in zip(versions, record.captions):
        rgb = sh0_to_rgb(splats.sh0[:, 0]).mean(0).numpy().clip(0, 1)
        words = {color for caption in captions for color in colors_in(caption, ["armchair", "chair"])}
        assert len(words) == 1
        named |= words
        assert any("armchair" in caption for caption in captions)
        assert any("armchair" not in caption for caption in captions)
        if np.array_equal(splats.sh0, versions[0].sh0):
            assert words == {nearest_color_name(rgb)} == {"red"}
    assert len(named) > 3
    assert record.plain_captions == ["an armchair", "a chair"]


def test_versions_depend_on_the_object_and_the_seed_alone(dataset_folder):
    dataset = GaussianObjectDataset(dataset_folder)
    few, record = object_versions(dataset, 1, 2, seed=7)
    many, longer = object_versions(dataset, 1, 5, seed=7)
    other, _ = object_versions(dataset, 1, 2, seed=8)
    assert record.captions == longer.captions[:3]
    assert torch.equal(few[2].means, many[2].means)
    assert not torch.equal(few[2].means, other[2].means)


def test_one_version_is_that_of_all_versions(dataset_folder):
    dataset = GaussianObjectDataset(dataset_folder)
    for index in range(2):
        versions, _ = object_versions(dataset, index, AUGMENTATIONS, seed=7)
        for number in reversed(range(1 + AUGMENTATIONS)):
            alone = object_version(dataset, index, number, seed=7)
            assert torch.equal(alone.to_tensor(), versions[number].to_tensor())
    assert len({version.means.sum().item() for version in versions}) == 1 + AUGMENTATIONS


def test_pictures_show_their_versions(encode_latents, words, tmp_path, dataset_folder):
    encode_latents.main([*words, f"--view_size={VIEW_SIZE}", "--num_views=2"])
    dataset, train = GaussianObjectDataset(dataset_folder), LatentDataset(tmp_path / "latents")
    seen = []
    assert train.num_views == 2
    for index, version, number in product(range(len(train)), range(1 + AUGMENTATIONS), range(2)):
        view, splats = train.view(index, version, number), object_version(dataset, index, version, seed=0)
        assert view.shape == (VIEW_SIZE, VIEW_SIZE, 3)
        assert view.dtype == torch.uint8
        side = tuple(train.side(index, version, number).tolist())
        again = small_view(picture(splats, side_camera(side, 2 * VIEW_SIZE)), VIEW_SIZE)
        assert (view.float() - again.float()).abs().max() <= 2  # sides are kept in single precision
        seen.append(view)
        # On white, whatever lies before it takes away what its colour lacks.
        lacking = 255 - view.float().flatten(0, 1).mean(dim=0)
        expected = 1 - sh0_to_rgb(splats.sh0[:, 0]).mean(dim=0)
        assert torch.cosine_similarity(lacking, expected, dim=0) > 0.99
    assert len(torch.stack(seen).flatten(1).unique(dim=0)) == len(seen)
    assert LatentDataset(tmp_path / "latents", "validation").view(0, 0, 1).shape == (VIEW_SIZE, VIEW_SIZE, 3)


def test_without_a_size_no_pictures_are_stored(encode_latents, words, tmp_path):
    encode_latents.main(words)
    assert read_latents(tmp_path / "latents", "chair_0")[1].keys() == {"mean", "logvar"}


def test_a_picture_depends_on_its_version_and_the_seed_alone(dataset_folder):
    versions, record = object_versions(GaussianObjectDataset(dataset_folder), 1, AUGMENTATIONS, seed=7)

    def seen(splats, seed):
        return version_views(splats, record, VIEW_SIZE, 1, seed)[0]

    views = seen(versions, 7)
    assert torch.equal(seen(versions[:2], 7), views[:2])
    assert not torch.equal(seen(versions[:2], 8), views[:2])
    # The same object twice is seen from two sides.
    twice = seen([versions[0]] * 2, 7)
    assert not torch.equal(twice[0], twice[1])


@pytest.mark.parametrize(
    ("caption", "names", "colors"),
    [
        ("a red armchair", ["armchair", "chair"], ["red"]),
        ("a photo of a grey and white orange tree", ["orange tree"], ["grey", "white"]),
        ("orange tree in green", ["orange tree"], ["green"]),
        ("an armchair", ["armchair"], []),
    ],
)
def test_colours_of_a_caption(caption, names, colors):
    assert colors_in(caption, names) == colors


@pytest.mark.parametrize("extra", ["--num_augmentations=-1", "--batch_size=0", "--view_size=-1", "--num_views=0"])
def test_bad_arguments_end_with_code_2(encode_latents, words, extra):
    with pytest.raises(SystemExit) as stopped:
        encode_latents.main([*words, extra])
    assert stopped.value.code == 2
