"""Trains the latent denoiser on a latents folder made by encode_latents.py, with and without text in one model.

accelerate launch training/train_ldm.py --train_data_dir LATENTS --pretrained_model_name_or_path RUNS/clip/clip \
    --pretrained_vae_model_name_or_path RUNS/vae/vae --output_dir RUNS/pipeline --mixed_precision bf16 --use_ema

With a text encoder and a VAE given, the output folder is a whole pipeline for DiffGSPipeline.from_pretrained.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed
from diffusers import DDIMScheduler, DDPMScheduler
from transformers import CLIPTextModel, CLIPTokenizer

from diffgs_diffusers.data.latents import LatentDataset, LatentSamples
from diffgs_diffusers.models import GaussianVAE, UNet1DConditionModel
from diffgs_diffusers.pipelines import DiffGSPipeline
from diffgs_diffusers.pipelines.conditioning import encode_texts
from diffgs_diffusers.training.conditions import CaptionStates
from diffgs_diffusers.training.config import add_training_arguments, parse_training_arguments, require_data
from diffgs_diffusers.training.loop import Trainer
from diffgs_diffusers.training.objectives_diffusion import diffusion_loss, drop_conditions, sample_timesteps
from diffgs_diffusers.training.sampling import build_dataloader, sampling_weights
from diffgs_diffusers.training.setup import default_device, explicit_attention_on_cpu
from diffgs_diffusers.training.text_denoiser import CaptionTokens, TextDenoiser
from diffgs_diffusers.training.validation_ldm import held_out_error, render_prompts, validation_set

DEFAULTS = {
    "learning_rate": 5e-4,
    "train_batch_size": 64,
    "max_train_steps": 30_000,
    "lr_warmup_steps": 500,
    "validation_steps": 2_000,
}

MAX_POSITIONS = 256


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_training_arguments(parser, DEFAULTS)
    group = parser.add_argument_group("model")
    group.add_argument(
        "--pretrained_model_name_or_path",
        "--text_encoder",
        dest="pretrained_model_name_or_path",
        help="CLIP folder or Hub id (text encoder and tokenizer); without it the model is unconditional",
    )
    group.add_argument(
        "--train_text_encoder",
        action="store_true",
        help="train it along: for a small one, whose states hardly tell nouns apart",
    )
    group.add_argument("--pretrained_vae_model_name_or_path", help="GaussianVAE; needed to write a whole pipeline")
    group.add_argument("--pretrained_unet_model_name_or_path", help="denoiser to start from")
    group.add_argument(
        "--unet_config", help="JSON file of UNet1DConditionModel arguments that differ from its defaults"
    )
    group.add_argument("--patch_size", type=int, help="default: 4, 16, … until at most 256 positions are left")
    group = parser.add_argument_group("diffusion")
    group.add_argument("--num_train_timesteps", type=int, default=1000)
    group.add_argument(
        "--beta_schedule", default="linear", help="cosine schedules leave too little time at high noise"
    )
    group.add_argument("--prediction_type", choices=("epsilon", "sample", "v_prediction"), default="v_prediction")
    group.add_argument(
        "--snr_gamma",
        type=float,
        help="gamma of min-SNR weighting; it hardly trains high noise, where outlines are decided",
    )
    group.add_argument("--condition_dropout", type=float, default=0.1, help="share trained without condition")
    group.add_argument("--plain_caption_probability", type=float, default=0.1, help="captions without a colour")
    group.add_argument("--sample_posterior", action="store_true", help="needs encode_latents.py --save_logvar")
    group = parser.add_argument_group("validation")
    group.add_argument("--num_validation_latents", type=int, default=128)
    group.add_argument("--validation_prompts", nargs="+", help="rendered at each validation; needs VAE and text")
    group.add_argument("--validation_guidance_scale", type=float, default=3.0)
    group.add_argument("--validation_num_gaussians", type=int, default=20_000)
    return parser


@dataclass
class FrozenComponents:
    """What the denoiser is trained beside, and with which it makes a pipeline.

    Args:
        scheduler: of the training.
        vae: None when only the denoiser is to be saved.
        tokenizer: None without text.
        text_encoder: None without text.
    """

    scheduler: DDPMScheduler
    vae: GaussianVAE | None
    tokenizer: CLIPTokenizer | None
    text_encoder: CLIPTextModel | None

    def caption_states(self, captions: list[str], device: torch.device) -> CaptionStates | None:
        """The table of these captions, None without text."""
        if self.text_encoder is None:
            return None
        encoder = self.text_encoder.to(device)
        # A validation runs under autocast, but the pipeline encodes its prompts in full precision.
        with torch.autocast(device.type, enabled=False):
            return CaptionStates(
                captions, lambda texts: encode_texts(self.tokenizer, encoder, texts, device), device
            )

    def pipeline(self, unet: UNet1DConditionModel) -> DiffGSPipeline:
        """The pipeline with this denoiser; samples with DDIM."""
        sampler = DDIMScheduler.from_config(self.scheduler.config)
        return DiffGSPipeline(self.vae, unet, sampler, self.tokenizer, self.text_encoder)

    def save(self, model: UNet1DConditionModel | TextDenoiser, folder: Path) -> None:
        """Writes the whole pipeline, or the scheduler alone when there is no VAE."""
        unet = denoiser_of(model)
        if self.vae is not None:
            self.pipeline(unet).save_pretrained(str(folder))
        else:
            DDIMScheduler.from_config(self.scheduler.config).save_pretrained(str(folder / "scheduler"))


def load_components(args: argparse.Namespace, latents: LatentDataset) -> FrozenComponents:
    """Everything that is not trained; predictions are not clipped, as latents are normalised but not bounded."""
    scheduler = DDPMScheduler(
        num_train_timesteps=args.num_train_timesteps,
        beta_schedule=args.beta_schedule,
        prediction_type=args.prediction_type,
        clip_sample=False,
        timestep_spacing="trailing",
    )
    tokenizer, text_encoder = load_text(args.pretrained_model_name_or_path)
    return FrozenComponents(
        scheduler, load_vae(args.pretrained_vae_model_name_or_path, latents), tokenizer, text_encoder
    )


def load_text(path: str | None) -> tuple[CLIPTokenizer | None, CLIPTextModel | None]:
    """Tokenizer and frozen text encoder from a CLIP folder, a pipeline folder or a Hub id."""
    if path is None:
        return None, None
    is_pipeline = (Path(path) / "text_encoder").is_dir()
    options = ({"subfolder": "tokenizer"}, {"subfolder": "text_encoder"}) if is_pipeline else ({}, {})
    tokenizer = CLIPTokenizer.from_pretrained(path, **options[0])
    text_encoder = CLIPTextModel.from_pretrained(path, **options[1])
    return tokenizer, text_encoder.float().requires_grad_(False).eval()


def build_unet(
    args: argparse.Namespace, latents: LatentDataset, text_encoder: CLIPTextModel | None
) -> UNet1DConditionModel:
    """A denoiser whose sizes fit the latents and the text encoder."""
    if args.pretrained_unet_model_name_or_path:
        return UNet1DConditionModel.from_pretrained(args.pretrained_unet_model_name_or_path)
    channels, length = latents.latent_shape
    patch_size = args.patch_size or default_patch_size(length)
    config: dict[str, Any] = {"in_channels": channels, "sample_size": length, "patch_size": patch_size}
    if text_encoder is not None:
        config["cross_attention_dim"] = text_encoder.config.hidden_size
    if args.unet_config:
        config |= json.loads(Path(args.unet_config).read_text(encoding="utf-8"))
    return UNet1DConditionModel(**config)


def denoiser_of(model: UNet1DConditionModel | TextDenoiser) -> UNet1DConditionModel:
    """The denoiser alone; a text encoder that is trained along is the one of the components."""
    return model.unet if isinstance(model, TextDenoiser) else model


def default_patch_size(length: int) -> int:
    """How many neighbours to take together: squares of the planes, until two cores can train on the rest."""
    patch_size = 1
    while length // patch_size > MAX_POSITIONS and length % (4 * patch_size) == 0:
        patch_size *= 4
    return patch_size


def load_vae(path: str | None, latents: LatentDataset) -> GaussianVAE | None:
    """The VAE, after a check that the latents are normalised as it says.

    Raises:
        ValueError: if its ``latents_mean`` and ``latents_std`` are not those of the latents folder.
    """
    if path is None:
        return None
    vae = GaussianVAE.from_pretrained(path).requires_grad_(False).eval()
    for name in ("latents_mean", "latents_std"):
        if list(vae.config[name] or []) != latents.settings[name]:
            raise ValueError(
                f"`{name}` of {path} is not that of {latents.root}: name the VAE that encode_latents.py used, or "
                "run it again."
            )
    return vae


def build_loss(
    args: argparse.Namespace, scheduler: DDPMScheduler, captions: CaptionStates | CaptionTokens | None
) -> Callable[..., dict[str, torch.Tensor]]:
    def loss_fn(
        unet: torch.nn.Module, batch: dict, step: int, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        latents = batch["latents"]
        noise = torch.randn(latents.shape, generator=generator, device=latents.device)
        timesteps = sample_timesteps(scheduler, len(latents), generator)
        texts, mask = captions(batch["caption"]) if captions is not None else (None, None)
        if mask is not None:
            mask = drop_conditions(mask, args.condition_dropout, generator)
        return diffusion_loss(unet, scheduler, latents, noise, timesteps, texts, mask, args.snr_gamma)

    return loss_fn


def build_validation(
    args: argparse.Namespace, components: FrozenComponents, device: torch.device
) -> Callable[[UNet1DConditionModel | TextDenoiser, int], dict[str, float]]:
    latents = LatentDataset(args.train_data_dir, split="validation")
    held_out, texts = validation_set(latents, args.num_validation_latents)

    def validate_fn(model: UNet1DConditionModel | TextDenoiser, step: int) -> dict[str, float]:
        unet = denoiser_of(model)
        if args.validation_prompts:
            render_prompts(
                components.pipeline(unet).to(device),
                args.validation_prompts,
                Path(args.output_dir) / "validation" / f"prompts-{step:06d}.png",
                seed=args.seed,
                guidance_scale=args.validation_guidance_scale,
                num_gaussians=args.validation_num_gaussians,
            )
        captions = components.caption_states(texts, device)  # each time: the text encoder may be trained
        return held_out_error(unet, components.scheduler, held_out.to(device), captions)

    return validate_fn


def check_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends with one line and exit code 2 before anything is loaded."""
    require_data(parser, args, "encode_latents.py")
    for name in ("condition_dropout", "plain_caption_probability"):
        if not 0 <= getattr(args, name) <= 1:
            parser.error(f"--{name} must be in [0, 1], got {getattr(args, name)}")
    if args.train_text_encoder and not args.pretrained_model_name_or_path:
        parser.error("--train_text_encoder needs --pretrained_model_name_or_path, the encoder to start from")
    if args.snr_gamma is not None and args.snr_gamma <= 0:
        parser.error(f"--snr_gamma must be above 0, got {args.snr_gamma}")
    if args.validation_prompts and not (
        args.pretrained_model_name_or_path and args.pretrained_vae_model_name_or_path
    ):
        parser.error("--validation_prompts needs --pretrained_model_name_or_path and the VAE")


