"""Trains the Gaussian VAE on a dataset folder made by prepare_data.py.

accelerate launch training/train_vae.py --train_data_dir DATA --output_dir RUNS/vae --mixed_precision bf16 \
    --use_ema

RUNS/vae/vae then holds a GaussianVAE.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from diffgs_diffusers.data.dataset import GaussianObjectDataset
from diffgs_diffusers.data.function_samples import FunctionSampleDataset, FunctionSampling
from diffgs_diffusers.models import GaussianVAE
from diffgs_diffusers.training.config import add_training_arguments, parse_training_arguments, require_data
from diffgs_diffusers.training.loop import Trainer
from diffgs_diffusers.training.objectives_vae import VAELossWeights, vae_loss
from diffgs_diffusers.training.sampling import build_dataloader, sampling_weights
from diffgs_diffusers.training.validation_vae import validate_vae

DEFAULTS = {
    "learning_rate": 1e-3,
    "train_batch_size": 8,
    "max_train_steps": 20_000,
    "lr_warmup_steps": 200,
    "dataloader_num_workers": 1,  # samples take a tenth of a step, which they then no longer hold up
}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_training_arguments(parser, DEFAULTS)
    group = parser.add_argument_group("model")
    group.add_argument("--vae_config", help="GaussianVAE config.json; the class's defaults without it")
    group.add_argument("--pretrained_model_name_or_path", help="folder of a GaussianVAE to start from")
    group.add_argument(
        "--freeze_encoder",
        action="store_true",
        help="train decoder and heads only; latents made before, and a denoiser trained on them, stay valid",
    )
    group = parser.add_argument_group("samples and loss")
    group.add_argument("--num_queries", type=int, default=6144, help="GauPF queries per object and step")
    group.add_argument("--num_centers", type=int, default=2048, help="centres per object and step")
    group.add_argument("--encoder_gaussians", type=int, default=4096, help="Gaussians seen by the encoder")
    group.add_argument("--no_augmentation", action="store_true", help="objects as they are")
    group.add_argument("--limit", type=int, help="first objects of the split only, to try things out")
    for name, value in vars(VAELossWeights()).items():
        group.add_argument(f"--{name}_weight", type=float, default=value)
    group.add_argument("--num_validation_objects", type=int, default=8, help="of each split")
    return parser


def build_vae(args: argparse.Namespace) -> GaussianVAE:
    """From a trained folder, a config file, or the defaults; new weights are reproducible by ``--seed``."""
    torch.manual_seed(args.seed)
    if args.pretrained_model_name_or_path:
        vae = GaussianVAE.from_pretrained(args.pretrained_model_name_or_path, torch_dtype=torch.float32)
        if vae.sharing is not None:  # train_sharing.py's part, which no term of this loss reaches
            vae.sharing.requires_grad_(False)
        if args.freeze_encoder:
            vae.point_encoder.requires_grad_(False)
            vae.encoder.requires_grad_(False)
        return vae
    if args.vae_config:
        return GaussianVAE.from_config(GaussianVAE._dict_from_json_file(args.vae_config))
    return GaussianVAE()


def main(argv: Sequence[str] | None = None) -> None:
    parser = build_parser()
    args = parse_training_arguments(parser, argv)
    require_data(parser, args, "prepare_data.py")
    if args.freeze_encoder and not args.pretrained_model_name_or_path:
        parser.error("--freeze_encoder needs --pretrained_model_name_or_path: a new encoder has to be trained")
    vae = build_vae(args)
    sampling = FunctionSampling(args.num_queries, args.num_centers, args.encoder_gaussians)
    objects = GaussianObjectDataset(args.train_data_dir, split="train")
    objects.records = objects.records[: args.limit]
    dataset = FunctionSampleDataset(
        objects,
        sampling,
        truncation=vae.config.truncation,
        core=vae.config.core,
        sh_degree=vae.config.sh_degree,
        augmented=not args.no_augmentation,
    )
    loader = build_dataloader(
        dataset,
        args.train_batch_size,
        args.seed,
        weights=sampling_weights(objects.records, args.weighted_sampling, args.category_balance),
        num_workers=args.dataloader_num_workers,
    )
    weights = VAELossWeights(**{name: getattr(args, f"{name}_weight") for name in vars(VAELossWeights())})

    def loss_fn(model, batch, step, generator):  # type: ignore[no-untyped-def]
        return vae_loss(model, batch, weights, generator)

    def validate_fn(model: GaussianVAE, step: int) -> dict[str, float]:
        results = {}
        for split in ("train", "validation"):
            shown = GaussianObjectDataset(args.train_data_dir, split=split)
            count = min(args.num_validation_objects, len(shown))
            if count == 0:  # a small dataset holds nothing out
                continue
            sheet = Path(args.output_dir) / "validation" / f"{split}-{step:06d}.png"
            values = validate_vae(model, [shown.splats(i) for i in range(count)], sheet_path=sheet)
            results.update({f"{split}_{name}": value for name, value in values.items()})
        return results

    Trainer(args, vae, loader, loss_fn, validate_fn, name="vae").run()


if __name__ == "__main__":
    main()
