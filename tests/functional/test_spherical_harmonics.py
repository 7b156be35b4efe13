from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y

from diffgs_diffusers.functional.quaternions import quaternions_to_matrices
from diffgs_diffusers.functional.spherical_harmonics import (
    num_sh_bases,
    rgb_to_sh0,
    rotate_sh,
    sh0_to_rgb,
    sh_bases,
    sh_degree_of,
)


def directions(count: int = 50) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.nn.functional.normalize(torch.randn(count, 3, generator=generator, dtype=torch.float64), dim=-1)


def test_bases_are_the_real_spherical_harmonics_of_scipy():
    """Real harmonics without the Condon-Shortley phase are scipy's complex ones up to sqrt(2) and a sign."""
    d = directions()
    x, y, z = d.numpy().T
    polar, azimuth = np.arccos(z), np.arctan2(y, x)
    ours = sh_bases(d, 3).numpy()
    for degree in range(4):
        for order in range(-degree, degree + 1):
            value = sph_harm_y(degree, abs(order), polar, azimuth)
            reference = value.real if order == 0 else np.sqrt(2) * (value.imag if order < 0 else value.real)
            column = ours[:, degree * degree + degree + order]
            np.testing.assert_allclose(column, reference, atol=1e-12)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_rotated_coefficients_show_the_same_colour_in_the_turned_direction(degree):
    d, rotation = directions(), quaternions_to_matrices(torch.tensor([0.3, -0.5, 0.7, 0.2], dtype=torch.float64))
    coefficients = torch.randn(5, num_sh_bases(degree) - 1, 3, dtype=torch.float64)
    before = torch.einsum("dk,nkc->ndc", sh_bases(d, degree)[:, 1:], coefficients)
    after = torch.einsum("dk,nkc->ndc", sh_bases(d @ rotation.T, degree)[:, 1:], rotate_sh(coefficients, rotation))
    torch.testing.assert_close(after, before)


def test_rgb_round_trip_and_clamp():
    rgb = torch.rand(7, 3)
    torch.testing.assert_close(sh0_to_rgb(rgb_to_sh0(rgb)), rgb)
    assert sh0_to_rgb(torch.tensor([-9.0])).item() == 0.0


@pytest.mark.parametrize("bad", [-1, 4, 1.5])
def test_degrees_beyond_three_are_refused(bad):
    with pytest.raises(ValueError, match="0, 1, 2 or 3"):
        num_sh_bases(bad)


def test_degree_of_a_number_of_bases():
    assert [sh_degree_of(k) for k in (1, 4, 9, 16)] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="got 5"):
        sh_degree_of(5)
