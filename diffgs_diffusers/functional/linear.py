"""Linear layers whose weights are constants: by oneDNN on the CPU, with the activation in the same pass.

For float32 torch asks MKL, which on processors that are not Intel's leaves half of the arithmetic idle; oneDNN does
not. What torch calls `mkldnn` is oneDNN, which has the activation, too, while a value is still in a register.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.weak import WeakTensorKeyDictionary

_PLAIN = {"none": nn.Identity(), "relu": nn.ReLU(inplace=True), "swish": nn.SiLU()}
_WITH_GRADIENT = ("none", "relu")  # whose derivative can be read off their values
_ROWS = 4096  # inputs that weights are laid out for; others are served as well
# By weight, what is laid out by way. Not within weights: a copy of a module cannot take oneDNN's layout along.
_packed_weights: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def linear(inputs: Tensor, layer: nn.Linear, activation: str = "none") -> Tensor:
    """The layer's values, activated.

    Differentiable in the inputs, and in the layer's weights where they require a gradient: those torch multiplies.

    Args:
        inputs: [..., in_features].
        layer: under autocast of the CPU its products are in that precision.
        activation: "none", "relu" or "swish" (SiLU).

    Returns:
        [..., out_features].
    """
    weight: Tensor = layer.weight
    bias: Tensor | None = layer.bias
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        inputs, weight, bias = inputs.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    if _is_constant(inputs, weight, activation):
        if not torch.is_grad_enabled():  # a function of autograd costs as much as a small product
            return _product(inputs, weight, bias, activation)
        values: Tensor = _ConstantLinear.apply(inputs, weight, bias, activation)
        return values
    return _PLAIN[activation](nn.functional.linear(inputs, weight, bias))


def pack_weights(module: nn.Module) -> None:
    """Has the weights of linear layers laid out as oneDNN reads them when they are first read, not in every call.

    Args:
        module: on the CPU; whose weights are never changed again, as nobody would lay them out anew. Others than
            oneDNN's are left as they are.
    """
    if not hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
        return
    for layer in module.modules():
        if isinstance(layer, nn.Linear) and _can_multiply(layer.weight):
            _packed_weights[layer.weight] = {}


def _is_constant(inputs: Tensor, weight: Tensor, activation: str) -> bool:
    """Whether oneDNN can do it, and no gradient is lost by that."""
    if not (_can_multiply(inputs) and _can_multiply(weight)):
        return False
    if inputs.dtype != weight.dtype or inputs.numel() == 0:
        return False
    if not torch.is_grad_enabled():
        return True
    return not weight.requires_grad and (not inputs.requires_grad or activation in _WITH_GRADIENT)


def has_onednn() -> bool:
    """Whether torch was built with it."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _can_multiply(values: Tensor) -> bool:
    """Whether oneDNN takes part in products of such values; bfloat16 it refuses on processors without AVX-512."""
    if not has_onednn() or values.device.type != "cpu":
        return False
    return values.dtype == torch.float32 or (values.dtype == torch.bfloat16 and _has_bfloat16())


@cache
def _has_bfloat16() -> bool:
    """Whether oneDNN multiplies bfloat16 on this processor."""
    asked = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return asked is not None and bool(asked())


def _product(inputs: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    return _asked(inputs, _laid_out(weight, "forward"), bias, activation)


def _product_back(v_values: Tensor, weight: Tensor) -> Tensor:
    """The gradient of the inputs from that of the values."""
    return _asked(v_values, _laid_out(weight, "back"), None, "none")


@torch.no_grad()
def _laid_out(weight: Tensor, way: Literal["forward", "back"]) -> Tensor:
    """The weight as a product of this way reads it, kept if it is packed."""
    packed = _packed_weights.get(weight)
    if packed is not None and way in packed:
        return packed[way]
    turned = weight if way == "forward" else weight.t().contiguous()
    if packed is None:
        return turned
    packed[way] = torch.ops.mkldnn._reorder_linear_weight(turned, _ROWS)
    return packed[way]


def _asked(inputs: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    values: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, activation, [], "")
    return values


class _ConstantLinear(torch.autograd.Function):
    """Values and the gradient of the inputs alone."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
        values = _product(inputs, weight, bias, activation)
        ctx.is_bent = activation == "relu"
        ctx.save_for_backward(weight, *([values] if ctx.is_bent else []))
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_values: Tensor) -> tuple[Tensor, None, None, None]:
        weight, *values = ctx.saved_tensors
        if ctx.is_bent:
            v_values = torch.ops.aten.threshold_backward(v_values, values[0], 0)
        return _product_back(v_values, weight), None, None, None
