"""Each part of the package imports only from the parts above it, and nothing heavy waits at its door."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import diffgs_diffusers

PACKAGE = Path(diffgs_diffusers.__file__).parent
# Top to bottom: a module may import from its own row and from the rows before it.
ROWS = (
    "functional",
    "gaussians",
    "io",
    "cameras",
    "rendering",
    "contact_sheet",
    "models",
    "extraction_settings",
    "surface_points",
    "extraction",
    "original_extraction",
    "data",
    "training",
    "latent_refinement",
    "model_folder",
    "hub",
    "pipelines",
    "conversion",
    "evaluation",
    "cli",
    "__main__",
)
# Methods of the value that everything passes around: (file, row that a function of it imports from below).
UPWARD_IN_FUNCTIONS = {("gaussians.py", "io"), ("gaussians.py", "rendering")}
FILES = sorted(
    path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if "checkpoints" not in path.parts
)


def row_of(module: str) -> str | None:
    """The row of a module name such as ``diffgs_diffusers.io.ply``; None for another package or this one's door."""
    parts = module.split(".")
    return parts[1] if parts[0] == "diffgs_diffusers" and len(parts) > 1 else None


def imported_modules(node: ast.AST, file: str) -> Iterator[str]:
    """Absolute names of what an import statement imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        package = ["diffgs_diffusers", *Path(file).parts[:-1]]
        base = package[: len(package) - node.level + 1] if node.level else []
        origin = ".".join([*base, *([node.module] if node.module else [])])
        if origin == "diffgs_diffusers":  # ``from .. import hub``
            yield from (f"{origin}.{alias.name}" for alias in node.names if not alias.name.startswith("__"))
        else:
            yield origin


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def violations(source: str, file: str) -> list[str]:
    """Imports of a file that lead downwards, as text."""
    own = Path(file).parts[0].removesuffix(".py")
    found = []

    def visit(node: ast.AST, in_function: bool) -> None:
        if is_type_checking(node):  # types may name anything; nothing is imported when the program runs
            return
        for module in imported_modules(node, file):
            row = row_of(module)
            allowed = in_function and (file, row) in UPWARD_IN_FUNCTIONS
            if row is not None and not allowed and ROWS.index(row) > ROWS.index(own):
                found.append(f"{file}:{node.lineno} imports {module}, below {own}")  # type: ignore[attr-defined]
        inside = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(ast.parse(source), in_function=False)
    return found


@pytest.mark.parametrize("file", [file for file in FILES if file != "__init__.py"])
def test_a_module_imports_only_from_above(file: str) -> None:
    assert Path(file).parts[0].removesuffix(".py") in ROWS, f"{file} has no row: give it one in ROWS"
    assert violations((PACKAGE / file).read_text(encoding="utf-8"), file) == []


@pytest.mark.parametrize(
    ("source", "file", "count"),
    [
        ("from ..pipelines import DiffGSPipeline", "models/unet.py", 1),
        ("from .. import hub", "io/ply.py", 1),
        ("import diffgs_diffusers.cli.paths", "cameras.py", 1),
        ("def f():\n    from ..data import mesh", "io/ply.py", 1),
        ("from .rendering import render", "gaussians.py", 1),
        ("def f():\n    from .rendering import render", "gaussians.py", 0),
        ("if TYPE_CHECKING:\n    from .cameras import Cameras", "gaussians.py", 0),
        ("from ..io import atomic_write\nimport torch\nfrom . import other", "data/dataset.py", 0),
    ],
)
def test_the_check_finds_what_it_should(source: str, file: str, count: int) -> None:
    assert len(violations(source, file)) == count


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, diffgs_diffusers, diffgs_diffusers.cli, diffgs_diffusers.io\n"
        "sys.exit(' '.join({'torch', 'numpy', 'numba', 'diffusers', 'transformers'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"imported at once: {done.stderr}"


def test_every_public_name_is_there() -> None:
    for name in diffgs_diffusers.__all__:
        assert getattr(diffgs_diffusers, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = diffgs_diffusers.nonsense