def main(argv: Sequence[str] | None = None) -> None:
    parser = build_parser()
    args = parse_training_arguments(parser, argv)
    check_arguments(parser, args)
    set_seed(args.seed)
    device = default_device()
    latents = LatentDataset(args.train_data_dir, split="train")
    samples = LatentSamples(latents, args.plain_caption_probability, args.sample_posterior)
    components = load_components(args, latents)
    unet = build_unet(args, latents, components.text_encoder)
    if args.mixed_precision == "bf16" and device.type == "cpu":
        explicit_attention_on_cpu(unet)
    model: UNet1DConditionModel | TextDenoiser = unet
    captions: CaptionStates | CaptionTokens | None
    if args.train_text_encoder:
        model = TextDenoiser(unet, components.text_encoder.requires_grad_(True))
        captions = CaptionTokens(samples.captions, components.tokenizer, device)
    else:
        captions = components.caption_states(samples.captions, device)
    validate_fn = build_validation(args, components, device) if args.validation_steps else None
    loader = build_dataloader(
        samples,
        args.train_batch_size,
        args.seed,
        weights=sampling_weights(latents.records, args.weighted_sampling, args.category_balance),
        num_workers=args.dataloader_num_workers,
    )
    loss_fn = build_loss(args, components.scheduler, captions)
    # Without text, the parameters of the condition get no gradient.
    options = {"name": "unet", "finalize_fn": components.save, "find_unused_parameters": captions is None}
    Trainer(args, model, loader, loss_fn, validate_fn, **options).run()


if __name__ == "__main__":
    main()
