"""`samlabel view`: labels drawn over their pictures, and a page to look through them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def view(
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="Label file, dataset folder, or the --out of samlabel annotate.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the pictures and index.html.")],
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the pictures.", show_default="the one that the labels came from"),
    ] = None,
    format: Annotated[
        str | None, typer.Option("--from", help="Format of DATASET.", show_default="told from the files")
    ] = None,
) -> None:
    """Draw labels over their pictures and make one static page of them."""
    import converters

    from ..errors import UsageError
    from ..view import write_view

    labels, root = _find(dataset)
    found = converters.read(labels, format, image_root=images or root)
    root = images or root or found.image_root
    if root is None or not root.is_dir():
        raise UsageError(f"{dataset}: the folder of the pictures is not known; name it with --images DIR")
    write_view(found, root, out)
    print(out / "index.html")


def _find(path: Path) -> tuple[Path, Path | None]:
    """The labels that `path` means, and the folder of pictures that an annotate run noted for them."""
    from ..errors import UsageError

    if not path.exists():
        raise UsageError(f"there is no dataset at {path}")
    for out in (path, path.parent, path.parent.parent):
        settings = _json(out / ".samlabel" / "settings.json")
        if settings:
            break
    else:
        return path, None
    if path == out:
        written = _json(out / ".samlabel" / "outputs.json")
        if not written:
            raise UsageError(f"{path} holds an unfinished run; run samlabel annotate again")
        name = "coco" if "coco" in written else sorted(written)[0]
        path = out / name / "annotations.json" if name == "coco" else out / name
    return path, out / settings["images"]


def _json(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
