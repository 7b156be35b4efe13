"""Threads, Python's and torch's, change no bit of a result."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from diffgs_diffusers.functional import helpers
from diffgs_diffusers.functional.threads import map_parts, run_all, run_ranges
from diffgs_diffusers.rendering import autograd, rasterization

from .scenes import scene


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


def test_gradients_do_not_depend_on_how_many_gaussians_are_gathered_at_once(monkeypatch) -> None:
    """The last block of a part ends in its middle; nor on how many cameras, but for the order of their sums."""
    tensors = scene(1300, 3, sh_degree=1)
    in_parts = run(1, tensors)
    monkeypatch.setattr(autograd, "GRAIN", 1 << 20)
    assert all(torch.equal(a, b) for a, b in zip(in_parts, run(1, tensors), strict=True))
    monkeypatch.setattr(autograd, "PAIRS_AT_ONCE", 2600)
    for whole, parts in zip(in_parts, run(1, tensors), strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-4 * float(whole.abs().max()))


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


@pytest.mark.parametrize("threads", [1, 3])
def test_parts_are_done_alone_and_come_back_in_order(threads: int) -> None:
    def work(part: Tensor) -> tuple[float, int, bool, torch.dtype]:
        product = torch.ones(2, 2, requires_grad=True) @ torch.ones(2, 2)
        return part.sum().item(), torch.get_num_threads(), product.requires_grad, product.dtype

    def spoil(part: Tensor) -> float:
        return 1 // int(part.sum() < 10)

    parts = torch.arange(20.0).split(3)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for has_gradients, dtype in ((True, torch.float32), (False, torch.bfloat16)):
            autocast = torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16)
            with torch.set_grad_enabled(has_gradients), autocast:
                found = map_parts(work, parts, torch.device("cpu"))
            assert found == [(part.sum().item(), 1, has_gradients, dtype) for part in parts]
        with pytest.raises(ZeroDivisionError):
            map_parts(spoil, parts, torch.device("cpu"))
        assert torch.get_num_threads() == threads
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == threads
    finally:
        torch.set_num_threads(before)


def test_torchs_threads_sleep_while_ours_work_and_wake_up_again(monkeypatch) -> None:
    """Awake, they would burn processor time while nothing is done."""
    monkeypatch.setattr(helpers, "_MOST_TURNS", 1000)  # nor shall ours be awake
    if sys.platform != "linux" or not torch.backends.openmp.is_available():
        pytest.skip("how OpenMP's threads wait is known for Linux only")
    values = torch.rand(1_000_000)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = values.exp()
        run_all(lambda index: None, [(0,), (1,)])
        spent = time.process_time()
        time.sleep(0.05)
        assert time.process_time() - spent < 0.004
        assert torch.equal(values.exp(), expected)
    finally:
        torch.set_num_threads(before)
