"""Teaches a trained GaussianVAE how its Gaussians share opacity where they lie closer than the planes' detail.

accelerate launch training/train_sharing.py --pretrained_model_name_or_path RUNS/vae/vae --train_data_dir DATA \
    --output_dir RUNS/sharing

Only the sharing head is trained, a new one where the VAE has none: latents, and a denoiser trained on them, stay
valid. RUNS/sharing/vae then holds the whole VAE; RUNS/sharing/sets, 20 MB an object, is not needed any more unless
a second run is given it as --cache_dir.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from diffgs_diffusers.data.dataset import GaussianObjectDataset
from diffgs_diffusers.extraction import ExtractionConfig
from diffgs_diffusers.models import GaussianVAE
from diffgs_diffusers.training.config import add_training_arguments, parse_training_arguments, require_data
from diffgs_diffusers.training.loop import Trainer
from diffgs_diffusers.training.sampling import build_dataloader, sampling_weights
from diffgs_diffusers.training.sharing import (
    CrowdedSets,
    SharingTrainee,
    functions_digest,
    sharing_loss,
    validate_sharing,
)

DEFAULTS = {
    "learning_rate": 2e-3,
    "lr_scheduler": "cosine",
    "adam_weight_decay": 0.05,
    "max_grad_norm": 0.5,
    "train_batch_size": 1,
    "max_train_steps": 3000,
    "lr_warmup_steps": 30,
}
_STATISTICS_OBJECTS, _STATISTICS_POINTS = 32, 4000


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_training_arguments(parser, DEFAULTS)
    group = parser.add_argument_group("model")
    group.add_argument("--pretrained_model_name_or_path", help="folder of a trained GaussianVAE")
    group.add_argument("--sharing_channels", type=int, default=64, help="width of a new head")
    group.add_argument(
        "--neighbours_only",
        action="store_true",
        help="train the network that does not look at the planes alone; a second run then learns what they add",
    )
    group = parser.add_argument_group("samples")
    group.add_argument("--counts", type=int, nargs="+", default=[50_000, 200_000], help="one is drawn each time")
    group.add_argument(
        "--finest_spacing",
        type=float,
        default=ExtractionConfig().finest_spacing,
        help="in cells of the planes: closer Gaussians share; as extraction will be told",
    )
    group.add_argument("--image_size", type=int, default=256, help="pixels a side of the pictures compared")
    group.add_argument("--cache_dir", help="keeps extracted Gaussians for other runs; default: in --output_dir")
    group.add_argument("--limit", type=int, help="first objects of the split only, to try things out")
    group.add_argument("--num_validation_objects", type=int, default=8)
    return parser


def load_vae(path: str, sharing_channels: int, seed: int) -> tuple[GaussianVAE, bool]:
    """The VAE, float32, and whether its sharing head is new."""
    stored = GaussianVAE.from_pretrained(path, torch_dtype=torch.float32)
    if stored.sharing is not None:
        return stored, False
    torch.manual_seed(seed)
    vae = GaussianVAE.from_config(dict(stored.config) | {"sharing_channels": sharing_channels})
    vae.load_state_dict(stored.state_dict(), strict=False)
    return vae, True


def main(argv: Sequence[str] | None = None) -> None:
    parser = build_parser()
    args = parse_training_arguments(parser, argv)
    require_data(parser, args, "prepare_data.py")
    if not args.pretrained_model_name_or_path:
        parser.error("--pretrained_model_name_or_path is missing: the GaussianVAE whose Gaussians are crowded")
    if min(args.counts) < 1 or args.sharing_channels < 1 or args.image_size < 16:
        parser.error("--counts and --sharing_channels must be at least 1, --image_size at least 16")
    if not args.finest_spacing > 0:
        parser.error("--finest_spacing must be above 0: with 0 nothing is shared")
    vae, is_new = load_vae(args.pretrained_model_name_or_path, args.sharing_channels, args.seed)
    objects = GaussianObjectDataset(args.train_data_dir, split="train")
    objects.records = objects.records[: args.limit]
    folder = Path(args.cache_dir or Path(args.output_dir) / "sets")
    dataset = CrowdedSets(objects, vae, args.counts, folder / functions_digest(vae)[:16], args.image_size)
    model = SharingTrainee(vae, args.finest_spacing, args.neighbours_only)
    if is_new:
        vae.sharing.standardize_(dataset.some_features(_STATISTICS_OBJECTS, _STATISTICS_POINTS, args.seed))
    loader = build_dataloader(
        dataset,
        args.train_batch_size,
        args.seed,
        weights=sampling_weights(objects.records, args.weighted_sampling, args.category_balance),
        collate_fn=list,
        num_workers=args.dataloader_num_workers,
    )

    def loss_fn(model, batch, step, generator):  # type: ignore[no-untyped-def]
        return sharing_loss(model, batch)

    def validate_fn(model: SharingTrainee, step: int) -> dict[str, float]:
        held_out = GaussianObjectDataset(args.train_data_dir, split="validation")
        count = min(args.num_validation_objects, len(held_out))
        shown = [held_out.splats(index) for index in range(count)]
        return validate_sharing(model, shown, args.counts, args.image_size) if shown else {}

    Trainer(args, model, loader, loss_fn, validate_fn, name="vae").run()


if __name__ == "__main__":
    main()
