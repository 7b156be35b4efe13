"""A first guess of an object's latents from one picture of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .triplane import ResidualBlock2D
from .unet_1d_blocks import unpatchify, zero_init

PICTURE_SIZE = 64  # pixels a side that are looked at
_DROPOUT = 0.3
_GROUPS = 8


class PictureGuess(nn.Module):
    """The mean of all latents that fit a picture, and what of it is told to the denoiser at each position.

    Attention to a picture's tokens has to learn which part of the picture each position of a latent belongs to,
    from any side; a regression learns it in a tenth of the steps, as from picture to planes in LRM (Hong et al.
    2024). Of a few hundred objects a convolutional network learns more than CLIP's transformer, whose states are
    told besides, and it learns from which side they are seen. The guess is of low rank: the principal components
    of the latents.

    Args:
        num_positions: positions of the denoiser's sequence.
        channels: latent channels of a position.
        rank: components of the guess.
        width: channels of the network's first layer, a multiple of 8; the last ones have four times as many.
        cross_attention_dim: size of a state.
    """

    def __init__(self, num_positions: int, channels: int, rank: int, width: int, cross_attention_dim: int) -> None:
        super().__init__()
        self.channels = channels
        self.network = nn.Sequential(
            nn.Conv2d(3, width, 4, stride=2, padding=1),
            ResidualBlock2D(width),
            ResidualBlock2D(width, 2 * width, stride=2),
            ResidualBlock2D(2 * width),
            ResidualBlock2D(2 * width, 4 * width, stride=2),
            ResidualBlock2D(4 * width),
            ResidualBlock2D(4 * width, stride=2),
            nn.GroupNorm(_GROUPS, 4 * width),
            nn.SiLU(),
            nn.Flatten(),
            nn.Dropout(_DROPOUT),
        )
        self.num_features = 4 * width * (PICTURE_SIZE // 16) ** 2
        self.components = nn.Linear(self.num_features, rank)
        self.basis = nn.Linear(rank, num_positions * channels)
        self.proj_out = zero_init(nn.Linear(channels, cross_attention_dim, bias=False))

    def features(self, pixels: Tensor) -> Tensor:
        """What the network sees in pictures, [B, num_features].

        Args:
            pixels: [B, 3, H, H], as CLIP's image processor makes them, of any size.
        """
        size = (PICTURE_SIZE, PICTURE_SIZE)
        if pixels.shape[-2:] != size:
            pixels = nn.functional.interpolate(pixels.float(), size=size, mode="bilinear", antialias=True)
        pixels = pixels.to(self.components.weight.dtype)
        return self.network(pixels.contiguous(memory_format=torch.channels_last))

    def guess(self, pixels: Tensor) -> Tensor:
        """Normalised latents, patch beside patch, [B, num_positions, channels], of pictures as for
        :meth:`features`."""
        return self.guess_from(self.features(pixels))

    def guess_from(self, features: Tensor) -> Tensor:
        """The same from :meth:`features`."""
        return self.basis(self.components(features)).unflatten(1, (-1, self.channels))

    @staticmethod
    def latents(guess: Tensor, patch_size: int) -> Tensor:
        """A guess [B, num_positions, channels] as latents [B, C, L]."""
        return unpatchify(guess.transpose(1, 2), patch_size)

    def places(self, guess: Tensor) -> Tensor:
        """States [B, num_positions, cross_attention_dim] that tell a guess [B, num_positions, channels]."""
        return self.proj_out(guess)

    def forward(self, pixels: Tensor) -> Tensor:
        """States [B, num_positions, cross_attention_dim] of the positions, of pictures as for :meth:`features`."""
        return self.places(self.guess(pixels))

    def freeze_guess(self) -> None:
        """Keeps the guess as it is; how it is told can still be learned."""
        self.requires_grad_(False)
        self.proj_out.requires_grad_(True)
        self.network.eval()

    def train(self, mode: bool = True) -> PictureGuess:
        """As every module, but what does not learn drops nothing."""
        super().train(mode)
        if not self.components.weight.requires_grad:
            self.network.eval()
        return self

    @torch.no_grad()
    def span_(self, patches: Tensor) -> None:
        """Starts from the principal components of latents.

        Args:
            patches: [N, num_positions, channels], N of them at least as many as the rank.

        Raises:
            ValueError: if there are fewer.
        """
        rank = self.components.out_features
        if len(patches) < rank:
            raise ValueError(f"A guess of rank {rank} needs as many latents, got {len(patches)}.")
        flat = patches.flatten(1)
        mean = flat.mean(dim=0)
        _, _, basis = torch.pca_lowrank(flat - mean, q=rank, center=False)
        self.basis.weight.copy_(basis)
        self.basis.bias.copy_(mean)
