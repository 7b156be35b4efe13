"""Fitting Gaussians to views by gradient descent, with their number and rough places kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..cameras import Cameras
from ..functional.image_metrics import psnr
from ..functional.spherical_harmonics import rgb_to_sh0, sh0_to_rgb
from ..gaussians import GaussianSplats
from ..rendering import rasterization


@dataclass(frozen=True)
class RefinementSettings:
    """How surfels are fitted to views.

    Args:
        iterations: optimiser steps, one view each.
        fine_share: share of the steps at full resolution; the others see half of it.
        means_lr: step of the centres, in spacings.
        scales_lr: step of the log scales.
        quats_lr: step of the quaternions.
        opacities_lr: step of the logit opacities.
        colors_lr: step of the colours.
        final_lr: the learning rates fall to this share of themselves.
        max_drift: farthest that a centre may move from where it began, in spacings.
        max_width: largest σ within the surface, in spacings.
        max_thickness: largest σ of the thinnest axis, in spacings.
        min_width: smallest σ of any axis, in spacings.
        l2_weight: weight of the squared error beside the absolute one.
    """

    iterations: int = 200
    fine_share: float = 0.35
    means_lr: float = 0.03
    scales_lr: float = 0.05
    quats_lr: float = 0.02
    opacities_lr: float = 0.06
    colors_lr: float = 0.025
    final_lr: float = 0.1
    max_drift: float = 0.75
    max_width: float = 1.5
    max_thickness: float = 0.25
    min_width: float = 0.02
    l2_weight: float = 8.0


@dataclass(frozen=True)
class ViewPyramid:
    """Views of one object at full and half resolution, premultiplied RGBA [C, H, W, 4]."""

    cameras: Cameras
    fine: Tensor
    coarse: Tensor

    @property
    def coarse_cameras(self) -> Cameras:
        return self.cameras.resized(self.coarse.shape[2], self.coarse.shape[1])


def refine(
    splats: GaussianSplats,
    spacing: Tensor,
    views: ViewPyramid,
    settings: RefinementSettings,
    generator: torch.Generator,
) -> GaussianSplats:
    """Fits splats to views in antialiased rendering.

    The error is taken over colour and alpha, so that the fit holds over any background.

    Args:
        splats: N Gaussians of SH degree 0, thinnest along their third axis.
        spacing: [N] distance between neighbours in object units.
        views: what to fit.
        settings: step sizes and bounds.
        generator: draws the order of the views.

    Returns:
        N Gaussians, in the order of ``splats``.
    """
    fit = _Fit(splats, spacing, settings)
    rounds = -(-settings.iterations // len(views.fine))
    order = torch.cat([torch.randperm(len(views.fine), generator=generator) for _ in range(rounds)])
    fine_steps = torch.rand(settings.iterations, generator=generator) < settings.fine_share
    coarse_cameras = views.coarse_cameras
    decay = settings.final_lr ** (1.0 / max(settings.iterations - 1, 1))
    for view, is_fine in zip(order.tolist(), fine_steps.tolist()):
        cameras, targets = (views.cameras, views.fine) if is_fine else (coarse_cameras, views.coarse)
        fit.step(cameras.select(slice(view, view + 1)), targets[view : view + 1])
        fit.decay(decay)
    return fit.splats()


class _Fit:
    """The optimised quantities of one object and their bounds."""

    def __init__(self, splats: GaussianSplats, spacing: Tensor, settings: RefinementSettings):
        self._settings = settings
        self._start, self._spacing = splats.means, spacing[:, None]
        limits = torch.tensor([settings.max_width, settings.max_width, settings.max_thickness])
        self._log_limits = (limits * self._spacing).log()
        self._log_floor = (settings.min_width * self._spacing).log()
        self._drift = torch.zeros_like(splats.means).requires_grad_()
        self._quats = splats.quats.clone().requires_grad_()
        self._log_scales = splats.scales.log().requires_grad_()
        self._logits = torch.logit(splats.opacities.clamp(0.01, 0.99)).requires_grad_()
        self._colors = sh0_to_rgb(splats.sh0[:, 0]).clamp(0, 1).requires_grad_()
        groups = {
            "means_lr": self._drift,
            "quats_lr": self._quats,
            "scales_lr": self._log_scales,
            "opacities_lr": self._logits,
            "colors_lr": self._colors,
        }
        self._optimizer = torch.optim.Adam(
            [{"params": [value], "lr": getattr(settings, name)} for name, value in groups.items()],
            betas=(0.9, 0.98),
            eps=1e-15,
            foreach=True,
        )

    def step(self, cameras: Cameras, targets: Tensor) -> None:
        colors, alphas, _ = rasterization(
            self._start + self._drift * self._spacing,
            self._quats,
            self._log_scales.exp(),
            self._logits.sigmoid(),
            self._colors,
            cameras.viewmats,
            cameras.Ks,
            cameras.width,
            cameras.height,
            rasterize_mode="antialiased",
        )
        error = torch.cat([colors, alphas], dim=-1) - targets
        loss = error.abs().mean() + self._settings.l2_weight * error.square().mean()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        self._keep_in_bounds()

    def decay(self, factor: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] *= factor

    @torch.no_grad()
    def _keep_in_bounds(self) -> None:
        length = self._drift.norm(dim=-1, keepdim=True)
        self._drift.mul_((self._settings.max_drift / length.clamp(min=1e-12)).clamp(max=1.0))
        self._log_scales.copy_(self._log_scales.clamp(self._log_floor, self._log_limits))
        self._colors.clamp_(0, 1)

    @torch.no_grad()
    def splats(self) -> GaussianSplats:
        """The present state, quaternions of unit length."""
        return GaussianSplats(
            means=self._start + self._drift * self._spacing,
            quats=torch.nn.functional.normalize(self._quats, dim=-1),
            scales=self._log_scales.exp(),
            opacities=self._logits.sigmoid(),
            sh0=rgb_to_sh0(self._colors[:, None]),
        ).detach()


@torch.no_grad()
def fit_psnr(splats: GaussianSplats, cameras: Cameras, targets: Tensor) -> float:
    """Mean PSNR in dB of renders on white against premultiplied RGBA views [C, H, W, 4]."""
    white = torch.ones(3)
    reference = targets[..., :3] + (1 - targets[..., 3:])
    images = splats.render(cameras, background=white)[..., :3].clamp(0, 1)
    return float(psnr(images, reference).mean())
