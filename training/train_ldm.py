"""Trains the latent denoiser on latents made by encode_latents.py: every condition, and none, in one model.

accelerate launch training/train_ldm.py --train_data_dir LATENTS --pretrained_model_name_or_path RUNS/clip/clip \
    --pretrained_vae_model_name_or_path RUNS/vae/vae --output_dir RUNS/pipeline --mixed_precision bf16 --use_ema

With a text encoder and a VAE given, the output folder is a whole pipeline for DiffGSPipeline.from_pretrained.
Pictures need --image_encoder and latents made with --view_size; parts and points need --object_data_dir.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate.utils import set_seed
from diffusers import DDIMScheduler, DDPMScheduler
from transformers import CLIPImageProcessor, CLIPTextModel, CLIPTokenizer, CLIPVisionModel

from diffgs_diffusers.data.condition_samples import ConditionShares, LatentSamples, collate
from diffgs_diffusers.data.latents import LatentDataset
from diffgs_diffusers.models import ConditionEncoder
from diffgs_diffusers.models.base_vae import BaseGaussianVAE
from diffgs_diffusers.models.kinds import Denoiser
from diffgs_diffusers.pipelines import DiffGSPipeline
from diffgs_diffusers.pipelines.conditioning import encode_texts
from diffgs_diffusers.training.building import (
    DENOISERS,
    build_condition_encoder,
    build_prior_transformer,
    build_unet,
    load_clip,
    load_image_encoder,
    load_vae,
    version_source,
)
from diffgs_diffusers.training.conditioned_denoiser import CaptionTokens, ConditionedDenoiser, context_of
from diffgs_diffusers.training.conditions import CaptionStates
from diffgs_diffusers.training.config import (
    add_training_arguments,
    parse_training_arguments,
    refuse_conditions,
    require_data,
)
from diffgs_diffusers.training.loop import Trainer
from diffgs_diffusers.training.objectives_diffusion import diffusion_loss, sample_timesteps
from diffgs_diffusers.training.sampling import build_dataloader, sampling_weights
from diffgs_diffusers.training.setup import default_device, explicit_attention_on_cpu
from diffgs_diffusers.training.validation_ldm import held_out_error, render_prompts, validation_set

NEW_GUESS_WEIGHT = 0.3
DEFAULTS = {
    "learning_rate": 5e-4,
    "train_batch_size": 64,
    "max_train_steps": 30_000,
    "lr_warmup_steps": 500,
    "validation_steps": 2_000,
}


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
    group.add_argument("--pretrained_unet_model_name_or_path", help="denoiser to start from, with another --seed")
    group.add_argument(
        "--denoiser", choices=DENOISERS, default="unet", help="prior_transformer: the original's, unconditional"
    )
    group.add_argument("--unet_config", help="JSON file of the denoiser's arguments that differ from its defaults")
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
    group.add_argument("--plain_caption_probability", type=float, default=0.1, help="captions without a colour")
    group = parser.add_argument_group("conditions")
    group.add_argument("--condition_dropout", type=float, default=0.1, help="share told nothing, for guidance")
    for name, share in vars(ConditionShares()).items():
        group.add_argument(f"--{name}_share", type=float, default=share, help=f"share told of {name}")
    group.add_argument("--image_encoder", help="CLIP folder, pipeline folder or Hub id, for pictures")
    group.add_argument("--train_image_encoder", action="store_true", help="train it along, where it is a small one")
    group.add_argument(
        "--guess_weight",
        type=float,
        help="of the error of what a picture lets guess; 0, the default with --pretrained_condition_encoder, keeps "
        f"what train_picture_guess.py taught; {NEW_GUESS_WEIGHT}, the default without, teaches it along",
    )
    group.add_argument("--object_data_dir", help="the dataset folder that was encoded, for parts and points")
    group.add_argument("--pretrained_condition_encoder", help="encoder of pictures, parts and points to start from")
    group.add_argument("--condition_encoder_config", help="JSON file of ConditionEncoder arguments")
    group.add_argument("--sample_posterior", action="store_true", help="needs encode_latents.py --save_logvar")
    group = parser.add_argument_group("validation")
    group.add_argument("--num_validation_latents", type=int, default=128)
    group.add_argument("--validation_prompts", nargs="+", help="rendered at each validation; needs VAE and text")
    group.add_argument("--validation_guidance_scale", type=float, default=3.0)
    group.add_argument("--validation_num_gaussians", type=int, default=20_000)
    return parser


@dataclass
class Components:
    """What the denoiser is trained with, and with which it makes a pipeline.

    Args:
        scheduler: of the training.
        vae: None when only the denoiser is to be saved.
        tokenizer: None without text.
        text_encoder: None without text.
        image_processor: None without pictures.
        image_encoder: None without pictures.
        condition_encoder: None without pictures, parts and points.
    """

    scheduler: DDPMScheduler
    vae: BaseGaussianVAE | None = None
    tokenizer: CLIPTokenizer | None = None
    text_encoder: CLIPTextModel | None = None
    image_processor: CLIPImageProcessor | None = None
    image_encoder: CLIPVisionModel | None = None
    condition_encoder: ConditionEncoder | None = None

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

    def pipeline(self, unet: Denoiser) -> DiffGSPipeline:
        """The pipeline with this denoiser; samples with DDIM."""
        others = {name: value for name, value in vars(self).items() if name != "scheduler"}
        return DiffGSPipeline(unet=unet, scheduler=DDIMScheduler.from_config(self.scheduler.config), **others)

    def save(self, model: ConditionedDenoiser, folder: Path) -> None:
        """Writes the whole pipeline, or the scheduler alone when there is no VAE."""
        if self.vae is not None:
            self.pipeline(model.unet).save_pretrained(str(folder))
        else:
            DDIMScheduler.from_config(self.scheduler.config).save_pretrained(str(folder / "scheduler"))


def load_components(args: argparse.Namespace, latents: LatentDataset) -> Components:
    """Everything beside the denoiser; predictions are not clipped, as latents are normalised but not bounded."""
    scheduler = DDPMScheduler(
        num_train_timesteps=args.num_train_timesteps,
        beta_schedule=args.beta_schedule,
        prediction_type=args.prediction_type,
        clip_sample=False,
        timestep_spacing="trailing",
    )
    components = Components(scheduler, load_vae(args.pretrained_vae_model_name_or_path, latents))
    if args.pretrained_model_name_or_path:
        components.tokenizer, components.text_encoder = load_clip(
            args.pretrained_model_name_or_path, {"tokenizer": CLIPTokenizer, "text_encoder": CLIPTextModel}
        )
        components.text_encoder.requires_grad_(args.train_text_encoder)
    if args.image_encoder:
        components.image_processor, components.image_encoder = load_image_encoder(
            args.image_encoder, args.train_image_encoder
        )
    return components


def build_loss(
    args: argparse.Namespace, components: Components, captions: CaptionStates | CaptionTokens | None
) -> Callable[..., dict[str, torch.Tensor]]:
    def loss_fn(
        model: torch.nn.Module, batch: dict, step: int, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        latents, scheduler = batch["latents"], components.scheduler
        noise = torch.randn(latents.shape, generator=generator, device=latents.device)
        timesteps = sample_timesteps(scheduler, len(latents), generator)
        context = context_of(batch, components.image_processor, args.condition_dropout, generator)
        texts, mask = captions(batch["caption"]) if captions is not None else (None, None)
        if mask is not None:
            mask = mask & batch["has_text"][:, None]
        told = (texts, mask, args.snr_gamma, context, args.guess_weight)
        return diffusion_loss(model, scheduler, latents, noise, timesteps, *told)

    return loss_fn


def build_validation(
    args: argparse.Namespace, components: Components, device: torch.device
) -> Callable[[ConditionedDenoiser, int], dict[str, float]]:
    latents = LatentDataset(args.train_data_dir, split="validation")
    held_out, texts = validation_set(latents, args.num_validation_latents)

    def validate_fn(model: ConditionedDenoiser, step: int) -> dict[str, float]:
        unet = model.unet
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
    shares = [f"{name}_share" for name in vars(ConditionShares())]
    for name in ("condition_dropout", "plain_caption_probability", *shares):
        if not 0 <= getattr(args, name) <= 1:
            parser.error(f"--{name} must be in [0, 1], got {getattr(args, name)}")
    if args.denoiser == "prior_transformer":
        refuse_conditions(parser, args)
    if args.train_text_encoder and not args.pretrained_model_name_or_path:
        parser.error("--train_text_encoder needs --pretrained_model_name_or_path, the encoder to start from")
    if (args.image_share or args.train_image_encoder) and not args.image_encoder:
        parser.error("--image_share and --train_image_encoder need --image_encoder")
    if args.train_image_encoder and not args.image_share:
        parser.error("--train_image_encoder needs an --image_share above 0, or it would be shown nothing")
    if args.partial_share + args.points_share > 1:
        parser.error("--partial_share and --points_share must not add up to more than 1: they exclude each other")
    if (args.partial_share or args.points_share) and not args.object_data_dir:
        parser.error("--partial_share and --points_share need --object_data_dir")
    if args.guess_weight is not None and args.guess_weight < 0:
        parser.error(f"--guess_weight must be at least 0, got {args.guess_weight}")
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
    if args.guess_weight is None:
        args.guess_weight = 0.0 if args.pretrained_condition_encoder else NEW_GUESS_WEIGHT
    set_seed(args.seed)
    device = default_device()
    latents = LatentDataset(args.train_data_dir, split="train")
    components = load_components(args, latents)
    has_context = bool(args.image_share or args.partial_share or args.points_share)
    start = (args.pretrained_unet_model_name_or_path, args.unet_config, latents.latent_shape)
    unet: Denoiser
    if args.denoiser == "prior_transformer":
        unet = build_prior_transformer(*start)
    else:
        unet = build_unet(*start, args.patch_size, components.text_encoder, has_context)
    if has_context:
        components.condition_encoder = build_condition_encoder(
            args.pretrained_condition_encoder,
            args.condition_encoder_config,
            unet.config.cross_attention_dim,
            latents.latent_shape,
            unet.config.patch_size,
            components.image_encoder,
        )
        guess = components.condition_encoder.picture_guess
        if guess is not None and not args.guess_weight:
            guess.freeze_guess()
    samples = LatentSamples(
        latents,
        args.plain_caption_probability,
        args.sample_posterior,
        ConditionShares(**{name: getattr(args, f"{name}_share") for name in vars(ConditionShares())}),
        version_source(args.object_data_dir, latents),
        **({"num_points": components.condition_encoder.config.num_points} if components.condition_encoder else {}),
    )
    if args.mixed_precision == "bf16" and device.type == "cpu":
        explicit_attention_on_cpu(unet)
    captions: CaptionStates | CaptionTokens | None
    if args.train_text_encoder:
        captions = CaptionTokens(samples.captions, components.tokenizer, device)
    else:
        captions = components.caption_states(samples.captions, device)
    model = ConditionedDenoiser(
        unet,
        components.text_encoder if args.train_text_encoder else None,
        components.image_encoder,
        components.condition_encoder,
    )
    validate_fn = build_validation(args, components, device) if args.validation_steps else None
    loader = build_dataloader(
        samples,
        args.train_batch_size,
        args.seed,
        weights=sampling_weights(latents.records, args.weighted_sampling, args.category_balance),
        collate_fn=collate,
        num_workers=args.dataloader_num_workers,
    )
    loss_fn = build_loss(args, components, captions)
    # Parameters of a condition that no row of a batch is told of get no gradient.
    always_told = captions is not None and components.condition_encoder is None
    options = {"name": "unet", "finalize_fn": components.save, "find_unused_parameters": not always_told}
    Trainer(args, model, loader, loss_fn, validate_fn, **options).run()


if __name__ == "__main__":
    main()
