"""A first guess of an object's latents from one picture of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .unet_1d_blocks import unpatchify, zero_init


class PictureGuess(nn.Module):
    """The mean of all latents that fit a picture, and what of it is told to the denoiser at each position.

    Attention to a picture's tokens has to learn which part of the picture each position of a latent belongs to,
    from any side; a regression learns it in a tenth of the steps, as from picture to planes in LRM (Hong et al.
    2024). The guess is of low rank: the principal components of the latents of a few hundred objects.

    Args:
        image_dim: size of the vision model's states.
        num_positions: positions of the denoiser's sequence.
        channels: latent channels of a position.
        rank: components of the guess.
        cross_attention_dim: size of a state.
    """

    def __init__(
        self, image_dim: int, num_positions: int, channels: int, rank: int, cross_attention_dim: int
    ) -> None:
        super().__init__()
        self.channels = channels
        self.components = nn.Linear(2 * image_dim, rank)
        self.basis = nn.Linear(rank, num_positions * channels)
        self.proj_out = zero_init(nn.Linear(channels, cross_attention_dim, bias=False))

    def guess(self, states: Tensor) -> Tensor:
        """Normalised latents, patch beside patch, [B, num_positions, channels].

        Args:
            states: [B, S, image_dim], the first of the whole picture, the others of its patches.
        """
        pooled = torch.cat([states[:, 0], states[:, 1:].mean(dim=1)], dim=1)
        return self.basis(self.components(pooled)).unflatten(1, (-1, self.channels))

    @staticmethod
    def latents(guess: Tensor, patch_size: int) -> Tensor:
        """A guess [B, num_positions, channels] as latents [B, C, L]."""
        return unpatchify(guess.transpose(1, 2), patch_size)

    def places(self, guess: Tensor) -> Tensor:
        """States [B, num_positions, cross_attention_dim] that tell a guess [B, num_positions, channels]."""
        return self.proj_out(guess)

    def forward(self, states: Tensor) -> Tensor:
        """States [B, num_positions, cross_attention_dim] of the positions, from those of :meth:`guess`."""
        return self.places(self.guess(states))

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
