"""UNet1DConditionModel: what its output depends on, how it saves and loads, and that it learns."""

import json

import pytest
import torch

from diffgs_diffusers.models.unet_1d_blocks import patchify, unpatchify
from diffgs_diffusers.models.unet_1d_condition import UNet1DConditionModel

SMALL = {
    "sample_size": 16,
    "in_channels": 4,
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "attention_levels": (False, True),
    "attention_head_dim": 16,
    "cross_attention_dim": 12,
    "norm_num_groups": 8,
}


def make_unet(**overrides) -> UNet1DConditionModel:
    """A small model whose zero-initialised layers are given random weights, so that everything matters."""
    torch.manual_seed(0)
    unet = UNet1DConditionModel(**{**SMALL, **overrides}).eval()
    for parameter in unet.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return unet


def make_inputs(batch_size: int = 2, tokens: int = 5) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "sample": torch.randn(batch_size, 4, 16, generator=generator),
        "timestep": torch.tensor([10, 700])[:batch_size],
        "encoder_hidden_states": torch.randn(batch_size, tokens, 12, generator=generator),
    }


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return (a - b).abs().max().item()


def test_output_has_the_shape_of_the_input_and_starts_at_zero():
    unet, inputs = UNet1DConditionModel(**SMALL), make_inputs()
    output = unet(**inputs)
    assert output.sample.shape == inputs["sample"].shape
    assert not output.sample.any()
    assert make_unet(out_channels=6)(**inputs).sample.shape == (2, 6, 16)


def test_return_dict_false_gives_the_same_as_a_tuple_and_is_deterministic():
    unet, inputs = make_unet(), make_inputs()
    result = unet(**inputs, return_dict=False)
    assert isinstance(result, tuple)
    assert torch.equal(result[0], unet(**inputs).sample)


def test_default_size_is_what_two_cores_can_train():
    parameters = sum(parameter.numel() for parameter in UNet1DConditionModel().parameters())
    assert 12e6 < parameters < 15e6


@torch.no_grad()
def test_output_depends_on_the_timestep():
    unet, inputs = make_unet(), make_inputs()
    base = unet(**inputs).sample
    inputs["timestep"] = torch.tensor([11, 700])
    changed = unet(**inputs).sample
    assert difference(base[0], changed[0]) > 1e-4
    assert torch.equal(base[1], changed[1])


@torch.no_grad()
def test_one_timestep_serves_the_whole_batch():
    unet, inputs = make_unet(), make_inputs()
    inputs["timestep"] = torch.tensor([33, 33])
    expected = unet(**inputs).sample
    for timestep in (33, torch.tensor(33), torch.tensor([33])):
        assert difference(unet(**{**inputs, "timestep": timestep}).sample, expected) < 1e-6


@torch.no_grad()
def test_output_depends_on_every_condition_token_and_on_its_type():
    unet, inputs = make_unet(), make_inputs(tokens=3)
    base = unet(**inputs).sample
    for token in range(3):
        changed = inputs["encoder_hidden_states"].clone()
        # The tokens are normalised: reversing changes them where scaling would not.
        changed[:, token] = changed[:, token].flip(-1)
        assert difference(unet(**{**inputs, "encoder_hidden_states": changed}).sample, base) > 1e-4
    types = torch.ones(2, 3, dtype=torch.long)
    assert difference(unet(**inputs, encoder_type_ids=types).sample, base) > 1e-5
    zeros = torch.zeros(2, 3, dtype=torch.long)
    assert torch.equal(unet(**inputs, encoder_type_ids=zeros).sample, base)


@torch.no_grad()
def test_aligned_states_are_added_each_to_its_own_position_and_zeros_say_nothing():
    unet = make_unet(has_aligned_condition=True, patch_size=2)
    inputs, states = make_inputs(), torch.zeros(2, 8, 12)
    base = unet(**inputs).sample
    assert torch.equal(unet(**inputs, aligned_states=states).sample, base)
    states[0, 7] = torch.randn(12)
    told = unet(**inputs, aligned_states=states).sample
    assert torch.equal(told[1], base[1])
    assert difference(told[0], base[0]) > 1e-2
    unet.position_embedding[0, :, 7] += unet.aligned_projection(states[0, 7])
    torch.testing.assert_close(unet(**inputs).sample[0], told[0])


