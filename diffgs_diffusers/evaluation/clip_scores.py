"""Does a text say what a render shows? CLIP score (Hessel et al. 2021) and R-precision (Park et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

from ..gaussians import GaussianSplats
from ..training.conditioned_denoiser import pixels_of
from .views import evaluation_cameras, render_on_white

NO_CLIP = (
    "CLIP score and R-precision are left out: they need both towers of one CLIP, such as "
    "openai/clip-vit-base-patch32 or the folder that training/train_clip.py writes; name it with --clip. The "
    "towers of the pipeline itself were trained apart and say nothing about each other."
)


@dataclass(frozen=True)
class ClipVerdict:
    """What CLIP sees of an object.

    Args:
        score: 100 · max(0, cosine) of render and the object's own prompt, mean over the views.
        retrieved: the prompt that is most similar to the object, "" for an empty one.
    """

    score: float
    retrieved: str


class ClipTowers:
    """Images and texts as unit vectors of one space.

    Args:
        model: both towers and their projections; a pipeline's own encoders have no projections.
        tokenizer: of the texts.
        image_processor: of the images.
    """

    def __init__(self, model: CLIPModel, tokenizer: CLIPTokenizer, image_processor: CLIPImageProcessor) -> None:
        self.model, self.tokenizer, self.image_processor = model.eval(), tokenizer, image_processor
        self.image_size: int = model.config.vision_config.image_size

    @classmethod
    def load(cls, name: str) -> ClipTowers:
        """Reads a folder or Hub id with a ``CLIPModel``, its tokenizer and its image processor.

        Raises:
            OSError: if there is none, naming it.
        """
        if not Path(name).is_dir() and (name.count("/") != 1 or name.startswith((".", "/", "~"))):
            raise FileNotFoundError(f"There is no CLIP folder {name}, and it is no Hub id either.")
        parts = (CLIPModel, CLIPTokenizer, CLIPImageProcessor)
        model, tokenizer, processor = (part.from_pretrained(name) for part in parts)
        return cls(model.float(), tokenizer, processor)

    @torch.no_grad()
    def images(self, views: Tensor) -> Tensor:
        """[B, D] of images [B, H, W, 3] in [0, 1]."""
        whole = (views.clamp(0, 1) * 255).round().to(torch.uint8)
        pixels = pixels_of(whole, self.image_processor).to(self.model.device)
        pooled = self.model.vision_model(pixel_values=pixels).pooler_output
        return torch.nn.functional.normalize(self.model.visual_projection(pooled), dim=-1)

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """[B, D] of texts; what CLIP cannot read of a long one is cut."""
        tokens = self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        tokens = tokens.to(self.model.device)
        pooled = self.model.text_model(tokens.input_ids, attention_mask=tokens.attention_mask).pooler_output
        return torch.nn.functional.normalize(self.model.text_projection(pooled), dim=-1)


class ClipJudge:
    """Scores objects against their own prompt, and against all prompts of a grid.

    Args:
        towers: a CLIP model.
        prompts: all of the grid, each once.

    Raises:
        ValueError: if a prompt stands twice, which nobody could tell apart.
    """

    def __init__(self, towers: ClipTowers, prompts: Sequence[str]) -> None:
        if len(set(prompts)) != len(prompts):
            raise ValueError(f"R-precision needs different prompts, got {len(prompts) - len(set(prompts))} twice.")
        self.towers, self.prompts = towers, list(prompts)
        self._texts = towers.texts(self.prompts)
        self._cameras = evaluation_cameras(towers.image_size)

    def judge(self, splats: GaussianSplats | None, prompt: str) -> ClipVerdict:
        """The verdict on eight views of an object that was made from a prompt of the grid; None is empty."""
        if splats is None:
            return ClipVerdict(0.0, "")
        return self.judge_views(render_on_white(splats, self._cameras), prompt)

    def judge_views(self, views: Tensor, prompt: str) -> ClipVerdict:
        """The same of views [C, H, W, 3] in [0, 1]."""
        cosines = self.towers.images(views) @ self._texts.T
        own = cosines[:, self.prompts.index(prompt)]
        most_similar = int(cosines.mean(dim=0).argmax())
        return ClipVerdict(float(100 * own.clamp(min=0).mean()), self.prompts[most_similar])
