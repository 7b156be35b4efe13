"""The sharing head: what it changes, where, and that a VAE without one is as before."""

from __future__ import annotations

import math

import pytest
import torch

from diffgs_diffusers.extraction import ExtractionConfig, extract_gaussians, share_crowded
from diffgs_diffusers.functional.sharing import equal_sharing
from diffgs_diffusers.functional.spacing import even_spacing
from diffgs_diffusers.models import GaussianVAE
from diffgs_diffusers.models.sharing import SharingHead
from tests.tiny_models import tiny_vae, vae_with_surface

COUNT = 3000
CROWDED = ExtractionConfig(finest_spacing=2.0)


def known(count: int = 50) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "features": torch.randn(count, 27, generator=generator),
        "spacing": 0.1 + torch.rand(count, generator=generator),
        "coarse": 1 + torch.rand(count, generator=generator),
        "scales": 0.1 + torch.rand(count, 3, generator=generator),
        "opacities": torch.rand(count, generator=generator),
    }


def trained_head() -> SharingHead:
    """One whose last layers are not zero any more."""
    torch.manual_seed(0)
    head = SharingHead(27, 16).eval()
    for network in (head.from_neighbours, head.from_planes):
        torch.nn.init.normal_(network.proj_out.weight)
    return head


def test_a_new_head_changes_nothing():
    head, values = SharingHead(27, 16), known()
    for told, equal in zip(head(**values, finest=0.5), equal_sharing(values["spacing"], 0.5), strict=True):
        assert torch.equal(told, equal)


def test_a_trained_head_changes_crowded_gaussians_only():
    values = known()
    changes = [t - e for t, e in zip(trained_head()(**values, finest=0.5), equal_sharing(values["spacing"], 0.5))]
    crowded = values["spacing"] < 0.5
    for change in changes:
        assert (change[~crowded] == 0).all() and (change[crowded] != 0).all()


def test_opacities_fall_by_half_of_what_is_learned():
    """Seen through the inverse of the bound: of what takes opacity away eval mode applies half, of the rest all."""
    head, values = trained_head(), known()
    head.feature_noise = 0.0
    values["spacing"] = torch.full_like(values["spacing"], 0.3)
    for network in (head.from_neighbours, head.from_planes):
        network.proj_out.weight.data *= 0.1  # away from the ends of the bound
    shares, crowding = equal_sharing(values["spacing"], 0.5)[1], math.log(0.5 / 0.3)
    (growth, cautious), (all_growth, learned) = (head.train(mode)(**values, finest=0.5) for mode in (False, True))
    inner, outer = (torch.atanh((shares - told) / 1.2 / crowding) for told in (cautious, learned))
    assert (outer > 0).any() and (outer < 0).any()
    torch.testing.assert_close(inner, torch.where(outer > 0, outer / 2, outer), atol=1e-4, rtol=1e-3)
    assert torch.equal(growth, all_growth)


def test_changes_stay_within_their_bounds():
    head, values = trained_head(), known()
    torch.nn.init.normal_(head.from_planes.proj_out.weight, std=1e3)
    values["spacing"] = torch.full_like(values["spacing"], 0.001)
    values["opacities"][:2] = torch.tensor([0.0, 1.0])
    growth, share = head(**values, finest=0.5)
    assert growth.isfinite().all() and share.isfinite().all()
    assert growth.exp().max() <= 2 * 8**0.4 + 1e-4 and growth.exp().min() >= 2 / 8**0.4 - 1e-4


def test_standardised_features_are_what_the_head_sees():
    features = 5 + 3 * torch.randn(2000, 27, generator=torch.Generator().manual_seed(0))
    head, seen = trained_head(), []
    head.standardize_(features)
    head.from_planes.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    head(**(known(2000) | {"features": features}), finest=0.5)
    torch.testing.assert_close(seen[0][:, :27].mean(0), torch.zeros(27), atol=1e-3, rtol=0)
    torch.testing.assert_close(seen[0][:, :27].std(0), torch.ones(27), atol=1e-2, rtol=0)


@pytest.fixture(scope="module")
def planes() -> torch.Tensor:
    vae = vae_with_surface()
    latents = torch.randn(1, 4, vae.latent_length, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return vae.decode(vae.denormalize_latents(latents)).planes[0]


def vae_with_head() -> GaussianVAE:
    vae = vae_with_surface()
    vae.sharing = trained_head()
    return vae


def test_extraction_asks_the_head(planes):
    without, having = (
        extract_gaussians(vae, planes, COUNT, config=CROWDED) for vae in (vae_with_surface(), vae_with_head())
    )
    assert torch.equal(without.means, having.means) and torch.equal(without.sh0, having.sh0)
    assert not torch.equal(without.scales, having.scales)
    assert not torch.equal(without.opacities, having.opacities)
    assert having.validate().opacities.max() <= 1


def test_the_head_is_not_asked_where_there_is_room(planes):
    vae = vae_with_head()
    vae.sharing.forward = lambda *args: pytest.fail("nothing is crowded")
    extract_gaussians(vae, planes, 50, config=ExtractionConfig(finest_spacing=0.1))
    extract_gaussians(vae, planes, COUNT, config=ExtractionConfig(finest_spacing=0))


def test_chunks_do_not_change_the_result(planes):
    vae = vae_with_head()
    plain = extract_gaussians(vae, planes, COUNT, config=ExtractionConfig(finest_spacing=0))
    spacing = even_spacing(plain.means)
    small, large = (share_crowded(vae, planes, plain, spacing, 2.0, chunk) for chunk in (100, COUNT))
    torch.testing.assert_close(small.scales, large.scales)
    torch.testing.assert_close(small.opacities, large.opacities)


def test_a_vae_keeps_its_head_through_a_folder(tmp_path):
    vae = tiny_vae(sharing_channels=8)
    torch.nn.init.normal_(vae.sharing.from_planes.proj_out.weight)
    vae.save_pretrained(tmp_path)
    loaded = GaussianVAE.from_pretrained(tmp_path)
    assert torch.equal(loaded.sharing.from_planes.proj_out.weight, vae.sharing.from_planes.proj_out.weight)
    assert tiny_vae().sharing is None


def test_what_a_head_asks_for_ends_at_an_opacity_of_one():
    vae = tiny_vae(sharing_channels=16).eval()
    planes = torch.randn(3, vae.config.plane_channels, 16, 16, generator=torch.Generator().manual_seed(0))
    plain = extract_gaussians(vae_with_surface(), planes, COUNT, config=ExtractionConfig(finest_spacing=0))
    with torch.no_grad():
        vae.sharing.from_neighbours.proj_out.bias.fill_(-100.0)
        drawn = share_crowded(vae, planes, plain, even_spacing(plain.means), 8.0).validate()
    assert (drawn.opacities == 1).any() and (drawn.opacities > plain.opacities).any()
