"""How well the VAE's three functions follow their targets: mean absolute errors of GauPF, GauCF and GauTF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace

import numpy as np
import torch

from ..data.function_samples import FunctionSampling, function_sample
from ..functional.gaupf import QueryMix
from ..functional.spherical_harmonics import SH_C0
from ..gaussians import GaussianSplats
from ..models.autoencoder_gaussian import GaussianVAE
from ..training.objectives_vae import shape_loss


@dataclass(frozen=True)
class FunctionErrors:
    """Mean absolute errors of one object, of decoded functions against the targets of training.

    Args:
        gaupf_near: of GauPF where its target is above 0: nearer to the surface than the truncation.
        gaupf_box: of GauPF at points that are uniform in the box.
        gaucf: of GauCF around the centres, in RGB.
        gautf_scale: of GauTF's standard deviations, sorted, in local spacings.
        gautf_shape: of R diag(s) Rᵀ, which rotations have a say in, in local spacings; a third of the sum over
            its entries, as in training.
        gautf_opacity: of GauTF's opacity.
    """

    gaupf_near: float
    gaupf_box: float
    gaucf: float
    gautf_scale: float
    gautf_shape: float
    gautf_opacity: float


@torch.no_grad()
def function_errors(
    vae: GaussianVAE, splats: GaussianSplats, seed: int = 0, sampling: FunctionSampling | None = None
) -> FunctionErrors:
    """Encodes an object to the posterior's mode, decodes it, and asks the functions.

    Args:
        vae: in eval mode, float32.
        splats: the fitted object, on the CPU.
        seed: draws the points.
        sampling: how many points, and how far from the centres; that of training if None.
    """
    sampling = sampling or FunctionSampling()
    config = vae.config
    options = {"truncation": config.truncation, "core": config.core, "sh_degree": config.sh_degree}
    planes = vae.decode(vae.encode(splats).latent_dist.mode()).planes

    def asked(mix: QueryMix, number: int) -> dict[str, torch.Tensor]:
        changed = replace(sampling, mix=mix)
        return function_sample(splats, changed, np.random.default_rng((seed, number)), **options)

    mix = sampling.mix
    near_share = mix.near_share / (mix.near_share + mix.middle_share)
    spread = {"near_sigma": mix.near_sigma, "middle_sigma": mix.middle_sigma, "half_side": mix.half_side}
    near = asked(QueryMix(near_share=near_share, middle_share=1 - near_share, **spread), 0)
    box = asked(QueryMix(near_share=0.0, middle_share=0.0, **spread), 1)

    def probability_error(sample: dict[str, torch.Tensor], kept: torch.Tensor) -> float:
        points = sample["query_points"].to(planes)
        found = vae.heads.probability(planes, points[None])[0].clamp(0, 1).cpu()
        return float((found - sample["probability"]).abs()[kept].mean())

    sh, scales, quats, opacities = (
        value[0].cpu() for value in vae.heads.attributes(planes, near["centers"].to(planes)[None])
    )
    sorted_scales = scales.sort(dim=-1).values, near["scales"].sort(dim=-1).values
    return FunctionErrors(
        gaupf_near=probability_error(near, near["probability"] > 0),
        gaupf_box=probability_error(box, torch.ones_like(box["probability"], dtype=torch.bool)),
        gaucf=float((sh - near["sh"]).abs().mean() * SH_C0),
        gautf_scale=float((sorted_scales[0] - sorted_scales[1]).abs().mean()),
        gautf_shape=float(shape_loss(scales, quats, near["scales"], near["quats"])),
        gautf_opacity=float((opacities - near["opacities"]).abs().mean()),
    )


def mean_errors(objects: Sequence[FunctionErrors]) -> dict[str, float]:
    """Means over objects, and their number."""
    values = [asdict(one) for one in objects]
    means = {field.name: float(np.mean([one[field.name] for one in values])) for field in fields(FunctionErrors)}
    return {"num_objects": len(objects), **means}
