"""What the tests of train_ldm.py share: sizes, arguments, and what a run has left."""

import json
from pathlib import Path

import torch

from diffgs_diffusers.models import GaussianVAE

LENGTH, CHANNELS = 48, 4
SMALL_UNET = {
    "block_out_channels": [16, 32],
    "layers_per_block": 1,
    "attention_levels": [False, True],
    "attention_head_dim": 16,
    "norm_num_groups": 8,
}


def lift_surface(vae_folder: Path) -> None:
    """GauPF of an untrained VAE is flat; lifted, everything is surface."""
    vae = GaussianVAE.from_pretrained(vae_folder)
    with torch.no_grad():
        vae.heads.gaupf.proj_out.bias.fill_(0.95)
    vae.save_pretrained(str(vae_folder))


def short_run(latents: Path, folder: Path) -> list[str]:
    (folder / "unet.json").write_text(json.dumps(SMALL_UNET))
    return [
        f"--train_data_dir={latents}",
        f"--output_dir={folder / 'run'}",
        f"--unet_config={folder / 'unet.json'}",
        "--train_batch_size=4",
        "--max_train_steps=2",
        "--lr_warmup_steps=0",
        "--validation_steps=0",
        "--checkpointing_steps=0",
    ]


def statistics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
