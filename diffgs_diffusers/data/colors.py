"""Colour names: a small palette, and the name that a colour would be given."""

from __future__ import annotations

import numpy as np

# The colour that a name asks for, sRGB 0-255.
COLOR_NAMES: dict[str, tuple[int, int, int]] = {
    "red": (200, 30, 30),
    "blue": (40, 80, 190),
    "green": (45, 140, 55),
    "white": (240, 240, 240),
    "black": (25, 25, 25),
    "brown": (115, 70, 35),
    "yellow": (240, 205, 40),
    "orange": (240, 125, 25),
    "purple": (115, 50, 150),
    "pink": (240, 140, 175),
    "grey": (128, 128, 128),
    "beige": (220, 200, 165),
}

# Standard deviations of a random shade about its name's own colour: common to the channels, and of each. A tint
# that leaves a red red makes a grey greenish, so neutral colours get next to none.
BRIGHTNESS, TINT, NEUTRAL_TINT = 0.08, 0.07, 0.01

# More examples of each name: a colour is called after the nearest of all of them in CIELAB.
_EXAMPLES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "red": ((140, 15, 20), (225, 50, 45), (90, 10, 15), (165, 50, 50), (255, 0, 0)),
    "blue": ((20, 30, 90), (90, 150, 220), (0, 0, 255), (70, 100, 140), (30, 160, 200), (150, 185, 225)),
    "green": (
        (20, 75, 25),
        (120, 180, 60),
        (0, 200, 0),
        (90, 120, 60),
        (160, 200, 140),
        (40, 150, 120),
        (100, 105, 25),
    ),
    "white": ((255, 255, 255), (240, 238, 228)),
    "black": ((0, 0, 0), (40, 40, 40), (35, 28, 25), (25, 28, 38)),
    "brown": (
        (80, 48, 25),
        (150, 98, 55),
        (60, 35, 20),
        (165, 115, 75),
        (130, 85, 60),
        (95, 70, 55),
        (170, 105, 50),
    ),
    "yellow": ((255, 255, 0), (225, 190, 60), (245, 225, 120), (200, 175, 20)),
    "orange": ((255, 150, 50), (215, 100, 25), (225, 140, 60)),
    "purple": ((75, 30, 95), (160, 100, 190), (150, 30, 140), (130, 110, 170)),
    "pink": ((225, 70, 140), (250, 190, 205), (205, 130, 140), (235, 100, 120)),
    "grey": ((85, 85, 85), (105, 105, 105), (165, 165, 165), (150, 155, 165), (110, 115, 125), (120, 112, 105)),
    "beige": ((200, 175, 135), (240, 225, 195), (205, 190, 160), (190, 170, 140), (235, 215, 170)),
}


def rgb_to_lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB (D65) of sRGB values in [0, 1], [..., 3]."""
    rgb = np.clip(np.asarray(rgb, dtype=np.float64), 0.0, 1.0)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    xyz = linear @ to_xyz.T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def name_colors(rgb: np.ndarray) -> np.ndarray:
    """[...] names of sRGB colours [..., 3] in [0, 1]."""
    names, anchors = _anchors()
    distances = np.linalg.norm(rgb_to_lab(rgb)[..., None, :] - anchors, axis=-1)
    return names[distances.argmin(axis=-1)]


def nearest_color_name(rgb: np.ndarray | tuple[float, ...]) -> str:
    """The name of one sRGB colour [3] in [0, 1].

    Example:
        >>> nearest_color_name((0.8, 0.1, 0.1))
        'red'
    """
    return str(name_colors(np.asarray(rgb)))


def random_shade(name: str, generator: np.random.Generator) -> np.ndarray:
    """A random colour [3] in [0, 1] that bears a name of the palette.

    Args:
        name: a key of :data:`COLOR_NAMES`.
        generator: draws the colour.

    Raises:
        ValueError: if the palette lacks the name.
    """
    if name not in COLOR_NAMES:
        raise ValueError(f"Unknown colour {name!r}; the palette has {', '.join(COLOR_NAMES)}.")
    center = np.array(COLOR_NAMES[name]) / 255
    for _ in range(16):
        tint = generator.normal(0.0, NEUTRAL_TINT if np.ptp(center) < 0.05 else TINT, 3)
        candidate = np.clip(center + generator.normal(0.0, BRIGHTNESS) + tint, 0.0, 1.0)
        if nearest_color_name(candidate) == name:
            return candidate
    return center


def _anchors() -> tuple[np.ndarray, np.ndarray]:
    pairs = list(COLOR_NAMES.items())
    pairs += [(name, color) for name, colors in _EXAMPLES.items() for color in colors]
    return np.array([name for name, _ in pairs]), rgb_to_lab(np.array([color for _, color in pairs]) / 255)
