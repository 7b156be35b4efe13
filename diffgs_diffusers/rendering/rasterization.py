"""The front door: gsplat's `rasterization` signature on any device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .arguments import RasterOptions, RasterTensors

if TYPE_CHECKING:
    from ..cameras import Cameras
    from ..gaussians import GaussianSplats


def rasterization(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    eps2d: float = 0.3,
    sh_degree: int | None = None,
    backgrounds: Tensor | None = None,
    render_mode: str = "RGB",
    rasterize_mode: str = "classic",
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Render Gaussians into a batch of pinhole cameras; gsplat on CUDA, our own kernels on the CPU.

    Differentiable in every tensor but `Ks`. On the CPU a Gaussian with a non-finite position, rotation, scale or
    opacity is culled, and the result does not depend on the number of threads (`torch.set_num_threads`).

    Args:
        means: [N,3] centres, world frame.
        quats: [N,4] rotations, wxyz, normalised here.
        scales: [N,3] standard deviations, after activation, world units.
        opacities: [N] after activation, 0 to 1.
        colors: [N,D] or [C,N,D] colours of any channel count, or with `sh_degree` harmonics [N,K,3] or [C,N,K,3].
        viewmats: [C,4,4] world to camera, OpenCV axes.
        Ks: [C,3,3] intrinsics, pixels.
        width: image width in pixels.
        height: image height in pixels.
        near_plane: Gaussians whose centre is nearer are culled, world units, above 0.
        far_plane: Gaussians whose centre is farther are culled.
        radius_clip: Gaussians with both screen radii at or below it are culled, pixels.
        eps2d: low-pass added to the diagonal of the screen covariance, square pixels.
        sh_degree: degree of the harmonics to use, 0 to 3; None: `colors` are colours.
        backgrounds: [C,D] colours behind everything, D the colour channels (3 with harmonics).
        render_mode: "RGB", "D" (accumulated depth), "ED" (expected depth), "RGB+D" or "RGB+ED" (depth last).
        rasterize_mode: "classic", or "antialiased": opacity times sqrt(det S / det(S + eps2d I)), Mip-Splatting
            eq. 11.

    Returns:
        render_colors [C,H,W,D'], premultiplied and over the background; render_alphas [C,H,W,1]; meta: means2d
        [C,N,2] pixels, conics [C,N,3], depths [C,N], opacities [C,N] (compensated), radii [C,N,2] int32 (0:
        culled), width and height. On the CPU meta is detached and 0 where culled.

    Raises:
        ValueError: a shape, device or option that does not fit; the message names the argument and its rule.
        TypeError: tensors that are not all float32 or all float64.
        ImportError: CUDA tensors without gsplat.

    Example:
        >>> colors, alphas, meta = rasterization(means, quats, scales, opacities, rgb, viewmats, Ks, 128, 128)
    """
    options = RasterOptions(
        width, height, near_plane, far_plane, radius_clip, eps2d, sh_degree, render_mode, rasterize_mode
    )
    tensors = RasterTensors(means, quats, scales, opacities, colors, viewmats, Ks, backgrounds)
    tensors.check(sh_degree)
    if means.device.type == "cuda":
        return _rasterize_cuda(tensors, options)
    return _rasterize_cpu(tensors, options)


def _rasterize_cuda(tensors: RasterTensors, options: RasterOptions) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """gsplat's own renderer, unpacked so that `meta` has the shapes promised above."""
    try:
        from gsplat import rasterization as gsplat_rasterization
    except ImportError as error:
        raise ImportError(
            "rendering CUDA tensors needs gsplat: install the extra with `pip install diffgs-diffusers[gsplat]`, "
            "or move the Gaussians and cameras to the CPU"
        ) from error
    return gsplat_rasterization(**tensors.named(), **asdict(options), packed=False)


def _rasterize_cpu(tensors: RasterTensors, options: RasterOptions) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """The numba kernels."""
    # Imported here: numba takes half a second to import, and users with CUDA never need it.
    from .autograd import Rasterize

    viewmats, colors, backgrounds = tensors.viewmats, tensors.colors, tensors.backgrounds
    if colors.dim() == (2 if options.sh_degree is None else 3):
        colors = colors[None]
    if backgrounds is not None:
        backgrounds = backgrounds if options.with_color else backgrounds.new_zeros(len(viewmats), 0)
        if options.with_depth:
            backgrounds = torch.cat([backgrounds, backgrounds.new_zeros(len(viewmats), 1)], dim=-1)
    # The centre is where the full inverse puts it, so that gradients hold for view matrices that are not rigid.
    # Harmonics of degree 0 look the same from everywhere.
    centres = torch.linalg.inv(viewmats)[:, :3, 3] if options.sh_degree else viewmats.new_zeros(len(viewmats), 3)
    render_colors, render_alphas, means2d, conics, compensated, depths, radii = Rasterize.apply(
        tensors.means, tensors.quats, tensors.scales, tensors.opacities, colors if options.with_color else None,
        viewmats, tensors.Ks, centres, backgrounds, options, tensors.needs_gradient,
    )  # fmt: skip
    if options.expected_depth:
        expected = render_colors[..., -1:] / render_alphas.clamp(min=1e-10)
        render_colors = torch.cat([render_colors[..., :-1], expected], dim=-1)
    meta = {
        "means2d": means2d, "conics": conics, "depths": depths, "opacities": compensated, "radii": radii,
        "width": options.width, "height": options.height,
    }  # fmt: skip
    return render_colors, render_alphas, meta


def render(
    splats: GaussianSplats,
    cameras: Cameras,
    *,
    background: Sequence[float] | Tensor | None = None,
    rasterize_mode: str = "antialiased",
) -> Tensor:
    """Render splats with their spherical harmonics.

    Args:
        splats: N Gaussians.
        cameras: C cameras; brought to the device and type of the splats.
        background: [3] colour to composite over; None: over 0, so colour is premultiplied by alpha.
        rasterize_mode: "antialiased" (how the objects here are fitted) or "classic".

    Returns:
        [C,H,W,4] red, green, blue (sRGB, 0 or more, not clipped at 1) and alpha.

    Raises:
        ValueError: a background that is not one colour, splats on a device that cannot render.
        TypeError: splats in half precision.
    """
    means = splats.means
    backgrounds = None
    if background is not None:
        background = torch.as_tensor(background, dtype=means.dtype, device=means.device)
        if background.shape != (3,):
            raise ValueError(f"background must have shape [3], got {list(background.shape)}")
        backgrounds = background.expand(len(cameras.viewmats), 3)
    render_colors, render_alphas, _ = rasterization(
        means, splats.quats, splats.scales, splats.opacities, splats.colors,
        cameras.viewmats.to(means), cameras.Ks.to(means), cameras.width, cameras.height,
        sh_degree=splats.sh_degree, backgrounds=backgrounds, rasterize_mode=rasterize_mode,
    )  # fmt: skip
    return torch.cat([render_colors, render_alphas], dim=-1)
