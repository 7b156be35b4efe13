from __future__ import annotations

import pytest
import torch

from diffgs_diffusers.models import DiagonalGaussian, GaussianVAE
from diffgs_diffusers.models.point_encoder import num_point_features, point_features
from tests.factories import random_splats, sphere_splats
from tests.tiny_models import tiny_vae


def test_shapes_from_gaussians_to_functions():
    vae = tiny_vae(sh_degree=1)
    objects = [random_splats(50, sh_degree=1), random_splats(300, sh_degree=3, seed=1)]
    posterior = vae.encode(objects).latent_dist
    assert posterior.mean.shape == (2, 4, vae.latent_length) == (2, 4, 48)
    planes = vae.decode(posterior.mode()).planes
    assert planes.shape == (2, 3, 8, 16, 16)
    functions = vae.query(planes, torch.rand(2, 7, 3) - 0.5)
    assert functions.probability.shape == (2, 7)
    assert functions.sh.shape == (2, 7, 4, 3)
    assert functions.scales.shape == (2, 7, 3) and (functions.scales > 0).all()
    torch.testing.assert_close(functions.quats.norm(dim=-1), torch.ones(2, 7))
    assert ((functions.opacities >= 0) & (functions.opacities <= 1)).all()


def test_encoder_does_not_mind_the_order_of_gaussians():
    vae, splats = tiny_vae(), random_splats(200)
    shuffled = splats.select(torch.randperm(200, generator=torch.Generator().manual_seed(5)))
    first, second = vae.encode(splats).latent_dist.mean, vae.encode(shuffled).latent_dist.mean
    torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-4)


