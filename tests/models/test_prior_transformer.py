"""The prior transformer against slow formulas, and in the pipeline's place of a denoiser."""

from __future__ import annotations

import math

import pytest
import torch

from diffgs_diffusers import DiffGSPipeline, DiffGSPriorTransformer, OriginalGaussianVAE, UNet1DConditionModel
from diffgs_diffusers.models.loading import load_denoiser, vae_class
from diffgs_diffusers.models.original import original_scheduler
from diffgs_diffusers.models.original.prior_blocks import GainNorm, RelativePositionBias, SharedKeyAttention
from tests.tiny_models import QUICK_VAE_SIZES, tiny_unet, tiny_vae

SIZES = {"in_channels": 4, "sample_size": 48, "inner_dim": 16, "num_layers": 3, "num_attention_heads": 2}


def small(**changes) -> DiffGSPriorTransformer:
    torch.manual_seed(0)
    return DiffGSPriorTransformer(**{**SIZES, "attention_head_dim": 36, **changes}).eval()


def rotated(vector: torch.Tensor, position: int) -> torch.Tensor:
    """Pairs of the first 32 numbers as complex numbers, turned."""
    pairs = torch.view_as_complex(vector[:32].double().reshape(16, 2))
    angles = torch.tensor([position / 10_000 ** (2 * k / 32) for k in range(16)], dtype=torch.float64)
    return torch.cat([torch.view_as_real(pairs * torch.exp(1j * angles)).flatten(), vector[32:].double()])


def test_attention_is_what_the_formula_says():
    torch.manual_seed(1)
    attention = SharedKeyAttention(10, 6, num_heads=2, head_dim=36, dropout=0.0)
    bias = RelativePositionBias(2)
    torch.nn.init.normal_(bias.buckets.weight, std=0.02)
    states = torch.randn(1, 3, 10)
    with torch.no_grad():
        result = attention(states, bias(3))[0]
        normed = torch.nn.functional.layer_norm(states[0], (10,)).double()
        query = (normed @ attention.to_query.weight.T.double()).reshape(3, 2, 36)
        key, value = (states[0].double() @ attention.to_key_value.weight.T.double()).split(36, dim=1)
        rows = []
        for i in range(3):
            heads = []
            for h in range(2):
                keys = [attention.null_key_value[0].double(), *(rotated(key[j], j) for j in range(i + 1))]
                values = [attention.null_key_value[1].double(), *value[: i + 1]]
                # The null key is number 0, and the bias counts as often as logits are multiplied.
                logits = [
                    rotated(query[i, h], i) @ one / 6 + 128 * bias.buckets.weight[max(i - number, 0), h].double()
                    for number, one in enumerate(keys)
                ]
                weights = torch.stack(logits).softmax(0)
                heads.append(sum(weight * one for weight, one in zip(weights, values)))
            rows.append(torch.cat(heads))
        projected = torch.stack(rows) @ attention.proj_out.weight.T.double()
        expected = torch.nn.functional.layer_norm(projected, (6,))
    torch.testing.assert_close(result.double(), expected, atol=1e-4, rtol=1e-4)


def test_the_last_norm_divides_by_the_greatest_value():
    hidden = torch.tensor([[-4.0, -1.0, -2.0], [0.5, 4.0, 1.0]])
    plain, divided = GainNorm(3)(hidden), GainNorm(3, divides_by_maximum=True)(hidden)
    assert torch.allclose(divided[0], -plain[0], atol=1e-4), "a negative one turns the signs"
    assert torch.allclose(divided[1], plain[1], atol=1e-3)


def test_output_depends_on_the_timestep_and_on_every_number():
    model, sample = small(), torch.randn(2, 4, 48)
    with torch.no_grad():
        one, other = model(sample, 3).sample, model(sample, torch.tensor([3, 700])).sample
        assert one.shape == sample.shape and torch.allclose(one[0], other[0], atol=1e-6)
        assert not torch.allclose(one[1], other[1], atol=1e-3)
    sample.requires_grad_()
    model(sample, 3).sample.square().sum().backward()
    assert (sample.grad != 0).all()


