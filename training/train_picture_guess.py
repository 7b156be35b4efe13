"""Teaches a small network what objects look like as latents: pictures in, a first guess of the latents out.

accelerate launch training/train_picture_guess.py --train_data_dir LATENTS --image_encoder RUNS/clip/clip \
    --output_dir RUNS/pictures

Needs latents made with encode_latents.py --view_size. RUNS/pictures/condition_encoder then holds a condition
encoder whose guess is taught, for train_ldm.py --pretrained_condition_encoder.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
from accelerate.utils import set_seed

from diffgs_diffusers.data.condition_samples import ConditionShares, LatentSamples, collate
from diffgs_diffusers.data.latents import LatentDataset
from diffgs_diffusers.training.building import build_condition_encoder, default_patch_size, load_image_encoder
from diffgs_diffusers.training.conditioned_denoiser import pixels_of
from diffgs_diffusers.training.config import add_training_arguments, parse_training_arguments, require_data
from diffgs_diffusers.training.loop import Trainer
from diffgs_diffusers.training.picture_regression import (
    PictureRegressor,
    held_out_scores,
    latent_patches,
    shifted,
    side_loss,
    some_patches,
)
from diffgs_diffusers.training.sampling import build_dataloader, sampling_weights

DEFAULTS = {
    "learning_rate": 2e-3,
    "train_batch_size": 64,
    "max_train_steps": 4500,
    "lr_warmup_steps": 300,
    "adam_weight_decay": 0.05,
    "validation_steps": 250,
}
PCA_SAMPLES = 4096


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_training_arguments(parser, DEFAULTS)
    group = parser.add_argument_group("model")
    group.add_argument("--image_encoder", help="the denoiser's CLIP: folder, pipeline folder or Hub id")
    group.add_argument("--pretrained_condition_encoder", help="whose guess is trained on; default: a new one")
    group.add_argument("--condition_encoder_config", help="JSON file of ConditionEncoder arguments")
    group.add_argument("--cross_attention_dim", type=int, default=192, help="of the denoiser")
    group.add_argument("--patch_size", type=int, help="of the denoiser; default: as in train_ldm.py")
    group.add_argument("--side_weight", type=float, default=0.1, help="of the side that a picture was taken from")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    parser = build_parser()
    args = parse_training_arguments(parser, argv)
    require_data(parser, args, "encode_latents.py")
    if not args.image_encoder:
        parser.error("--image_encoder is missing: the CLIP that the denoiser is told of pictures by")
    if args.side_weight < 0:
        parser.error(f"--side_weight must be at least 0, got {args.side_weight}")
    set_seed(args.seed)
    latents = LatentDataset(args.train_data_dir, split="train")
    _ = latents.num_views  # says now what to do where there are no pictures
    patch_size = args.patch_size or default_patch_size(latents.latent_shape[1])
    processor, image_encoder = load_image_encoder(args.image_encoder, trained=False)
    condition_encoder = build_condition_encoder(
        args.pretrained_condition_encoder,
        args.condition_encoder_config,
        args.cross_attention_dim,
        latents.latent_shape,
        patch_size,
        image_encoder,
    )
    model = PictureRegressor(condition_encoder)
    patches = some_patches(latents, PCA_SAMPLES, patch_size, args.seed)
    if not args.pretrained_condition_encoder:
        condition_encoder.picture_guess.span_(patches)
    variance = patches.var(dim=0).mean()
    held_out = LatentDataset(args.train_data_dir, split="validation") if args.validation_steps else None
    loader = build_dataloader(
        LatentSamples(latents, shares=ConditionShares(image=1.0)),
        args.train_batch_size,
        args.seed,
        weights=sampling_weights(latents.records, args.weighted_sampling, args.category_balance),
        collate_fn=collate,
        num_workers=args.dataloader_num_workers,
    )

    def loss_fn(
        model: torch.nn.Module, batch: dict, step: int, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        guess, side = model(pixels_of(shifted(batch["view"], generator), processor))
        errors = guess.float() - latent_patches(batch["latents"], patch_size)
        terms = {"guess": errors.square().mean() / variance, "side": side_loss(side, batch["side"])}
        return {"loss": terms["guess"] + args.side_weight * terms["side"], **terms}

    def validate_fn(model: PictureRegressor, step: int) -> dict[str, float]:
        assert held_out is not None
        return held_out_scores(model, held_out, processor, patch_size)

    # Most of a condition encoder is not about pictures.
    options = {"name": "condition_encoder", "find_unused_parameters": True}
    Trainer(args, model, loader, loss_fn, validate_fn if held_out else None, **options).run()


if __name__ == "__main__":
    main()
