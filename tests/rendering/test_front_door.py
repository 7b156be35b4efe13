"""What the front door promises beyond the images: empty scenes, culling, determinism, errors, imports."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from diffgs_diffusers.cameras import orbit_cameras
from diffgs_diffusers.gaussians import GaussianSplats
from diffgs_diffusers.rendering import rasterization, render
from diffgs_diffusers.rendering import rasterization as rasterization_function
from diffgs_diffusers.rendering.arguments import RasterOptions, RasterTensors
from diffgs_diffusers.rendering.compilation import kernel
from diffgs_diffusers.rendering.rasterization import _rasterize_cuda
from diffgs_diffusers.rendering.threads import run_ranges

from . import scenes

SIZE = {"width": scenes.WIDTH, "height": scenes.HEIGHT}


def scene(count: int = 50, views: int = 2, sh_degree: int | None = None) -> dict[str, Tensor]:
    tensors = {**scenes.gaussians(count), **scenes.cameras(views), "colors": scenes.colors(count, sh_degree)}
    return scenes.single_precision(tensors)


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


def run(threads: int, tensors: dict[str, Tensor]) -> list[Tensor]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        leaves = {name: tensor.clone().requires_grad_(name != "Ks") for name, tensor in tensors.items()}
        colors, alphas, _ = rasterization(**leaves, width=200, height=160, sh_degree=1)
        (colors.square().sum() + alphas.sum()).backward()
    finally:
        torch.set_num_threads(before)
    return [colors.detach(), alphas.detach(), *(leaf.grad for leaf in leaves.values() if leaf.grad is not None)]


def test_threads_change_nothing() -> None:
    """Bit for bit, with more Gaussians than one block; also from several Python threads at once."""
    tensors = scene(9000, 2, sh_degree=1)
    alone = run(1, tensors)
    assert len(alone) == 8
    assert all(torch.equal(a, b) for a, b in zip(alone, run(3, tensors)))
    with ThreadPoolExecutor(2) as pool:
        for result in pool.map(lambda _: run(2, tensors), range(2)):
            assert all(torch.equal(a, b) for a, b in zip(alone, result))


def test_cameras_in_batches_without_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = {**scene(40, 5), "backgrounds": torch.rand(5, 3)}
    tensors["means"].requires_grad_()
    at_once = rasterization(**tensors, **SIZE, render_mode="RGB+ED")
    module = sys.modules[rasterization_function.__module__]
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", 80)
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


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("means", (50, 2), r"means must have shape \[50, 3\], got \[50, 2\]"),
        ("means", (50,), r"means must have shape \[N, 3\]"),
        ("quats", (49, 4), r"quats must have shape \[50, 4\], got \[49, 4\]"),
        ("scales", (50,), r"scales must have shape \[50, 3\]"),
        ("opacities", (50, 1), r"opacities must have shape \[50\]"),
        ("colors", (49, 3), r"colors must have shape \[50, D\] or \[2, 50, D\]"),
        ("colors", (50, 0), r"D above 0"),
        ("viewmats", (2, 3, 4), r"viewmats must have shape \[2, 4, 4\]"),
        ("viewmats", (0, 4, 4), r"C above 0"),
        ("Ks", (1, 3, 3), r"Ks must have shape \[2, 3, 3\]"),
        ("backgrounds", (3,), r"backgrounds must have shape \[2, 3\]"),
        ("backgrounds", (2, 4), r"backgrounds must have shape \[2, 3\]"),
    ],
)
def test_wrong_shapes(name: str, shape: tuple[int, ...], message: str) -> None:
    tensors = {**scene(), name: torch.zeros(shape)}
    with pytest.raises(ValueError, match=message):
        rasterization(**tensors, **SIZE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"render_mode": "rgb"}, "render_mode must be one of RGB, D, ED, RGB.D, RGB.ED, got 'rgb'"),
        ({"rasterize_mode": "fast"}, "rasterize_mode must be one of classic, antialiased"),
        ({"width": 0}, "width must be at least 1 pixel, got 0"),
        ({"height": -3}, "height must be at least 1 pixel, got -3"),
        ({"near_plane": 0.0}, "near_plane must be above 0"),
        ({"near_plane": 2.0, "far_plane": 1.0}, "below far_plane"),
        ({"eps2d": -0.1}, "eps2d must be 0 or more"),
        ({"sh_degree": 4}, "sh_degree must be None or 0 to 3, got 4"),
        ({"sh_degree": 1}, r"colors must have shape \[50, K, 3\] or \[2, 50, K, 3\] with K at least 4"),
    ],
)
def test_wrong_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rasterization(**scene(), **{**SIZE, **options})


def test_wrong_types_and_devices() -> None:
    with pytest.raises(TypeError, match=r"scales must be torch.float32 like means, got torch.float64"):
        tensors = scene()
        rasterization(**{**tensors, "scales": tensors["scales"].double()}, **SIZE)
    with pytest.raises(TypeError, match=r"means must be torch.float32 or torch.float64 on cpu, got torch.float16"):
        rasterization(**{name: tensor.half() for name, tensor in scene().items()}, **SIZE)
    with pytest.raises(ValueError, match="quats must be on cpu like means, got meta"):
        tensors = scene()
        rasterization(**{**tensors, "quats": tensors["quats"].to("meta")}, **SIZE)
    with pytest.raises(ValueError, match="means must be on the CPU or on CUDA, got meta"):
        rasterization(**{name: tensor.to("meta") for name, tensor in scene().items()}, **SIZE)


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


def test_rendering_after_a_fork() -> None:
    """Data loader workers fork from a process that has rendered on several threads; torch gives them one."""
    code = """
import os, torch
from diffgs_diffusers.rendering import rasterization
torch.set_num_threads(2)
def image():
    means = torch.rand(9000, 3, generator=torch.Generator().manual_seed(0)) + torch.tensor([-0.5, -0.5, 1.0])
    quats = torch.tensor([[1.0, 0, 0, 0]]).repeat(9000, 1)
    K = torch.tensor([[[90.0, 0, 64], [0, 90.0, 64], [0, 0, 1]]])
    scales, opacities, view = means * 0 + 0.01, means[:, 0] * 0 + 0.5, torch.eye(4)[None]
    return rasterization(means, quats, scales, opacities, means, view, K, 128, 128)[0]
before = image()
child = os.fork()
if child == 0:
    torch.set_num_threads(1)
    os._exit(0 if torch.equal(image(), before) else 3)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_import_leaves_numba_alone() -> None:
    code = "import sys, diffgs_diffusers.rendering; sys.exit('numba' in sys.modules or 'gsplat' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_kernels_compile_where_no_cache_can_be_kept() -> None:
    """A function without a source file is refused by numba's cache just as a read-only installation is."""
    namespace: dict = {}
    exec("def double(x):\n    return 2 * x", namespace)
    assert kernel(namespace["double"])(21) == 42


def test_ranges_cover_the_work_and_errors_come_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        seen: list[int] = []
        run_ranges(lambda first, last: seen.extend(range(first, last)), 1001, 10)
        assert sorted(seen) == list(range(1001))
        with pytest.raises(ZeroDivisionError):
            run_ranges(lambda first, last: 1 // 0, 100, 1)
    finally:
        torch.set_num_threads(before)


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
