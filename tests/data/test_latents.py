"""The latents folder: read back as written, normalised over the training split, refused when damaged."""

import json

import numpy as np
import pytest
import torch

from diffgs_diffusers.data.latents import (
    LatentDataset,
    LatentRecord,
    latent_path,
    read_latents,
    write_index,
    write_latents,
)

CHANNELS, LENGTH, VERSIONS = 3, 8, 4


def make_record(object_id: str, split: str = "train") -> LatentRecord:
    versions = VERSIONS if split == "train" else 1
    captions = [[f"a red {object_id}", f"{object_id} in colour {v}"] for v in range(versions)]
    return LatentRecord(object_id, split, "chair", 0.5, captions, [f"a {object_id}"])


def make_mean(seed: int, versions: int) -> torch.Tensor:
    noise = torch.randn(versions, CHANNELS, LENGTH, generator=torch.Generator().manual_seed(seed))
    return noise * torch.tensor([0.5, 2.0, 5.0])[:, None] + torch.tensor([1.0, -3.0, 0.0])[:, None]


def make_pictures(versions: int) -> tuple[torch.Tensor, torch.Tensor]:
    views = torch.arange(versions * 2 * 2 * 5 * 3).to(torch.uint8).view(versions, 2, 2, 5, 3)
    return views, torch.arange(4.0 * versions).view(versions, 2, 2)


@pytest.fixture
def folder(tmp_path):
    records = [make_record("stool"), make_record("sofa"), make_record("bench", "validation")]
    for seed, record in enumerate(records):
        mean = make_mean(seed, len(record.captions))
        pictures = make_pictures(len(mean))
        write_latents(tmp_path, record, mean, torch.full_like(mean, -4.0), pictures)
    write_index(tmp_path, [record.id for record in records], {"seed": 0})
    return tmp_path


def test_latents_are_read_back_in_half_precision(folder):
    record, tensors = read_latents(folder, "sofa")
    assert record == make_record("sofa")
    assert tensors["mean"].dtype == torch.float16
    torch.testing.assert_close(tensors["mean"].float(), make_mean(1, VERSIONS), rtol=1e-3, atol=1e-3)


def test_statistics_are_those_of_the_training_split(folder):
    train = torch.cat([make_mean(0, VERSIONS), make_mean(1, VERSIONS)])
    settings = json.loads((folder / "latents.json").read_text())
    np.testing.assert_allclose(settings["latents_mean"], train.mean((0, 2)), atol=5e-3)
    np.testing.assert_allclose(settings["latents_std"], train.std((0, 2), correction=0), rtol=5e-3)
    dataset = LatentDataset(folder)
    normalised = torch.stack([dataset.latents(i, v) for i in range(2) for v in range(VERSIONS)])
    torch.testing.assert_close(normalised.mean((0, 2)), torch.zeros(CHANNELS), atol=1e-3, rtol=0)
    torch.testing.assert_close(normalised.std((0, 2), correction=0), torch.ones(CHANNELS), atol=1e-3, rtol=0)
    assert dataset.latent_shape == (CHANNELS, LENGTH)


def test_splits_are_apart(folder):
    assert [record.id for record in LatentDataset(folder, "train").records] == ["stool", "sofa"]
    assert [record.id for record in LatentDataset(folder, "validation").records] == ["bench"]
    with pytest.raises(ValueError, match="no latents of the 'test' split"):
        LatentDataset(folder, "test")


def test_posterior_noise_has_the_stored_variance(folder):
    dataset = LatentDataset(folder)
    noise = torch.ones(CHANNELS, LENGTH)
    shift = (dataset.latents(0, 0, noise) - dataset.latents(0, 0)) * dataset.std
    torch.testing.assert_close(shift, torch.full_like(shift, float(np.exp(-2.0))), rtol=1e-3, atol=1e-3)


def test_pictures_of_versions_are_read_back_with_their_sides(folder):
    dataset, (views, sides) = LatentDataset(folder), make_pictures(VERSIONS)
    assert dataset.num_views == 2
    assert torch.equal(dataset.view(1, 2, 1), views[2, 1])
    assert torch.equal(dataset.side(1, 2, 1), sides[2, 1])


def test_a_folder_without_pictures_says_how_to_make_them(tmp_path):
    write_latents(tmp_path, make_record("stool"), make_mean(0, VERSIONS))
    write_index(tmp_path, ["stool"], {})
    with pytest.raises(ValueError, match=r"has no pictures: run encode_latents\.py with --view_size"):
        _ = LatentDataset(tmp_path).num_views


def test_an_unfinished_folder_is_refused(tmp_path):
    write_latents(tmp_path, make_record("stool"), make_mean(0, VERSIONS))
    with pytest.raises(FileNotFoundError, match=r"latents\.json: run training/encode_latents\.py"):
        LatentDataset(tmp_path)


def test_another_format_is_refused(folder):
    (folder / "latents.json").write_text('{"format_version": 99}')
    with pytest.raises(ValueError, match="format 99"):
        LatentDataset(folder)


def test_a_damaged_file_is_named(folder):
    path = latent_path(folder, "sofa")
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(OSError, match=r"sofa\.safetensors cannot be read .*encode_latents"):
        LatentDataset(folder)


def test_what_cannot_be_stored_is_refused_and_leaves_nothing(tmp_path):
    mean = make_mean(0, VERSIONS)
    with pytest.raises(ValueError, match="not finite in half precision"):
        write_latents(tmp_path, make_record("stool"), mean + 1e6)
    with pytest.raises(ValueError, match="3 versions"):
        write_latents(tmp_path, make_record("stool"), mean[:3])
    assert not list(tmp_path.rglob("*.safetensors"))
    write_latents(tmp_path, make_record("bench", "validation"), mean[:1])
    with pytest.raises(ValueError, match="no object in its train split"):
        write_index(tmp_path, ["bench"], {})


def test_posterior_noise_needs_log_variances(tmp_path):
    write_latents(tmp_path, make_record("stool"), make_mean(0, VERSIONS))
    write_index(tmp_path, ["stool"], {})
    with pytest.raises(ValueError, match="--save_logvar"):
        LatentDataset(tmp_path).latents(0, 0, torch.zeros(CHANNELS, LENGTH))
