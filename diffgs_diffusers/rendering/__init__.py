"""Rendering of 3D Gaussians: one front door, gsplat on CUDA, our own kernels on the CPU."""

from .rasterization import rasterization, render

__all__ = ["rasterization", "render"]
