"""What the front door promises beyond the images: empty scenes, culling, determinism, errors, imports."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from diffgs_diffusers.cameras import orbit_cameras
from diffgs_diffusers.functional.compilation import kernel
from diffgs_diffusers.gaussians import GaussianSplats
from diffgs_diffusers.rendering import autograd, rasterization, render
from diffgs_diffusers.rendering.arguments import RasterOptions, RasterTensors
from diffgs_diffusers.rendering.rasterization import _rasterize_cuda

from . import scenes
from .scenes import scene

SIZE = {"width": scenes.WIDTH, "height": scenes.HEIGHT}


@pytest.mark.parametrize("case", ["no Gaussians", "behind", "transparent", "far away", "beside", "clipped"])
def test_nothing_to_see_is_background(case: str) -> None:
    tensors = scene(0 if case == "no Gaussians" else 20)
    options = {}
    if case == "behind":
        tensors["means"] = tensors["means"] - 50 * tensors["viewmats"][0, 2, :3]
    elif case == "transparent":
        tensors["opacities"] = torch.full_like(tensors["opacities"], 0.99 / 255)
    elif case == "far away":
        options["far_plane"] = 0.02
    elif case == "beside":
        tensors["means"] = tensors["means"] + 500 * tensors["viewmats"][0, 0, :3]
    elif case == "clipped":
        options["radius_clip"] = 1e6
    tensors["backgrounds"] = torch.tensor([[0.2, 0.4, 0.6], [0.9, 0.1, 0.3]])
    leaves = {name: tensor.requires_grad_(name != "Ks") for name, tensor in tensors.items()}
    colors, alphas, meta = rasterization(**leaves, **SIZE, **options)
    assert not alphas.any() and not meta["radii"].any()
    assert torch.equal(colors, tensors["backgrounds"][:, None, None].expand_as(colors))
    (colors.sum() + alphas.sum()).backward()
    pixels = float(scenes.WIDTH * scenes.HEIGHT)
    for name, leaf in leaves.items():
        if name == "backgrounds":
            assert torch.equal(leaf.grad, torch.full((2, 3), pixels))
        elif name != "Ks":
            assert leaf.grad is not None and not leaf.grad.any(), name


@pytest.mark.parametrize("name", ["means", "quats", "scales", "opacities"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_gaussians_are_culled(name: str, value: float) -> None:
    tensors = scene()
    whole = {key: tensor.clone() for key, tensor in tensors.items()}
    whole[name][7] = value
    rest = {
        key: tensor if key in ("viewmats", "Ks") else torch.cat([tensor[:7], tensor[8:]])
        for key, tensor in tensors.items()
    }
    assert torch.equal(rasterization(**whole, **SIZE)[0], rasterization(**rest, **SIZE)[0])


def test_zero_quaternion_is_culled() -> None:
    tensors = scene()
    tensors["quats"][3] = 0
    leaf = tensors["quats"].requires_grad_()
    colors, _, meta = rasterization(**tensors, **SIZE)
    colors.sum().backward()
    assert colors.isfinite().all() and leaf.grad.isfinite().all() and not meta["radii"][:, 3].any()


def test_equal_depths_keep_their_order() -> None:
    """Two coincident Gaussians: the first given is in front."""
    K = torch.tensor([[[20.0, 0, 8], [0, 20.0, 8], [0, 0, 1]]])
    quats = torch.tensor([[1.0, 0, 0, 0]]).repeat(2, 1)
    means = torch.tensor([[0.0, 0, 1]]).repeat(2, 1)
    opacities, shades = torch.tensor([0.8, 0.8]), torch.tensor([[1.0, 0], [0, 1]])
    colors, _, _ = rasterization(
        means, quats, torch.full((2, 3), 5.0), opacities, shades, torch.eye(4)[None], K, 16, 16
    )
    torch.testing.assert_close(colors[0, 8, 8], torch.tensor([0.8, 0.16]), rtol=1e-3, atol=0)


def test_cameras_in_batches_without_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = {**scene(40, 5), "backgrounds": torch.rand(5, 3)}
    tensors["means"].requires_grad_()
    at_once = rasterization(**tensors, **SIZE, render_mode="RGB+ED")
    monkeypatch.setattr(autograd, "PAIRS_AT_ONCE", 80)
    with torch.no_grad():
        in_batches = rasterization(**tensors, **SIZE, render_mode="RGB+ED")
    for whole, parts in zip(at_once[:2], in_batches[:2]):
        assert torch.equal(whole, parts)
    assert torch.equal(at_once[2]["means2d"], in_batches[2]["means2d"])


def test_input_changed_before_backward_is_noticed() -> None:
    tensors = scene()
    tensors["means"].requires_grad_()
    colors, _, _ = rasterization(**tensors, **SIZE)
    tensors["colors"].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        colors.sum().backward()


def test_cuda_without_gsplat_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gsplat", None)
    options = RasterOptions(8, 8, 0.01, 1e10, 0.0, 0.3, None, "RGB", "classic")
    with pytest.raises(ImportError, match=r"diffgs-diffusers\[gsplat\]"):
        _rasterize_cuda(RasterTensors(**scene(), backgrounds=None), options)


def test_cuda_call_fits_the_signature_of_gsplat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every argument that would be passed on exists there, and `meta` would be unpacked."""
    import inspect

    import gsplat

    signature = inspect.signature(gsplat.rasterization)
    monkeypatch.setattr(gsplat, "rasterization", lambda **arguments: signature.bind(**arguments).arguments)
    options = RasterOptions(8, 8, 0.01, 1e10, 0.0, 0.3, None, "RGB", "classic")
    bound = _rasterize_cuda(RasterTensors(**scene(), backgrounds=None), options)
    assert bound["packed"] is False and bound["width"] == 8 and "backgrounds" not in bound


def test_import_leaves_numba_alone() -> None:
    code = "import sys, diffgs_diffusers.rendering; sys.exit('numba' in sys.modules or 'gsplat' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_kernels_compile_where_no_cache_can_be_kept() -> None:
    """A function without a source file is refused by numba's cache just as a read-only installation is."""
    namespace: dict = {}
    exec("def double(x):\n    return 2 * x", namespace)
    assert kernel(namespace["double"])(21) == 42


def splats(count: int = 30) -> GaussianSplats:
    tensors = scenes.single_precision(scenes.gaussians(count))
    coefficients = scenes.colors(count, 2).float()
    return GaussianSplats(
        tensors["means"] * 0.2, torch.nn.functional.normalize(tensors["quats"], dim=-1), tensors["scales"] * 0.3,
        tensors["opacities"], coefficients[:, :1], coefficients[:, 1:],
    )  # fmt: skip


def test_render() -> None:
    """Premultiplied without a background; with one, composited and the same alpha."""
    objects, views = splats(), orbit_cameras(3, 24)
    plain = render(objects, views)
    white = render(objects, views, background=torch.ones(3))
    assert plain.shape == (3, 24, 24, 4) and plain[..., 3].max() > 0.5
    assert torch.equal(plain[..., 3], white[..., 3])
    torch.testing.assert_close(white[..., :3], plain[..., :3] + 1 - plain[..., 3:], rtol=0, atol=1e-6)
    assert torch.equal(plain, objects.render(views))
    classic = render(objects, views, rasterize_mode="classic")
    assert (classic[..., 3].sum() > plain[..., 3].sum()) and not torch.equal(classic, plain)
    with pytest.raises(ValueError, match=r"background must have shape \[3\], got \[4\]"):
        render(objects, views, background=torch.ones(4))
