"""Models as constants: what is asked of them follows gradients through them, and never into them."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def constant_copy(module: M) -> M:
    """A copy whose weights follow no gradient; they share memory, so neither may change while it is used."""
    return copy.deepcopy(module, {id(weight): _constant(weight) for weight in module.parameters()})


def _constant(weight: Tensor) -> nn.Parameter:
    """The same values in the same memory, without a gradient."""
    weight = weight.detach()
    # What was loaded in inference mode cannot take part in a gradient, not even in that of others.
    return nn.Parameter(weight.clone() if weight.is_inference() else weight, requires_grad=False)
