"""Which labels a path means; the output folder of an annotate run knows where its pictures are."""

from __future__ import annotations

from pathlib import Path

from ..errors import UsageError


def find(path: Path) -> tuple[Path, Path | None]:
    """The labels that `path` means, and the folder of pictures that an annotate run noted for them."""
    from ..run import read_json

    if not path.exists():
        raise UsageError(f"there is no dataset at {path}")
    for out in (path, path.parent, path.parent.parent):
        settings = read_json(out / ".samlabel" / "settings.json")
        if settings:
            break
    else:
        return path, None
    if path == out:
        written = read_json(out / ".samlabel" / "outputs.json")
        if not written:
            raise UsageError(f"{path} holds an unfinished run; run samlabel annotate again")
        path = out / ("coco" if "coco" in written else sorted(written)[0])
    return path, out / settings["images"]
