"""Linear layers with constant weights, beside torch's own."""

from __future__ import annotations

import copy
import gc
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from diffgs_diffusers.functional.linear import _packed_weights, has_onednn, linear, pack_weights

ACTIVATIONS = {"none": nn.Identity(), "relu": nn.ReLU(), "swish": nn.SiLU()}


def layer_and_inputs(*shape: int) -> tuple[nn.Linear, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    return nn.Linear(shape[-1], 24), torch.randn(*shape, generator=generator)


def plain(inputs: torch.Tensor, layer: nn.Linear, activation: str) -> torch.Tensor:
    exact = copy.deepcopy(layer).double()
    return ACTIVATIONS[activation](inputs.double() @ exact.weight.T + (0 if exact.bias is None else exact.bias))


@pytest.mark.parametrize("shape", [(50, 19), (2, 7, 19), (1, 19)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_values(shape: tuple[int, ...], activation: str) -> None:
    layer, inputs = layer_and_inputs(*shape)
    with torch.no_grad():
        found = linear(inputs, layer, activation)
        torch.testing.assert_close(found.double(), plain(inputs, layer, activation), rtol=1e-5, atol=1e-6)
        layer.bias = None
        found = linear(inputs, layer, activation)
    torch.testing.assert_close(found.double(), plain(inputs, layer, activation), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("trains", [False, True])
def test_gradients(activation: str, trains: bool) -> None:
    layer, inputs = layer_and_inputs(2, 30, 19)
    layer.requires_grad_(trains)
    leaf, exact = inputs.clone().requires_grad_(), inputs.double().requires_grad_()
    weights = torch.randn(2, 30, 24, generator=torch.Generator().manual_seed(1))
    (linear(leaf, layer, activation) * weights).sum().backward()
    (plain(exact, layer, activation) * weights).sum().backward()
    torch.testing.assert_close(leaf.grad.double(), exact.grad, rtol=1e-5, atol=1e-5)
    assert (layer.weight.grad is not None) == trains
    if trains:
        slow = copy.deepcopy(layer).double()
        slow.zero_grad()
        (ACTIVATIONS[activation](slow(inputs.double())) * weights).sum().backward()
        torch.testing.assert_close(layer.weight.grad.double(), slow.weight.grad, rtol=1e-4, atol=1e-5)


def test_gradients_through_several_layers() -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(19, 32).requires_grad_(False), nn.Linear(32, 1).requires_grad_(False)]
    leaf = torch.randn(40, 19).requires_grad_()
    exact = leaf.detach().double().requires_grad_()
    linear(linear(leaf, layers[0], "relu"), layers[1]).sum().backward()
    plain(plain(exact, layers[0], "relu"), layers[1], "none").sum().backward()
    torch.testing.assert_close(leaf.grad.double(), exact.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("has_gradient", [False, True])
def test_autocast_decides_the_precision(has_gradient: bool) -> None:
    layer, inputs = layer_and_inputs(50, 19)
    layer.requires_grad_(has_gradient)
    inputs.requires_grad_(has_gradient)
    with torch.autocast("cpu", torch.bfloat16):
        found = linear(inputs, layer, "relu")
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), plain(inputs, layer, "relu"), rtol=0.02, atol=0.03)
    if has_gradient:
        found.sum().backward()
        assert inputs.grad.dtype == torch.float32 and layer.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_precisions_are_left_to_torch(dtype: torch.dtype) -> None:
    layer, inputs = layer_and_inputs(50, 19)
    with torch.no_grad():
        found = linear(inputs.to(dtype), layer.to(dtype), "swish")
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), plain(inputs.to(dtype), layer, "swish"), rtol=0.01, atol=0.01)


def test_no_rows_at_all() -> None:
    layer, inputs = layer_and_inputs(0, 19)
    with torch.no_grad():
        assert linear(inputs, layer, "relu").shape == (0, 24)


def test_without_onednn_torch_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, inputs = layer_and_inputs(50, 19)
    with torch.no_grad():
        before = linear(inputs, layer, "swish")
        monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: False)
        monkeypatch.setattr("diffgs_diffusers.functional.linear._product", None)  # would fail
        torch.testing.assert_close(linear(inputs, layer, "swish"), before, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("activation", ["none", "relu"])
def test_packed_weights_change_nothing(dtype: torch.dtype, activation: str) -> None:
    layer, inputs = layer_and_inputs(50, 19)
    layer.requires_grad_(False).to(dtype)

    def value_and_gradient() -> tuple[torch.Tensor, torch.Tensor]:
        leaf = inputs.to(dtype).requires_grad_()
        values = linear(leaf, layer, activation)
        return values.detach(), torch.autograd.grad(values.sum(), leaf)[0]

    before = value_and_gradient()
    pack_weights(layer)
    with torch.no_grad():
        torch.testing.assert_close(linear(inputs.to(dtype), layer, activation), before[0], rtol=0, atol=0)
    for found, expected in zip(value_and_gradient(), before):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.skipif(not has_onednn(), reason="torch was built without oneDNN")
def test_packed_weights_are_read_as_they_were_and_let_go() -> None:
    layer, inputs = layer_and_inputs(50, 19)
    layer.requires_grad_(False)
    pack_weights(layer)
    with torch.no_grad():
        before = linear(inputs, layer)
        layer.weight.zero_()  # the contract: never again. Shows that the packed ones are what is read
        torch.testing.assert_close(linear(inputs, layer), before, rtol=0, atol=0)
        copied = copy.deepcopy(layer)  # is not packed, and reads its own
        torch.testing.assert_close(linear(inputs, copied), copied.bias.expand(50, 24), rtol=0, atol=0)
    assert layer.weight in _packed_weights
    count = len(_packed_weights)
    del layer
    gc.collect()
    assert len(_packed_weights) == count - 1


def test_bfloat16_on_processors_that_onednn_refuses_it() -> None:
    """A laptop without AVX-512, as oneDNN is told to take this machine for (elsewhere it is not asked)."""
    code = """
import torch
from diffgs_diffusers.functional.linear import linear, pack_weights
layer = torch.nn.Linear(19, 24).requires_grad_(False).to(torch.bfloat16)
pack_weights(layer)
inputs = torch.randn(50, 19).to(torch.bfloat16)
with torch.no_grad():
    values = linear(inputs, layer, "relu")
leaf = inputs.clone().requires_grad_()
linear(leaf, layer, "relu").sum().backward()
exact = (inputs.double() @ layer.weight.double().T + layer.bias.double()).relu()
torch.testing.assert_close(values.double(), exact, rtol=0.02, atol=0.03)
assert leaf.grad.isfinite().all()
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"})
