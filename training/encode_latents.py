"""Encodes a dataset folder with a trained Gaussian VAE, several augmented versions of each training object.

accelerate launch training/encode_latents.py --pretrained_model_name_or_path RUNS/vae/vae --train_data_dir DATA \
    --output_dir LATENTS

Can be stopped and started again; splits the work over processes. Writes the latents' mean and standard deviation
into the VAE's config.json, where the pipeline finds them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import PartialState
from tqdm.auto import tqdm

from diffgs_diffusers.data.dataset import GaussianObjectDataset
from diffgs_diffusers.data.latents import latent_path, read_latents, write_index, write_latents
from diffgs_diffusers.models.base_vae import BaseGaussianVAE
from diffgs_diffusers.models.loading import vae_class
from diffgs_diffusers.training.encoding import (
    encode_versions,
    metadata_digest,
    object_versions,
    version_views,
    weights_digest,
    write_latent_statistics,
)
from diffgs_diffusers.training.resuming import check_same_settings
from diffgs_diffusers.training.setup import process_state

SPLITS = ("train", "validation")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pretrained_model_name_or_path", required=True, help="folder of a trained GaussianVAE")
    parser.add_argument("--train_data_dir", required=True, help="dataset folder made by prepare_data.py")
    parser.add_argument("--output_dir", required=True, help="the latents folder")
    parser.add_argument("--num_augmentations", type=int, default=24, help="changed versions per training object")
    parser.add_argument("--batch_size", type=int, default=8, help="versions encoded at a time")
    parser.add_argument("--mixed_precision", choices=("no", "bf16", "fp16"), default="no")
    parser.add_argument("--save_logvar", action="store_true", help="store the posterior's log variance too")
    parser.add_argument("--view_size", type=int, default=0, help="store pictures of each version, this wide")
    parser.add_argument(
        "--num_views", type=int, default=8, help="pictures of each version, kept in memory in training"
    )
    parser.add_argument("--seed", type=int, default=0)
    return parser


def encode_split(args: argparse.Namespace, vae: BaseGaussianVAE, split: str, state: PartialState) -> list[str]:
    """Encodes this process's share of a split and returns the ids of the whole split."""
    dataset = GaussianObjectDataset(args.train_data_dir, split=split)
    count = args.num_augmentations if split == "train" else 0
    share = range(state.process_index, len(dataset), state.num_processes)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(args.mixed_precision)
    for index in tqdm(share, desc=split, file=sys.stderr, disable=not state.is_local_main_process):
        if latent_path(args.output_dir, dataset.records[index].id).exists():
            continue
        versions, record = object_versions(dataset, index, count, args.seed)
        with torch.autocast(state.device.type, dtype, enabled=dtype is not None):
            mean, logvar = encode_versions(vae, versions, args.batch_size)
        pictures = None
        if args.view_size:
            pictures = version_views(versions, record, args.view_size, args.num_views, args.seed)
        write_latents(args.output_dir, record, mean, logvar if args.save_logvar else None, pictures)
    return [record.id for record in dataset.records]


def main(argv: Sequence[str] | None = None) -> None:
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.num_augmentations < 0 or args.batch_size < 1:
        parser.error("--num_augmentations must be at least 0 and --batch_size at least 1")
    if args.num_views < 1:
        parser.error(f"--num_views must be at least 1, got {args.num_views}")
    if args.view_size < 0:
        parser.error(f"--view_size must be at least 0, got {args.view_size}")
    state = process_state()
    folder = Path(args.pretrained_model_name_or_path)
    vae = vae_class(folder).from_pretrained(str(folder)).to(state.device).eval()
    settings = {
        "vae_sha256": weights_digest(folder),
        "metadata_sha256": metadata_digest(args.train_data_dir),
        "num_augmentations": args.num_augmentations,
        "seed": args.seed,
        "save_logvar": args.save_logvar,
        "view_size": args.view_size,
        "num_views": args.num_views,
    }
    if state.is_main_process:
        check_same_settings(args.output_dir, settings)
    state.wait_for_everyone()
    object_ids = [object_id for split in SPLITS for object_id in encode_split(args, vae, split, state)]
    state.wait_for_everyone()
    if state.is_main_process:
        index = write_index(args.output_dir, object_ids, settings)
        write_latent_statistics(folder, index["latents_mean"], index["latents_std"])
        shape = tuple(read_latents(args.output_dir, object_ids[0])[1]["mean"].shape[1:])
        print(f"{len(object_ids)} objects, latents {shape}, std {[round(s, 3) for s in index['latents_std']]}")
    state.wait_for_everyone()


if __name__ == "__main__":
    main()