@pytest.mark.parametrize(
    ("options", "shape", "message"),
    [
        ({}, (2, 16, 12), "has_aligned_condition=True"),
        ({"has_aligned_condition": True}, (2, 8, 12), r"\[2, 16, 12\]"),
    ],
)
def test_aligned_states_that_do_not_fit_are_refused(options, shape, message):
    with pytest.raises(ValueError, match=message):
        make_unet(**options)(**make_inputs(), aligned_states=torch.zeros(shape))


@torch.no_grad()
def test_output_depends_on_the_position():
    unet = make_unet()
    sample = torch.ones(1, 4, 16)
    shifted = unet(sample.roll(2, dims=2), 5).sample.roll(-2, dims=2)
    assert difference(shifted[..., 4:-4], unet(sample, 5).sample[..., 4:-4]) > 1e-4


@pytest.mark.parametrize("hidden_value", [1e4, float("nan")])
@torch.no_grad()
def test_masked_tokens_do_not_matter(hidden_value):
    unet, inputs = make_unet(), make_inputs(tokens=5)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 0, 1, 0]])
    tokens = inputs.pop("encoder_hidden_states")
    base = unet(**inputs, encoder_hidden_states=tokens, encoder_attention_mask=mask).sample
    changed = tokens.masked_fill(mask[:, :, None] == 0, hidden_value)
    again = unet(**inputs, encoder_hidden_states=changed, encoder_attention_mask=mask).sample
    assert torch.equal(base, again)
    cut = unet(inputs["sample"][:1], 10, tokens[:1, :3]).sample
    assert difference(cut, base[:1]) < 1e-5
    as_bool = unet(**inputs, encoder_hidden_states=tokens, encoder_attention_mask=mask.bool()).sample
    assert torch.equal(base, as_bool)


@torch.no_grad()
def test_no_condition_equals_a_zero_mask_and_differs_from_a_condition():
    unet, inputs = make_unet(), make_inputs()
    tokens = inputs.pop("encoder_hidden_states")
    unconditional = unet(**inputs).sample
    mask = torch.tensor([[0] * 5, [1] * 5])
    mixed = unet(**inputs, encoder_hidden_states=tokens, encoder_attention_mask=mask).sample
    assert difference(mixed[0], unconditional[0]) < 1e-5
    assert difference(mixed[1], unconditional[1]) > 1e-3


@torch.no_grad()
def test_a_sample_in_a_batch_equals_the_same_sample_alone():
    unet, inputs = make_unet(), make_inputs()
    together = unet(**inputs).sample
    for i in range(2):
        alone = unet(**{name: value[i : i + 1] for name, value in inputs.items()}).sample
        assert difference(alone[0], together[i]) < 1e-5


