"""Guards a folder that is filled over several runs against runs that do not belong together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..io.atomic import atomic_write

RUN_NAME = "run.json"


def check_same_settings(folder: str | Path, settings: dict[str, Any]) -> None:
    """Remembers the settings of the first run in ``<folder>/run.json`` and refuses others later.

    Raises:
        ValueError: if the folder was begun with other settings; names them.
    """
    path = Path(folder) / RUN_NAME
    if path.exists():
        begun = json.loads(path.read_text(encoding="utf-8"))
        different = sorted(key for key in begun.keys() | settings.keys() if begun.get(key) != settings.get(key))
        if different:
            changes = ", ".join(f"{key} was {begun.get(key)!r}, is {settings.get(key)!r}" for key in different)
            raise ValueError(f"{folder} was begun with other settings ({changes}): use another --output_dir.")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as stream:
        stream.write((json.dumps(settings, indent=2) + "\n").encode())
