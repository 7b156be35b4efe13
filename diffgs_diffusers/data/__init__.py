"""From meshes or pictures to a dataset of 3D Gaussians with captions, and back out of it for training."""

from .augmentation import augment
from .captions import COLOR_NAMES, compose_caption
from .dataset import GaussianObjectDataset, ObjectRecord

__all__ = ["COLOR_NAMES", "GaussianObjectDataset", "ObjectRecord", "augment", "compose_caption"]