@pytest.mark.parametrize("patch_size", [1, 2, 4])
def test_patches_are_runs_of_neighbours(patch_size):
    sequence = torch.arange(2 * 3 * 8).reshape(2, 3, 8)
    patches = patchify(sequence, patch_size)
    assert patches.shape == (2, 3 * patch_size, 8 // patch_size)
    assert torch.equal(unpatchify(patches, patch_size), sequence)
    for position in range(8 // patch_size):
        run = sequence[:, :, position * patch_size : (position + 1) * patch_size]
        assert torch.equal(patches[:, :, position], run.flatten(1))


@torch.no_grad()
def test_patches_shorten_what_the_layers_see():
    unet = make_unet(patch_size=4, sample_size=32)
    assert [length for _, length in unet.layers_by_length()] == [8, 4, 4, 4, 8]
    sample = torch.randn(2, 4, 32)
    assert unet(sample, 3).sample.shape == (2, 4, 32)


@pytest.mark.parametrize("patch_size", [1, 2])
def test_gradient_reaches_every_parameter(patch_size):
    unet, inputs = make_unet(patch_size=patch_size, has_aligned_condition=True), make_inputs()
    types, aligned = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 0, 0, 0]]), torch.randn(2, 16 // patch_size, 12)
    unet(**inputs, encoder_type_ids=types, aligned_states=aligned).sample.square().mean().backward()
    without = [name for name, p in unet.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_gradient_checkpointing_gives_the_same_gradients():
    gradients = []
    for checkpointing in (False, True):
        unet = make_unet().train()
        if checkpointing:
            unet.enable_gradient_checkpointing()
        unet(**make_inputs()).sample.square().mean().backward()
        gradients.append([parameter.grad for parameter in unet.parameters() if parameter.grad is not None])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(checkpointed, plain)


@torch.no_grad()
def test_save_and_load(tmp_path):
    unet, inputs = make_unet(), make_inputs()
    unet.save_pretrained(tmp_path)
    loaded = UNet1DConditionModel.from_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["condition_types"] == ["text", "image"]
    assert torch.equal(loaded(**inputs).sample, unet(**inputs).sample)


@torch.no_grad()
def test_half_precision_variant_and_dtype(tmp_path):
    unet, inputs = make_unet(), make_inputs()
    expected = unet(**inputs).sample
    unet.to(torch.bfloat16).save_pretrained(tmp_path, variant="bf16")
    assert (tmp_path / "diffusion_pytorch_model.bf16.safetensors").is_file()
    loaded = UNet1DConditionModel.from_pretrained(tmp_path, variant="bf16", torch_dtype=torch.bfloat16)
    inputs["sample"] = inputs["sample"].bfloat16()
    output = loaded(**inputs).sample
    assert output.dtype == torch.bfloat16
    assert difference(output.float(), expected) < 0.05 * expected.abs().max()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"sample_size": 17}, "sample_size 17 must be divisible by 2"),
        ({"sample_size": 0}, "sample_size 0"),
        ({"sample_size": 12, "patch_size": 4}, "sample_size 12 must be divisible by 8"),
        ({"attention_levels": (True,)}, "2 levels"),
        ({"norm_num_groups": 5}, "norm_num_groups 5"),
        ({"attention_head_dim": 24}, "attention_head_dim 24"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        UNet1DConditionModel(**{**SMALL, **overrides})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sample": torch.zeros(2, 4, 15)}, r"\[B, 4, 16\]"),
        ({"sample": torch.zeros(2, 3, 16)}, r"\[B, 4, 16\]"),
        ({"encoder_hidden_states": torch.zeros(2, 5, 11)}, r"\[2, S, 12\]"),
        ({"encoder_hidden_states": torch.zeros(3, 5, 12)}, r"\[2, S, 12\]"),
        ({"encoder_attention_mask": torch.ones(2, 4)}, "encoder_attention_mask"),
        ({"encoder_type_ids": torch.ones(2, 4).long()}, "encoder_type_ids"),
        ({"timestep": torch.tensor([1, 2, 3])}, "timestep"),
        ({"encoder_hidden_states": None, "encoder_attention_mask": torch.ones(2, 5)}, "need encoder_hidden"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_unet()(**{**make_inputs(), **arguments})


def test_overfits_two_samples_told_apart_by_their_condition():
    """The same noisy input must lead to two different outputs: only the condition can tell which."""
    torch.manual_seed(0)
    unet = UNet1DConditionModel(**SMALL)
    inputs = make_inputs()
    inputs["sample"] = inputs["sample"][:1].expand(2, -1, -1)
    inputs["timestep"] = 100
    target = torch.randn(2, 4, 16)
    optimizer = torch.optim.Adam(unet.parameters(), lr=4e-3)
    for _ in range(150):
        loss = (unet(**inputs).sample - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.02
