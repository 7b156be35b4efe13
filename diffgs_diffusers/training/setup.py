"""The parts that a training loop is put together from: accelerator, optimiser, memory saving, upload."""

from __future__ import annotations

import argparse
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, DistributedType, PartialState
from accelerate.utils import ProjectConfiguration, parse_flag_from_env
from diffusers.models.attention_processor import AttnProcessor

from ..models import UNet1DConditionModel
from ..models.kinds import Denoiser

SHARDING = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)


def build_accelerator(args: argparse.Namespace, find_unused_parameters: bool = False) -> Accelerator:
    """The accelerator of a run; its learning-rate schedule counts optimiser steps.

    Raises:
        ValueError: If the launcher shards parameters.
    """
    process_state()
    accelerator = Accelerator(
        cpu=not has_device(),
        gradient_accumulation_steps=args.gradient_accumulation_steps,
        mixed_precision=args.mixed_precision,
        log_with=args.report_to,
        project_config=ProjectConfiguration(
            project_dir=args.output_dir, logging_dir=str(Path(args.output_dir) / args.logging_dir)
        ),
        step_scheduler_with_optimizer=False,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=find_unused_parameters)],
    )
    if accelerator.distributed_type in SHARDING:
        raise ValueError(
            f"{accelerator.distributed_type.value} shards parameters, and averaging and export need them whole in "
            "every process: launch with --multi_gpu; these models fit on one device"
        )
    return accelerator


# The others wait while the main process validates, saves or uploads; NCCL's own limit is ten minutes.
PATIENCE = timedelta(hours=3)


def process_state() -> PartialState:
    """Which process of how many this is, and its device; the first call joins the others."""
    # Without `cpu`, accelerate runs every process of a torchrun on CPU as if it were alone.
    return PartialState(cpu=not has_device(), timeout=PATIENCE)


def has_device() -> bool:
    """Whether there is a CUDA, XPU, NPU or Apple device to use: none under ``accelerate launch --cpu``."""
    if parse_flag_from_env("ACCELERATE_USE_CPU"):
        return False
    if hasattr(torch, "accelerator"):
        return torch.accelerator.is_available()
    return torch.cuda.is_available() or torch.backends.mps.is_available()


def default_device() -> torch.device:
    """The device that :func:`build_accelerator` will put this process's model on."""
    return process_state().device


# With up to this many positions, plain attention beats the fused kernel in a training step.
EXPLICIT_ATTENTION_LENGTH = 256


def explicit_attention_on_cpu(unet: Denoiser) -> None:
    """Takes diffusers' plain attention where PyTorch's fused kernel is slow: its backward in bf16 on a CPU.

    Measured at 96 positions and 3 heads of 64, batch 16: 10 ms fused, 3 ms plain; a whole step of the default
    denoiser takes three quarters of the time. Weights and outputs stay the same. The prior transformer has plain
    attention anyway.
    """
    if not isinstance(unet, UNet1DConditionModel):
        return
    for name, module in unet.named_modules():
        if name.endswith(".cross_attention"):
            module.set_processor(AttnProcessor())
    for layers, length in unet.layers_by_length():
        for layer in layers:
            if layer.transformer is not None and length <= EXPLICIT_ATTENTION_LENGTH:
                layer.transformer.self_attention.set_processor(AttnProcessor())


def build_optimizer(args: argparse.Namespace, model: torch.nn.Module) -> torch.optim.AdamW:
    """AdamW that decays matrices and kernels but not biases, norms and other vectors."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": args.adam_weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=args.learning_rate,
        betas=(args.adam_beta1, args.adam_beta2),
        eps=args.adam_epsilon,
        fused=True,
    )


def enable_gradient_checkpointing(model: torch.nn.Module) -> None:
    """Turns on gradient checkpointing by diffusers' or transformers' name for it."""
    for method in ("enable_gradient_checkpointing", "gradient_checkpointing_enable"):
        if hasattr(model, method):
            getattr(model, method)()
            return
    raise ValueError(f"{type(model).__name__} has no gradient checkpointing: drop --gradient_checkpointing")


def push_folder(args: argparse.Namespace) -> None:
    """Uploads ``output_dir`` without checkpoints and tracker logs to ``hub_model_id``."""
    from huggingface_hub import HfApi

    api = HfApi(token=args.hub_token)
    repo_id = api.create_repo(args.hub_model_id, exist_ok=True).repo_id
    api.upload_folder(
        repo_id=repo_id,
        folder_path=args.output_dir,
        commit_message="End of training",
        ignore_patterns=["checkpoint-*/**", ".partial-*/**", ".deleted-*/**", f"{args.logging_dir}/**"],
    )
