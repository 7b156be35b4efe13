"""A denoiser and its encoders: each row is told its own things and nothing else, and all encoders learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from PIL import Image
from torch import Tensor

from diffgs_diffusers.models import UNet1DConditionModel
from diffgs_diffusers.models.condition_encoder import POINT_KINDS, points_features, splats_features
from diffgs_diffusers.pipelines.conditioning import encode_texts
from diffgs_diffusers.training.conditioned_denoiser import (
    CaptionTokens,
    ConditionedDenoiser,
    context_of,
    with_aligned_condition,
)
from diffgs_diffusers.training.objectives_diffusion import diffusion_loss
from tests.factories import random_splats, sphere_splats
from tests.tiny_models import (
    CAPTIONS,
    tiny_condition_encoder,
    tiny_image_models,
    tiny_text_encoder,
    tiny_tokenizer,
    tiny_unet,
)

LENGTH, CHANNELS = 48, 4
CPU = torch.device("cpu")
# Row 0 is told nothing, row 4 everything.
TEXT_ROWS, VIEW_ROWS, FEATURES_ROWS = [1, 4], [2, 4], [3, 4]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def model(tokenizer) -> ConditionedDenoiser:
    image_encoder = tiny_image_models()["image_encoder"]
    unet = tiny_unet(LENGTH, CHANNELS)
    return ConditionedDenoiser(unet, tiny_text_encoder(tokenizer), image_encoder, tiny_condition_encoder()).eval()


@pytest.fixture
def told(model, tokenizer) -> dict[str, Any]:
    """The arguments of a call for five rows."""
    generator = torch.Generator().manual_seed(0)
    texts, mask = CaptionTokens(CAPTIONS, tokenizer, CPU)(torch.tensor([0, 1, 2, 3, 0]))
    mask = mask & torch.tensor([row in TEXT_ROWS for row in range(5)])[:, None]
    objects = [splats_features(sphere_splats(100)), points_features(random_splats(80).means)]
    context = {
        "pixels": torch.randn(2, 3, 16, 16, generator=generator),
        "view_rows": torch.tensor(VIEW_ROWS),
        "features": model.condition_encoder.prepare_features(objects),
        "kind": torch.tensor([POINT_KINDS.index("partial"), POINT_KINDS.index("points")]),
        "features_rows": torch.tensor(FEATURES_ROWS),
    }
    return {
        "sample": torch.randn(5, CHANNELS, LENGTH, generator=generator),
        "timestep": torch.tensor([10, 90, 500, 700, 990]),
        "texts": texts,
        "mask": mask,
        "context": context,
    }


def bare(model: ConditionedDenoiser, told: dict[str, Any]) -> Tensor:
    """What the denoiser makes of the same rows when it is told nothing."""
    return model.unet(told["sample"], told["timestep"]).sample


def difference(first: Tensor, second: Tensor) -> Tensor:
    """Of each row."""
    return (first - second).abs().flatten(1).amax(dim=1)


def alone(model: ConditionedDenoiser, told: dict[str, Any], row: int) -> Tensor:
    """What the denoiser makes of one row, its condition put together by hand."""
    context, states, types, places = told["context"], [], [], []
    if row in TEXT_ROWS:
        words = told["texts"][row, told["mask"][row]]
        states.append(model.text_encoder(words[None]).last_hidden_state)
        types += [0] * len(words)
    if row in VIEW_ROWS:
        seen = model.image_encoder(context["pixels"][[VIEW_ROWS.index(row)]]).last_hidden_state
        states.append(model.condition_encoder.project_images(seen))
        types += [1] * seen.shape[1]
        places.append(model.condition_encoder.places_of_images(context["pixels"][[VIEW_ROWS.index(row)]]))
    if row in FEATURES_ROWS:
        place = [FEATURES_ROWS.index(row)]
        places.append(model.condition_encoder(context["features"][place], context["kind"][place]))
    arguments = {"aligned_states": sum(places)} if places else {}
    if states:
        arguments["encoder_hidden_states"] = torch.cat(states, dim=1)
        arguments["encoder_type_ids"] = torch.tensor([types])
    return model.unet(told["sample"][[row]], told["timestep"][[row]], **arguments).sample


@torch.no_grad()
def test_each_row_is_told_its_own_things_and_nothing_else(model, told):
    found, unconditional = model(**told).sample, bare(model, told)
    for row in range(5):
        torch.testing.assert_close(found[[row]], alone(model, told, row), atol=1e-4, rtol=1e-4)
    apart = difference(found, unconditional)
    assert apart[0] < 1e-4
    assert apart[1:].min() > 1e-2


@torch.no_grad()
def test_what_pictures_let_guess_is_returned(model, told):
    guesser = model.condition_encoder.picture_guess
    expected = guesser.latents(guesser.guess(told["context"]["pixels"]), 1)
    assert expected.shape == (2, CHANNELS, LENGTH)
    torch.testing.assert_close(model(**told).guess, expected)
    context = {name: value for name, value in told["context"].items() if name != "pixels"}
    assert model(**told | {"context": context}).guess is None


class GuessingTwice(ConditionedDenoiser):
    """Makes the guess anew for the places and for the latents."""

    def _pictures(self, pixels, rows, batch_size):
        condition, _ = super()._pictures(pixels, rows, batch_size)
        encoder = self.condition_encoder
        places = encoder.places_of_images(pixels)
        aligned = places.new_zeros(batch_size, *places.shape[1:]).index_copy(0, rows, places)
        return replace(condition, aligned=aligned), encoder.picture_guess.latents(
            encoder.picture_guess.guess(pixels), self.unet.config.patch_size
        )


def test_the_guess_is_made_once_and_the_loss_is_that_of_two(model, told):
    calls, results = [], []
    model.condition_encoder.picture_guess.components.register_forward_hook(lambda *_: calls.append(1))
    latents = torch.randn(5, CHANNELS, LENGTH, generator=torch.Generator().manual_seed(3))
    given = (latents, told["sample"], told["timestep"], told["texts"], told["mask"], None, told["context"], 0.3)
    children = (model.unet, model.text_encoder, model.image_encoder, model.condition_encoder)
    for denoiser in (model, GuessingTwice(*children)):
        model.zero_grad()
        calls.clear()
        terms = diffusion_loss(denoiser, DDPMScheduler(prediction_type="v_prediction"), *given)
        terms["loss"].backward()
        results.append(
            (len(calls), terms, [value.grad.clone() for value in children[3].picture_guess.parameters()])
        )
    (once, terms, gradients), (more, expected, others) = results
    assert (once, more) == (1, 3)
    assert terms.keys() == expected.keys() == {"loss", "mse", "guess_mse"}
    assert all(torch.equal(terms[name], expected[name]) for name in terms)
    for gradient, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(gradient, other)


@torch.no_grad()
def test_rows_need_not_be_in_order(model, told):
    context, turned = told["context"], dict(told["context"])
    for names in (("pixels", "view_rows"), ("features", "kind", "features_rows")):
        turned |= {name: context[name].flip(0) for name in names}
    expected = model(**told).sample
    torch.testing.assert_close(model(**told | {"context": turned}).sample, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("left_out", [("texts", "pixels"), ("texts", "features"), ("pixels", "features")])
@torch.no_grad()
def test_one_kind_of_condition_is_enough(model, told, left_out):
    """Parts and points alone are a condition without any token."""
    context = {name: value for name, value in told["context"].items() if name not in left_out}
    given = told | ({"texts": None, "mask": None} if "texts" in left_out else {})
    rows = ({"texts": TEXT_ROWS, "pixels": VIEW_ROWS, "features": FEATURES_ROWS}[name] for name in left_out)
    silent = set().union(*rows) - {4} | {0}
    for keep in ({}, {"keep": torch.tensor([True, True, True, True, False])}):
        apart = difference(model(**given | {"context": context | keep}).sample, bare(model, told))
        quiet = silent | ({4} if keep else set())
        assert [row for row in range(5) if apart[row] < 1e-4] == sorted(quiet)
        assert all(apart[row] > 1e-2 for row in set(range(5)) - quiet)


@torch.no_grad()
def test_rows_that_are_not_kept_are_unconditional(model, told):
    keep = torch.tensor([True, False, True, False, False])
    found = model(**told | {"context": told["context"] | {"keep": keep}}).sample
    torch.testing.assert_close(found[~keep], bare(model, told)[~keep], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[keep], model(**told).sample[keep], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_told_nothing_it_is_the_denoiser(model, told):
    sample, timestep = told["sample"], told["timestep"]
    for context in (None, {}, {"keep": torch.ones(5, dtype=torch.bool)}):
        assert torch.equal(model(sample, timestep, context=context).sample, bare(model, told))


@torch.no_grad()
def test_texts_may_come_as_states(model, told):
    states = model.text_encoder(told["texts"]).last_hidden_state
    without = ConditionedDenoiser(model.unet, None, model.image_encoder, model.condition_encoder)
    assert torch.equal(without(**told | {"texts": states}).sample, model(**told).sample)


@torch.no_grad()
def test_states_of_texts_are_those_that_the_pipeline_makes(model, tokenizer):
    texts, mask = CaptionTokens(CAPTIONS, tokenizer, CPU)(torch.arange(4))
    expected, expected_mask = encode_texts(tokenizer, model.text_encoder, CAPTIONS, CPU)
    states = model.text_encoder(texts).last_hidden_state
    assert torch.equal(mask.sum(dim=1), expected_mask.sum(dim=1))
    torch.testing.assert_close(states[mask], expected[expected_mask.bool()], atol=1e-5, rtol=1e-4)


def test_tokens_are_cut_to_the_longest_of_a_batch(tokenizer):
    tokens = CaptionTokens(["a red chair", "a chair"], tokenizer, CPU)
    lengths = [len(tokenizer(text).input_ids) for text in ("a red chair", "a chair")]
    assert lengths[1] < lengths[0]
    for indices, longest in (([1], lengths[1]), ([1, 0, 1], lengths[0])):
        ids, mask = tokens(torch.tensor(indices))
        assert ids.shape == mask.shape == (len(indices), longest)
        assert mask.sum(dim=1).tolist() == [lengths[index] for index in indices]
    assert ids[1].tolist() == tokenizer("a red chair").input_ids


def test_the_loss_of_the_denoiser_teaches_all_encoders(model, told):
    model.train()
    model(**told).sample.square().mean().backward()
    gradients = {name: value.grad for name, value in model.named_parameters()}
    # Only the pooled state goes through CLIP's last norm, and the denoiser reads the others.
    assert all("post_layernorm" in name for name, value in gradients.items() if value is None)
    first_layers = ("token_embedding", "patch_embedding", "point_encoder.proj_in", "kind_embedding")
    for layer in (*first_layers, "image_projection.1", "picture_guess.components", "aligned_projection"):
        (gradient,) = (value for name, value in gradients.items() if name.endswith(f"{layer}.weight"))
        assert gradient.any(), layer


def test_gradient_checkpointing_changes_no_gradient(model, told):
    gradients = []
    for _ in range(2):
        model.train().zero_grad()
        torch.manual_seed(0)  # the guess drops features while it learns
        model(**told).sample.square().mean().backward()
        gradients.append([value.grad.clone() for value in model.parameters() if value.grad is not None])
        model.enable_gradient_checkpointing()
    assert model.unet.gradient_checkpointing and model.text_encoder.is_gradient_checkpointing
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second, atol=1e-6, rtol=1e-4)


@torch.no_grad()
def test_saved_and_loaded_it_says_the_same(model, told, tmp_path):
    model.save_pretrained(str(tmp_path / "unet"))
    assert {path.name for path in tmp_path.iterdir()} == {
        "unet",
        "text_encoder",
        "image_encoder",
        "condition_encoder",
    }
    loaded = ConditionedDenoiser.from_pretrained(str(tmp_path / "unet")).eval()
    # Averaged weights are read back by the order of the parameters.
    assert [name for name, _ in loaded.named_parameters()] == [name for name, _ in model.named_parameters()]
    assert torch.equal(loaded(**told).sample, model(**told).sample)


@torch.no_grad()
def test_what_it_does_not_have_is_not_saved(model, told, tmp_path):
    part = ConditionedDenoiser(model.unet, condition_encoder=model.condition_encoder)
    part.save_pretrained(str(tmp_path / "unet"))
    assert {path.name for path in tmp_path.iterdir()} == {"unet", "condition_encoder"}
    loaded = ConditionedDenoiser.from_pretrained(str(tmp_path / "unet"))
    assert loaded.text_encoder is None and loaded.image_encoder is None
    assert loaded.condition_encoder is not None
    UNet1DConditionModel.from_pretrained(tmp_path / "unet")


def without_places() -> UNet1DConditionModel:
    unet = UNet1DConditionModel.from_config(tiny_unet(LENGTH, CHANNELS).config, has_aligned_condition=False)
    torch.nn.init.normal_(unet.conv_out.weight, std=0.2)
    return unet.eval()


def test_a_denoiser_that_is_told_of_places_besides_changes_nothing_at_first(told):
    unet = without_places()
    grown = with_aligned_condition(unet).eval()
    assert grown.config.has_aligned_condition and not unet.config.has_aligned_condition
    sample, timestep = told["sample"], told["timestep"]
    tokens = torch.randn(5, 6, 32, generator=torch.Generator().manual_seed(1))
    places = torch.randn(5, LENGTH, 32, generator=torch.Generator().manual_seed(2))
    for states in (None, tokens):
        expected = unet(sample, timestep, states).sample
        assert torch.equal(grown(sample, timestep, states).sample, expected)
        assert torch.equal(grown(sample, timestep, states, aligned_states=places).sample, expected)
    grown(sample, timestep, aligned_states=places).sample.square().mean().backward()
    assert grown.aligned_projection.weight.grad.any()
    torch.nn.init.normal_(grown.aligned_projection.weight, std=0.2)
    changed = grown(sample, timestep, aligned_states=places).sample
    assert difference(changed, unet(sample, timestep).sample).min() > 1e-2
    assert with_aligned_condition(grown) is grown


def test_rows_are_told_nothing_as_often_as_asked():
    batch = {"latents": torch.zeros(4000, 1, 1)}
    keep = context_of(batch, None, 0.1, torch.Generator().manual_seed(0))["keep"]
    assert keep.shape == (4000,) and keep.dtype == torch.bool
    assert (~keep).float().mean().item() == pytest.approx(0.1, abs=0.02)
    assert torch.equal(keep, context_of(batch, None, 0.1, torch.Generator().manual_seed(0))["keep"])
    assert context_of(batch, None, 0.0, torch.Generator())["keep"].all()
    assert not context_of(batch, None, 1.0, torch.Generator())["keep"].any()


def test_pictures_are_prepared_as_the_pipeline_prepares_them():
    """Larger than the encoder takes, and neither square nor of one colour: every step of the preparation counts."""
    processor = tiny_image_models()["image_processor"]
    views = torch.randint(256, (2, 24, 30, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    batch = {
        "latents": torch.zeros(5, CHANNELS, LENGTH),
        "caption": torch.zeros(5, dtype=torch.long),
        "view": views,
        "view_rows": torch.tensor([1, 4]),
        "features": torch.zeros(1, 3, 15),
        "features_rows": torch.tensor([2]),
        "kind": torch.tensor([1]),
    }
    context = context_of(batch, processor, 0.1, torch.Generator())
    assert context.keys() == {"pixels", "view_rows", "features", "features_rows", "kind", "keep"}
    pictures = [Image.fromarray(view.numpy()) for view in views]
    expected = processor(images=pictures, return_tensors="pt").pixel_values
    assert context["pixels"].shape == (2, 3, 16, 16)
    torch.testing.assert_close(context["pixels"], expected, atol=1e-6, rtol=0)
    for name in ("view_rows", "features", "features_rows", "kind"):
        assert context[name] is batch[name]


def test_a_folder_without_encoders_is_a_denoiser_alone(tmp_path: Path):
    tiny_unet(LENGTH, CHANNELS).save_pretrained(str(tmp_path / "unet"))
    loaded = ConditionedDenoiser.from_pretrained(str(tmp_path / "unet"))
    assert [name for name, _ in loaded.named_children()] == ["unet"]
