"""diffusion_loss against closed forms: models that know the answer, and errors of known size."""

from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler

from diffgs_diffusers.training.objectives_diffusion import diffusion_loss, sample_timesteps, snr_weights

PREDICTION_TYPES = ("epsilon", "sample", "v_prediction")


def make_scheduler(prediction_type: str) -> DDPMScheduler:
    return DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type=prediction_type)


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "latents": torch.randn(4, 3, 5, generator=generator),
        "noise": torch.randn(4, 3, 5, generator=generator),
        "timesteps": torch.tensor([0, 250, 600, 999]),
    }


def alphas_cumprod(timesteps: torch.Tensor) -> torch.Tensor:
    """ᾱ of the cosine schedule, recomputed in double from its definition (Nichol & Dhariwal 2021, equation 17)."""

    def f(t):
        return torch.cos((t / 1000 + 0.008) / 1.008 * torch.pi / 2) ** 2

    steps = torch.arange(1000, dtype=torch.float64)
    betas = (1 - f(steps + 1) / f(steps)).clamp(max=0.999)
    return (1 - betas).cumprod(0)[timesteps]


def exact_answer(prediction_type: str, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    a = alphas_cumprod(tensors["timesteps"])[:, None, None].float()
    return {
        "epsilon": tensors["noise"],
        "sample": tensors["latents"],
        "v_prediction": a.sqrt() * tensors["noise"] - (1 - a).sqrt() * tensors["latents"],
    }[prediction_type]


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("snr_gamma", [None, 5.0])
def test_a_perfect_model_has_no_loss_and_sees_the_noisy_latents(prediction_type, snr_gamma, tensors):
    seen = {}

    def perfect(sample, timestep, encoder_hidden_states, encoder_attention_mask):
        seen.update(sample=sample, states=encoder_hidden_states, mask=encoder_attention_mask)
        return SimpleNamespace(sample=exact_answer(prediction_type, tensors))

    states, mask = torch.ones(4, 2, 3), torch.ones(4, 2)
    terms = diffusion_loss(
        perfect,
        make_scheduler(prediction_type),
        **tensors,
        encoder_hidden_states=states,
        mask=mask,
        snr_gamma=snr_gamma,
    )
    assert terms["loss"].item() == pytest.approx(0, abs=1e-6)
    a = alphas_cumprod(tensors["timesteps"])[:, None, None].float()
    torch.testing.assert_close(
        seen["sample"], a.sqrt() * tensors["latents"] + (1 - a).sqrt() * tensors["noise"], rtol=1e-4, atol=1e-5
    )
    assert seen["states"] is states
    assert seen["mask"] is mask


def test_what_else_is_told_reaches_the_model(tensors):
    context, seen = {"keep": torch.ones(4, dtype=torch.bool)}, []

    def told(sample, timestep, *conditions):
        seen.append(conditions)
        return SimpleNamespace(sample=tensors["noise"])

    for given in (context, None):
        diffusion_loss(told, make_scheduler("epsilon"), **tensors, context=given)
    # A bare denoiser takes no fifth argument.
    assert [len(conditions) for conditions in seen] == [3, 2]
    assert seen[0][2] is context


def test_a_guess_from_pictures_is_measured_against_the_rows_that_have_one(tensors):
    rows = torch.tensor([1, 3])
    guess = tensors["latents"][rows] + 0.5

    def told(*_):
        return SimpleNamespace(sample=tensors["noise"] + 1, guess=guess)

    given = {"context": {"view_rows": rows}, "guess_weight": 0.2}
    terms = diffusion_loss(told, make_scheduler("epsilon"), **tensors, **given)
    assert terms["guess_mse"].item() == pytest.approx(0.25, rel=1e-5)
    assert terms["mse"].item() == pytest.approx(1, rel=1e-5)
    assert terms["loss"].item() == pytest.approx(1.05, rel=1e-5)
    guess = None
    assert "guess_mse" not in diffusion_loss(told, make_scheduler("epsilon"), **tensors, **given)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_min_snr_counts_the_error_of_the_clean_latents(prediction_type, tensors):
    """Whatever is predicted, the loss is the mean of min(SNR, γ) · |x₀ error|²."""
    gamma = 5.0
    tensors["timesteps"] = torch.tensor([20, 250, 600, 900])
    a = alphas_cumprod(tensors["timesteps"])[:, None, None]
    error = 0.1 * torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(1))
    # The error of x₀ that follows from `error` in the prediction when the noisy latents are fixed.
    factor = {"epsilon": -((1 - a) / a).sqrt(), "sample": torch.ones_like(a), "v_prediction": -((1 - a).sqrt())}
    original_error = factor[prediction_type] * error.double()

    def off(*_):
        return SimpleNamespace(sample=exact_answer(prediction_type, tensors) + error)

    terms = diffusion_loss(off, make_scheduler(prediction_type), **tensors, snr_gamma=gamma)
    snr = (a / (1 - a)).flatten()
    expected = (snr.clamp(max=gamma) * original_error.square().flatten(1).mean(1)).mean()
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-3)
    assert terms["mse"].item() == pytest.approx(error.square().mean().item(), rel=1e-3)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_weights_are_finite_on_the_whole_schedule(prediction_type):
    scheduler = DDPMScheduler(prediction_type=prediction_type, rescale_betas_zero_snr=True)
    weights = snr_weights(scheduler, torch.arange(1000), 5.0)
    assert torch.isfinite(weights).all()
    assert (weights >= 0).all()
    assert torch.equal(snr_weights(scheduler, torch.arange(3), None), torch.ones(3))


def test_an_unknown_prediction_type_is_refused(tensors):
    scheduler = DDPMScheduler()
    scheduler.register_to_config(prediction_type="score")
    with pytest.raises(ValueError, match="'score'"):
        diffusion_loss(lambda *_: SimpleNamespace(sample=tensors["noise"]), scheduler, **tensors)


def test_timesteps_cover_the_schedule_evenly():
    scheduler, generator = DDPMScheduler(), torch.Generator().manual_seed(0)
    drawn = torch.stack([sample_timesteps(scheduler, 10, generator) for _ in range(500)])
    assert (drawn // 100 == torch.arange(10)).all()
    assert drawn.min() == 0
    assert drawn.max() == 999
    assert (drawn % 100).float().mean().item() == pytest.approx(49.5, abs=2)
