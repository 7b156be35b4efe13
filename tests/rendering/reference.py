"""A slow, dense renderer in plain torch: every Gaussian against every pixel, gradients by autograd.

Written from the papers' formulas, with matrices where the kernels have scalars, so that the two share no shortcut.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def rotation_matrices(quats: Tensor) -> Tensor:
    """[N,3,3] from quaternions [N,4] (wxyz), as I + 2 w [v]x + 2 [v]x^2 of the normalised quaternion."""
    unit = quats / quats.norm(dim=-1, keepdim=True)
    w, x, y, z = unit.unbind(-1)
    zero = torch.zeros_like(w)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).reshape(-1, 3, 3)
    return torch.eye(3, dtype=quats.dtype) + 2 * w[:, None, None] * skew + 2 * skew @ skew


def _legendre(band: int, m: int, z: Tensor) -> Tensor:
    """d^m P_l / dz^m of band l, the associated Legendre polynomial without its power of sin."""
    coefficients = {
        0: [1.0], 1: [0.0, 1.0], 2: [-0.5, 0.0, 1.5], 3: [0.0, -1.5, 0.0, 2.5],
    }[band]  # fmt: skip
    for _ in range(m):
        coefficients = [k * value for k, value in enumerate(coefficients)][1:]
    return sum((value * z**k for k, value in enumerate(coefficients)), torch.zeros_like(z))


def spherical_harmonics(degree: int, directions: Tensor) -> Tensor:
    """Real harmonics [..., (degree+1)^2] in unit directions [..., 3], from their definition."""
    x, y, z = directions.unbind(-1)
    values = []
    for band in range(degree + 1):
        for m in range(-band, band + 1):
            k = abs(m)
            norm = math.sqrt((2 * band + 1) / (4 * math.pi) * math.factorial(band - k) / math.factorial(band + k))
            power = torch.complex(x, y) ** k
            part = power.imag if m < 0 else power.real
            sign = (-1) ** k * (math.sqrt(2) if m else 1.0)
            values.append(sign * norm * _legendre(band, k, z) * part)
    return torch.stack(values, dim=-1)


def project(means, quats, scales, viewmat, K, width, height, eps2d):
    """Centres [N,2], blurred covariances [N,2,2], their compensations [N] and depths [N] in one camera."""
    rotation = rotation_matrices(quats)
    half = rotation @ torch.diag_embed(scales)
    covariance = half @ half.transpose(-1, -2)
    view = viewmat[:3, :3]
    points = means @ view.T + viewmat[:3, 3]
    x, y, z = points.unbind(-1)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    margin_x, margin_y = 0.15 * width / fx, 0.15 * height / fy
    ux = torch.clamp(x / z, -cx / fx - margin_x, (width - cx) / fx + margin_x)
    uy = torch.clamp(y / z, -cy / fy - margin_y, (height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    jacobian = torch.stack([fx / z, zero, -fx * ux / z, zero, fy / z, -fy * uy / z], dim=-1).reshape(-1, 2, 3)
    screen = jacobian @ view @ covariance @ view.T @ jacobian.transpose(-1, -2)
    blurred = screen + eps2d * torch.eye(2, dtype=means.dtype)
    ratio = torch.linalg.det(screen) / torch.linalg.det(blurred)
    centres = torch.stack([fx * x / z + cx, fy * y / z + cy], dim=-1)
    return centres, blurred, ratio.clamp(min=0).sqrt(), z


def rasterization(
    means, quats, scales, opacities, colors, viewmats, Ks, width, height, near_plane=0.01, far_plane=1e10,
    eps2d=0.3, sh_degree=None, backgrounds=None, render_mode="RGB", rasterize_mode="classic",
):  # fmt: skip
    """The front door's signature; float64 in, colours [C,H,W,D'] and alphas [C,H,W,1] out."""
    images, alphas = [], []
    for camera, (viewmat, K) in enumerate(zip(viewmats, Ks)):
        centres, blurred, compensation, depths = project(means, quats, scales, viewmat, K, width, height, eps2d)
        keep = torch.nonzero((depths >= near_plane) & (depths <= far_plane))[:, 0]
        keep = keep[torch.argsort(depths[keep].float(), stable=True)]
        opacity = opacities * compensation if rasterize_mode == "antialiased" else opacities
        channels = _channels(means, colors, viewmat, camera, len(viewmats), sh_degree, render_mode, depths)
        image, alpha = _blend(centres[keep], blurred[keep], opacity[keep], channels[keep], width, height)
        if backgrounds is not None:
            behind = backgrounds[camera] if "RGB" in render_mode else backgrounds.new_zeros(0)
            behind = torch.cat([behind, behind.new_zeros(channels.shape[-1] - len(behind))])
            image = image + (1 - alpha) * behind
        if render_mode.endswith("ED"):
            image = torch.cat([image[..., :-1], image[..., -1:] / alpha.clamp(min=1e-10)], dim=-1)
        images.append(image)
        alphas.append(alpha)
    return torch.stack(images), torch.stack(alphas)


def _channels(means, colors, viewmat, camera, cameras, sh_degree, render_mode, depths):
    """What each Gaussian shows in one camera, [N,D']."""
    parts = []
    if "RGB" in render_mode:
        own = colors[camera] if colors.dim() == (3 if sh_degree is None else 4) else colors
        if sh_degree is not None:
            eye = torch.linalg.inv(viewmat)[:3, 3]
            directions = torch.nn.functional.normalize(means - eye, dim=-1)
            basis = spherical_harmonics(sh_degree, directions)
            own = (basis[..., None] * own[:, : basis.shape[-1]]).sum(-2) + 0.5
            own = own.clamp(min=0)
        parts.append(own)
    if "D" in render_mode:
        parts.append(depths[:, None])
    return torch.cat(parts, dim=-1)


def _blend(centres, blurred, opacity, channels, width, height):
    """Front-to-back blending of Gaussians in order: image [H,W,D'] and alpha [H,W,1]."""
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([xs, ys], dim=-1).reshape(-1, 1, 2) + 0.5
    offsets = pixels.to(centres.dtype) - centres
    sigma = 0.5 * torch.einsum("pni,nij,pnj->pn", offsets, torch.linalg.inv(blurred), offsets)
    alpha = torch.clamp(opacity * torch.exp(-sigma), max=0.999)
    alpha = torch.where(alpha >= 1 / 255, alpha, torch.zeros_like(alpha))
    after = torch.cumprod(1 - alpha, dim=1)
    # What would close the pixel is left out, and with it everything behind.
    alpha = torch.where(after > 1e-4, alpha, torch.zeros_like(alpha))
    after = torch.cumprod(1 - alpha, dim=1)
    before = torch.cat([torch.ones_like(after[:, :1]), after], dim=1)
    weights = alpha * before[:, :-1]
    image = (weights @ channels).reshape(height, width, -1)
    return image, (1 - before[:, -1]).reshape(height, width, 1)
