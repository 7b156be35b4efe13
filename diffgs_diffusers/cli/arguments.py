"""The arguments of every command, and the checks that need nothing but their text."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from typing import NoReturn

from .. import __version__
from ..extraction_settings import EXTRACTIONS, PICTURE_STEPS, REFINEMENT_STEPS
from ..io import POINT_SUFFIXES, SUPPORTED_SUFFIXES

MAX_IMAGE_SIZE = 8192
MAX_SEED = 2**63 - 1
TRANSPARENT = "transparent"


class OneLineParser(argparse.ArgumentParser):
    """Reports a mistake in one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        print(f"diffgs: error: {message} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(2)


def integer(minimum: int, maximum: int = MAX_SEED) -> Callable[[str], int]:
    """An argparse type: an integer in [minimum, maximum]."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be an integer, got {text!r}") from None
        if not minimum <= value <= maximum:
            bound = f"at least {minimum}" if value < minimum else f"at most {maximum}"
            raise argparse.ArgumentTypeError(f"must be {bound}, got {value}")
        return value

    return parse


def number(minimum: float, maximum: float) -> Callable[[str], float]:
    """An argparse type: a finite number in [minimum, maximum]."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a number, got {text!r}") from None
        if not (math.isfinite(value) and minimum <= value <= maximum):
            raise argparse.ArgumentTypeError(f"must be between {minimum:g} and {maximum:g}, got {text}")
        return value

    return parse


def color(text: str) -> tuple[float, float, float] | None:
    """An argparse type: a colour as sRGB in [0, 1], or None for ``transparent``."""
    from PIL import ImageColor

    if text == TRANSPARENT:
        return None
    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a colour name, #rrggbb or {TRANSPARENT}, got {text!r}") from None
    return red / 255, green / 255, blue / 255


def build_parser() -> argparse.ArgumentParser:
    """The parser of ``diffgs``; ``run`` of its result is the function that carries the command out."""
    parser = OneLineParser(
        prog="diffgs",
        description="Generate, draw, convert, describe and compare 3D Gaussian Splatting objects.",
        epilog=f"Splats are stored as {', '.join(SUPPORTED_SUFFIXES)}.",
    )
    parser.add_argument("--version", action="version", version=f"diffgs {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where in the code an error arose")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_generate(commands.add_parser("generate", help="make objects from text, a picture, a part or points"))
    _add_reconstruct(commands.add_parser("reconstruct", help="make an object anew from its Gaussians or points"))
    _add_render(commands.add_parser("render", help="draw an object from all sides"))
    _add_convert(commands.add_parser("convert", help="write splats in another format"))
    _add_info(commands.add_parser("info", help="describe a file of splats"))
    _add_evaluate(commands.add_parser("evaluate", help="compare generated splats with references"))
    return parser


def _add_generate(parser: argparse.ArgumentParser) -> None:
    from .generate import run_generate

    parser.description = (
        "Make 3D Gaussian objects from text, a picture, a part of an object or points of its surface, or from "
        "several of these together, or vary an object; each with a picture of it from all sides beside it."
    )
    parser.set_defaults(run=run_generate)
    add = parser.add_argument
    add("prompts", nargs="*", metavar="PROMPT", help='what to make, such as "a red armchair"')
    add("--image", metavar="FILE", help="a picture of the object, on a plain or transparent background")
    places = parser.add_mutually_exclusive_group()
    where = "where it belongs in a box of side 1 around the origin, up −y, front +z"
    part = f"the part that is there: splats ({', '.join(SUPPORTED_SUFFIXES)}) {where}"
    cloud = f"points of its surface, with RGB or without ({', '.join(POINT_SUFFIXES)}), in the same box"
    places.add_argument("--partial", metavar="FILE", help=part)
    places.add_argument("--points", metavar="FILE", help=cloud)
    splats = ", ".join(SUPPORTED_SUFFIXES)
    add("--gaussians", metavar="FILE", help=f"the object to begin with and to vary ({splats}), in the same box")
    add("--strength", type=number(0, 1), metavar="S", help="how much of it may change, up to 1 (default: 0.6)")
    add("--discard-input", action="store_true", help="write new Gaussians in place of the part's, too")
    add("-o", "--output", metavar="FILE", help="default: named after the prompt or input; several are numbered")
    _add_decoding(parser)
    add("--steps", type=integer(1), metavar="N", help="denoising steps (default: the pipeline's)")
    add("--guidance", type=number(0, 1000), metavar="G", help="strength of the condition (default: the pipeline's)")
    add("--negative-prompt", metavar="TEXT", help="what to lead away from")
    add("--count", type=integer(1), default=1, metavar="N", help="objects for each prompt (default: 1)")
    tried = (
        "objects tried for each one, chosen by --image or by how sound they are (default: 1; 8 is a good number)"
    )
    add("--candidates", type=integer(1), default=1, metavar="N", help=tried)
    mended = "times an object is encoded and decoded once more, which mends it (default: the pipeline's)"
    add("--mending", type=integer(0), metavar="N", help=mended)
    add("--seed", type=integer(0), default=0, metavar="S", help="object i is made from seed S + i (default: 0)")


