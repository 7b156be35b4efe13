"""Trains a small CLIP on renders of a dataset's training objects and their captions.

accelerate launch training/train_clip.py --train_data_dir DATA --output_dir RUNS/clip --mixed_precision bf16

RUNS/clip/clip then holds a CLIPModel, its CLIPTokenizer and its CLIPImageProcessor.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

from diffgs_diffusers.data.dataset import GaussianObjectDataset
from diffgs_diffusers.training.clip_renders import CaptionedRenders, caption_collator, vocabulary_texts
from diffgs_diffusers.training.clip_tokenizer import train_clip_tokenizer
from diffgs_diffusers.training.config import add_training_arguments, parse_training_arguments, require_data
from diffgs_diffusers.training.loop import Trainer
from diffgs_diffusers.training.objectives_clip import clip_loss
from diffgs_diffusers.training.sampling import build_dataloader, sampling_weights
from diffgs_diffusers.training.setup import process_state
from diffgs_diffusers.training.validation_clip import answer_accuracy, category_questions, color_questions

DEFAULTS = {
    "learning_rate": 1e-3,
    "train_batch_size": 64,
    "max_train_steps": 2000,
    "lr_warmup_steps": 100,
    "adam_weight_decay": 0.1,
    "adam_beta2": 0.98,
}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_training_arguments(parser, DEFAULTS)
    group = parser.add_argument_group("model")
    group.add_argument("--vocab_size", type=int, default=2048, help="tokens at most")
    group.add_argument("--hidden_size", type=int, default=192, help="width of both encoders")
    group.add_argument("--num_text_layers", type=int, default=4)
    group.add_argument("--num_vision_layers", type=int, default=5)
    group.add_argument("--num_attention_heads", type=int, default=4)
    group.add_argument("--projection_dim", type=int, default=128)
    group.add_argument("--image_size", type=int, default=64)
    group.add_argument("--patch_size", type=int, default=8)
    group = parser.add_argument_group("renders")
    group.add_argument("--num_gaussians", type=int, default=2048, help="Gaussians drawn per image, at most")
    group.add_argument("--num_wrong_captions", type=int, default=2, help="captions per image with a wrong noun")
    group.add_argument("--no_augmentation", action="store_true", help="objects as they are")
    return parser


def build_tokenizer(args: argparse.Namespace, objects: GaussianObjectDataset) -> CLIPTokenizer:
    """Learned by the main process; the others wait and read it."""
    folder = Path(args.output_dir) / "clip"
    state = process_state()
    if state.is_main_process:
        train_clip_tokenizer(vocabulary_texts(objects), folder, vocab_size=args.vocab_size)
    state.wait_for_everyone()
    return CLIPTokenizer.from_pretrained(str(folder))


def build_clip(args: argparse.Namespace, tokenizer: CLIPTokenizer) -> CLIPModel:
    """A CLIPModel with random weights, reproducible by ``--seed``."""
    torch.manual_seed(args.seed)
    encoder = {
        "hidden_size": args.hidden_size,
        "intermediate_size": 4 * args.hidden_size,
        "num_attention_heads": args.num_attention_heads,
        "projection_dim": args.projection_dim,
        "hidden_act": "gelu",  # on CPU a third faster than CLIP's approximation of it
    }
    text = {
        **encoder,
        "num_hidden_layers": args.num_text_layers,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": tokenizer.model_max_length,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {
        **encoder,
        "num_hidden_layers": args.num_vision_layers,
        "image_size": args.image_size,
        "patch_size": args.patch_size,
    }
    # The fused attention's backward on CPU takes twice as long as plain matrix products for so few tokens.
    attention = "sdpa" if torch.cuda.is_available() else "eager"
    return CLIPModel(
        CLIPConfig(
            text_config=text,
            vision_config=vision,
            projection_dim=args.projection_dim,
            attn_implementation=attention,
        )
    )


def build_image_processor(size: int) -> CLIPImageProcessor:
    """Brings any image to what the vision encoder was trained on."""
    return CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})


def main(argv: Sequence[str] | None = None) -> None:
    parser = build_parser()
    args = parse_training_arguments(parser, argv)
    require_data(parser, args, "prepare_data.py")
    objects = GaussianObjectDataset(args.train_data_dir, split="train")
    held_out = GaussianObjectDataset(args.train_data_dir, split="validation")
    tokenizer = build_tokenizer(args, objects)
    renders = CaptionedRenders(
        objects,
        args.image_size,
        num_gaussians=args.num_gaussians,
        augmented=not args.no_augmentation,
        num_wrong_captions=args.num_wrong_captions,
    )
    loader = build_dataloader(
        renders,
        args.train_batch_size,
        args.seed,
        weights=sampling_weights(objects.records, args.weighted_sampling, args.category_balance),
        collate_fn=caption_collator(tokenizer),
        num_workers=args.dataloader_num_workers,
    )
    questions = {
        "color_accuracy": color_questions(held_out, args.image_size),
        "recolored_accuracy": color_questions(held_out, args.image_size, recolored=2),
        "category_accuracy": category_questions(held_out, args.image_size),
    }

    def validate_fn(model: CLIPModel, step: int) -> dict[str, float]:
        return {name: answer_accuracy(model, tokenizer, asked) for name, asked in questions.items()}

    def finalize_fn(model: CLIPModel, output_dir: Path) -> None:
        tokenizer.save_pretrained(str(output_dir / "clip"))
        build_image_processor(args.image_size).save_pretrained(str(output_dir / "clip"))

    Trainer(
        args,
        build_clip(args, tokenizer),
        loader,
        lambda model, batch, step, generator: clip_loss(model, batch),
        validate_fn,
        name="clip",
        finalize_fn=finalize_fn,
    ).run()


if __name__ == "__main__":
    main()