def test_an_object_in_a_batch_is_encoded_as_alone():
    vae, objects = tiny_vae(), [random_splats(200), random_splats(200, seed=1)]
    together = vae.encode(objects).latent_dist.mean
    torch.testing.assert_close(together[1:], vae.encode(objects[1]).latent_dist.mean, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_gaussians_in_their_cells(dtype):
    vae, cells = tiny_vae(), []
    vae.point_encoder.register_forward_hook(lambda *arguments: cells.append(arguments[2][:, :, -1].float()))
    expected = vae.encode(random_splats(200)).latent_dist.mean
    found = vae.to(dtype).encode(random_splats(200)).latent_dist.mean
    assert torch.equal(cells[0], cells[1])
    torch.testing.assert_close(found, expected, atol=0.1, rtol=0.1)


def test_objects_of_different_precision_are_encoded_together():
    vae, objects = tiny_vae(), [random_splats(60), random_splats(60, seed=1)]
    expected = vae.encode(objects).latent_dist.mean
    mixed = vae.encode([objects[0], objects[1].to(torch.float64)]).latent_dist.mean
    torch.testing.assert_close(mixed, expected, atol=1e-5, rtol=1e-4)


def test_smaller_objects_are_repeated_and_larger_ones_thinned():
    vae = tiny_vae()
    features = vae.prepare_features([random_splats(100), random_splats(1000, seed=1)])
    assert features.shape == (2, 256, num_point_features(0))
    small = point_features(random_splats(100), 0)
    assert set(features[0, :, 0].tolist()) == set(small[:, 0].tolist())
    assert torch.unique(features[1], dim=0).shape[0] == 256


def test_features_ignore_the_sign_of_quaternions():
    splats = random_splats()
    flipped = type(splats)(splats.means, -splats.quats, splats.scales, splats.opacities, splats.sh0, splats.shN)
    torch.testing.assert_close(point_features(flipped, 0), point_features(splats, 0))


@pytest.mark.parametrize("depth_bins", [0, 8])
def test_every_parameter_learns(depth_bins):
    vae = tiny_vae(depth_bins=depth_bins)
    functions, posterior = vae([sphere_splats(200)], torch.rand(1, 50, 3) - 0.5, sample_posterior=True)
    terms = [functions.probability, functions.sh, functions.scales, functions.quats, functions.opacities]
    (sum(term.square().mean() for term in terms) + posterior.kl().mean()).backward()
    silent = [n for n, p in vae.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


def test_normalisation_is_undone():
    vae = tiny_vae(latents_mean=(0.1, -2.0, 0.0, 3.0), latents_std=(0.5, 1.0, 2.0, 0.1))
    latents = torch.randn(2, 4, 48)
    normalised = vae.normalize_latents(latents)
    torch.testing.assert_close(normalised[:, 3], (latents[:, 3] - 3) / 0.1)
    torch.testing.assert_close(vae.denormalize_latents(normalised), latents)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_save_and_load(tmp_path, dtype):
    vae = tiny_vae().to(dtype)
    vae.save_pretrained(tmp_path)
    again = GaussianVAE.from_pretrained(tmp_path, torch_dtype=dtype)
    assert again.latent_length == vae.latent_length
    assert {name: again.config[name] for name in ("truncation", "core", "latent_channels")} == {
        name: vae.config[name] for name in ("truncation", "core", "latent_channels")
    }
    for name, value in vae.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


def test_one_lookup_for_both_kinds_of_points_gives_what_two_give():
    vae = tiny_vae()
    planes = torch.randn(1, 3, 8, 16, 16)
    queries, centers = torch.rand(1, 9, 3) - 0.5, torch.rand(1, 5, 3) - 0.5
    joint = vae.heads(planes, queries, centers)
    torch.testing.assert_close(joint.probability, vae.heads.probability(planes, queries))
    torch.testing.assert_close(joint.sh, vae.query(planes, centers).sh)


@pytest.mark.parametrize("is_constant", [True, False])
@pytest.mark.parametrize("head_layers", [0, 1, 2])
def test_probability_of_one_object_is_that_of_its_planes(head_layers, is_constant):
    heads = tiny_vae(head_layers=head_layers).heads.requires_grad_(not is_constant)
    planes = torch.randn(3, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    points = (torch.rand(50, 3, generator=torch.Generator().manual_seed(1)) - 0.5).requires_grad_()
    function = heads.probability_of(planes)
    expected, found = heads.probability(planes[None], points[None])[0], function(points)
    torch.testing.assert_close(found, expected)
    for_points = [torch.autograd.grad(values.sum(), points, retain_graph=True)[0] for values in (expected, found)]
    torch.testing.assert_close(for_points[1], for_points[0])
    if not is_constant:  # whoever asks weights that learn must not lose their gradient
        found.sum().backward()
        assert all(weight.grad is not None for weight in heads.gaupf.parameters())
    planes.zero_()
    is_folded = is_constant and head_layers > 0
    assert torch.equal(function(points), found) is is_folded, "only folded planes are copies"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"plane_resolution": 18}, "multiple of 4"),
        ({"point_resolution": 12}, "multiple of .* = 8, got 12"),
        ({"sh_degree": 4}, "0, 1, 2 or 3"),
    ],
)
def test_impossible_configurations_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny_vae(**arguments)


def test_wrong_latents_and_empty_objects_are_refused():
    vae = tiny_vae()
    with pytest.raises(ValueError, match=r"`latents` must be \[B, 4, 48\], got \[2, 4, 47\]"):
        vae.decode(torch.zeros(2, 4, 47))
    with pytest.raises(ValueError, match="at least one Gaussian"):
        vae.encode([random_splats(3)[:0]])
    with pytest.raises(ValueError, match="at least one object"):
        vae.encode([])


def test_kl_agrees_with_torch_distributions():
    mean, logvar = torch.randn(3, 4, 5), torch.randn(3, 4, 5)
    normal = torch.distributions.Normal(mean, (0.5 * logvar).exp())
    expected = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).mean(dim=(1, 2))
    torch.testing.assert_close(DiagonalGaussian(mean, logvar).kl(), expected)


def test_posterior_samples_have_its_mean_and_deviation():
    distribution = DiagonalGaussian(
        torch.full((1, 40_000), 3.0), torch.full((1, 40_000), 2 * torch.tensor(0.5).log().item())
    )
    drawn = distribution.sample(torch.Generator().manual_seed(0))
    assert abs(drawn.mean().item() - 3) < 0.02 and abs(drawn.std().item() - 0.5) < 0.02
    assert torch.equal(distribution.mode(), distribution.mean)


@pytest.mark.parametrize("depth_bins", [-2, 1])
def test_a_depth_cannot_be_told_by_one_bin(depth_bins):
    with pytest.raises(ValueError, match="0 or at least 2"):
        tiny_vae(depth_bins=depth_bins)