def test_gradient_checkpointing_changes_no_gradient():
    gradients = []
    for checkpointed in (False, True):
        model = small(dropout=0.0).train()
        if checkpointed:
            model.enable_gradient_checkpointing()
        model(torch.ones(2, 4, 48), 5).sample.square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert len(gradients[0]) == sum(p.numel() for p in small().parameters())
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"in_channels": 3, "sample_size": 1}, "even and at least 4, got 3"),
        ({"num_layers": 1}, "`num_layers` must be at least 2, got 1"),
        ({"attention_head_dim": 7}, "`attention_head_dim` must be even, got 7"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_what_it_cannot_take_is_refused():
    model = small()
    with pytest.raises(ValueError, match=r"sample must be \[B, 4, 48\], got \[1, 4, 47\]"):
        model(torch.zeros(1, 4, 47), 0)
    with pytest.raises(ValueError, match="takes no conditions"):
        model(torch.zeros(1, 4, 48), 0, torch.zeros(1, 2, 8))
    with pytest.raises(ValueError, match="one number or"):
        model(torch.zeros(1, 4, 48), torch.zeros(3))


def test_classes_are_found_by_their_configuration(tmp_path):
    small().save_pretrained(str(tmp_path / "prior"))
    tiny_unet(48, 4).save_pretrained(str(tmp_path / "unet"))
    tiny_vae(**QUICK_VAE_SIZES).save_pretrained(str(tmp_path / "vae"))
    sizes = {"plane_channels": 2, "block_channels": (4,) * 5, "latent_channels": 6, "head_channels": 4}
    OriginalGaussianVAE(**sizes, point_channels=2, unet_channels=2).save_pretrained(str(tmp_path / "original"))
    assert isinstance(load_denoiser(tmp_path / "prior"), DiffGSPriorTransformer)
    assert isinstance(load_denoiser(tmp_path / "unet"), UNet1DConditionModel)
    assert vae_class(tmp_path / "original") is OriginalGaussianVAE
    with pytest.raises(ValueError, match="holds a GaussianVAE, and a denoiser is one of"):
        load_denoiser(tmp_path / "vae")


@pytest.fixture(scope="module")
def pipe() -> DiffGSPipeline:
    """The transformer with a VAE whose latents are sequences."""
    pipe = DiffGSPipeline(vae=tiny_vae(**QUICK_VAE_SIZES), unet=small(), scheduler=original_scheduler(100))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_the_pipeline_generates_with_it(pipe):
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    both = pipe(num_objects=2, num_inference_steps=3, generator=generators, output_type="latent").gaussians
    (alone,) = pipe(
        num_inference_steps=3, generator=torch.Generator().manual_seed(1), output_type="latent"
    ).gaussians
    torch.testing.assert_close(both[1], alone, atol=1e-5, rtol=1e-5)
    assert both.shape == (2, 4, 48) and both.abs().max() <= 1 + 1e-5, "the last prediction is clamped"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": "a chair"}, "takes no `prompt`: its denoiser, a DiffGSPriorTransformer, takes no conditions"),
        ({"prompt_embeds": torch.zeros(1, 2, 8)}, "takes no `prompt`"),
        ({"points": torch.zeros(4, 3)}, "takes no `points`"),
        ({"extraction": "odd"}, "`extraction` must be one of even, fast, sharp, original"),
        ({"extraction": "original", "num_gaussians": 20_000_000}, "must be at most 17196672"),
    ],
)
def test_the_pipeline_refuses_early(pipe, arguments, message):
    with pytest.raises(ValueError, match=message):
        pipe(**arguments)


def test_cosine_betas_are_those_of_the_paper():
    """Nichol & Dhariwal 2021, equation 17, in exact steps."""
    betas = original_scheduler().betas

    def alpha_bar(t: int) -> float:
        return math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    expected = [min(1 - alpha_bar(t + 1) / alpha_bar(t), 0.999) for t in range(1000)]
    torch.testing.assert_close(betas, torch.tensor(expected), atol=1e-7, rtol=0.0)
    with pytest.raises(ValueError, match="`beta_schedule` must be one of cosine, linear"):
        original_scheduler(beta_schedule="sigmoid")