def _add_decoding(parser: argparse.ArgumentParser, *, refined: bool = False) -> None:
    """What generated and reconstructed objects have in common; ``refined`` says whether latents may be."""
    add = parser.add_argument
    add("--num-gaussians", type=integer(1), default=50_000, metavar="N", help="of each object (default: 50000)")
    how = "how Gaussians are found: evenly, the same fast, from refined latents, or as the released DiffGS does"
    default = "sharp, even where nothing is refined" if refined else "even"
    chosen = None if refined else "even"
    add("--extraction", choices=list(EXTRACTIONS), default=chosen, help=f"{how} (default: {default})")
    add("--model", metavar="MODEL", help="folder or Hub id (default: the checkpoint that ships)")
    add("--device", metavar="DEVICE", help="cpu, cuda, cuda:1, … (default: cuda where there is one)")
    add("--no-sheet", action="store_true", help="write no picture")


def _add_reconstruct(parser: argparse.ArgumentParser) -> None:
    from .reconstruct import run_reconstruct

    parser.description = (
        "Encode an object, or points of its surface, look for latents that describe it, and decode them to any "
        "number of Gaussians, without a prompt and denoising. It must stand in a box of side 1 around the origin "
        "(up −y, front +z)."
    )
    parser.set_defaults(run=run_reconstruct)
    add = parser.add_argument
    add("file", metavar="FILE", help=f"splats ({', '.join(SUPPORTED_SUFFIXES)})")
    add(
        "--points",
        action="store_true",
        help=f"FILE holds points, with RGB or without ({', '.join(POINT_SUFFIXES)})",
    )
    add("-o", "--output", metavar="OUT", help="default: named after FILE")
    usual = f"default: {REFINEMENT_STEPS}, 0 for a model of the original's networks"
    steps = f"steps that look for better latents than the encoder's, 0 for none ({usual})"
    add("--refinement-steps", type=integer(0), metavar="N", help=steps)
    pictures = (
        f"steps after them that compare pictures, too (default: {PICTURE_STEPS}, 0 if there are none of them)"
    )
    add("--picture-steps", type=integer(0), metavar="N", help=pictures)
    add("--seed", type=integer(0), default=0, metavar="S", help="of the places of the Gaussians (default: 0)")
    _add_decoding(parser, refined=True)


def _add_render(parser: argparse.ArgumentParser) -> None:
    from .files import run_render

    parser.description = "Draw an object from all sides: a sheet of views (.png) or an animation (.gif)."
    parser.set_defaults(run=run_render)
    add = parser.add_argument
    add("file", metavar="FILE", help="splats")
    add("-o", "--output", metavar="PNG|GIF", help="default: FILE with the suffix .png")
    add("--views", type=integer(1, 1000), metavar="N", help="default: 8 in a sheet, 36 in an animation")
    add("--size", type=integer(1, MAX_IMAGE_SIZE), default=256, metavar="PIXELS", help="of a view (default: 256)")
    add("--columns", type=integer(1), default=4, metavar="N", help="views in a row of a sheet (default: 4)")
    add("--elevation", type=number(-89, 89), default=20.0, metavar="DEGREES", help="default: 20")
    add("--background", type=color, default="white", metavar="COLOR", help="name, #rrggbb or transparent")
    add("--rasterize-mode", choices=["antialiased", "classic"], help="default: what the file says, else classic")


def _add_convert(parser: argparse.ArgumentParser) -> None:
    from .files import run_convert

    parser.description = "Write splats in the format that the new file's suffix names."
    parser.set_defaults(run=run_convert)
    parser.add_argument("input", metavar="IN", help="splats")
    parser.add_argument("output", metavar="OUT", help="the file to write")


def _add_info(parser: argparse.ArgumentParser) -> None:
    from .files import run_info

    parser.description = "Describe a file of splats."
    parser.set_defaults(run=run_info)
    parser.add_argument("file", metavar="FILE", help="splats")
    parser.add_argument("--json", action="store_true", help="as one JSON object")


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    from .evaluate import run_evaluate

    parser.description = (
        "Compare splats that stand in a box of side 1 around the origin. Files: PSNR and SSIM of eight views of "
        "256² pixels on white, Chamfer distance and F-score of the centres. Folders: coverage, minimum matching "
        "distance and 1-NNA of the shapes, FID and KID of the views."
    )
    parser.set_defaults(run=run_evaluate)
    add = parser.add_argument
    add("reference", metavar="REFERENCE", help="splats, or a folder of them")
    add("generated", nargs="+", metavar="GENERATED", help="splats, or folders of them, each beside the reference")
    add("--pairs", action="store_true", help="of folders, compare the files of one name, as files are compared")
    add("--force", action="store_true", help="compare sets of fewer than 13 objects, whose figures mean little")
    features = "of FID and KID: the model's vision encoder, Inception (downloads its weights), or leave them out"
    add("--features", choices=["clip", "inception", "none"], default="clip", help=features)
    add(
        "--model",
        metavar="MODEL",
        help="folder or Hub id with an image_encoder (default: the checkpoint that ships)",
    )
    add("--json", metavar="FILE", help="write the numbers there, too")
