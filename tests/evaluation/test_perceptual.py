"""LPIPS: what is said without its weights, and its definition with weights of which only the place is known."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from diffgs_diffusers.evaluation.perceptual import BACKBONES, load_lpips, lpips_obstacle


def test_an_unknown_backbone_is_refused() -> None:
    with pytest.raises(ValueError, match="knows the backbones alex, vgg, squeeze, got 'resnet'"):
        lpips_obstacle("resnet")


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="torchvision is installed")
def test_without_torchvision_one_line_says_so(tmp_path: Path) -> None:
    assert lpips_obstacle() == "the package torchvision is not installed"
    with pytest.raises(RuntimeError, match=r"LPIPS cannot be measured: the package torchvision is not installed\."):
        load_lpips("vgg", tmp_path / "weights.pth")


def test_weights_that_are_absent_are_named_and_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torchvision")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert BACKBONES["alex"] in str(lpips_obstacle())
    assert "there is no file nowhere.pth" in str(lpips_obstacle("alex", tmp_path / "nowhere.pth"))
    assert list(tmp_path.iterdir()) == []


def test_weights_of_a_file_are_those_that_are_used(tmp_path: Path) -> None:
    """The definition: differences of unit feature vectors, weighed by LPIPS' own weights, in every layer."""
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    backbone = torchvision.models.alexnet(weights=None)
    torch.save(backbone.state_dict(), tmp_path / "any name.pth")
    before = torch.hub.get_dir()
    lpips = load_lpips("alex", tmp_path / "any name.pth")
    assert torch.hub.get_dir() == before
    images, others = torch.rand(2, 3, 64, 64, 3).unbind()
    import torchmetrics.functional.image as functional

    heads = torch.load(Path(functional.__file__).parent / "lpips_models" / "alex.pth", "cpu", weights_only=True)
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    expected = torch.zeros(3)
    with torch.no_grad():
        x, y = (((2 * one - 1 - shift) / scale).movedim(-1, 1) for one in (images, others))
        layer = 0
        for module in backbone.features:
            x, y = module(x), module(y)
            if isinstance(module, torch.nn.ReLU):
                unit = [one / (one.square().sum(dim=1, keepdim=True) + 1e-8).sqrt() for one in (x, y)]
                weight = heads[f"lin{layer}.model.1.weight"]
                expected += ((unit[0] - unit[1]).square() * weight[0]).sum(dim=1).mean(dim=(1, 2))
                layer += 1
    torch.testing.assert_close(lpips(images, others), expected, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(lpips(images, images), torch.zeros(3))
