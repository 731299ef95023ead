"""Which labels a path means; the output folder of an annotate run knows where its pictures are."""

from __future__ import annotations

from pathlib import Path

from ..errors import SamlabelError, UsageError
from ._console import say


def find(path: Path, format: str | None = None) -> tuple[Path, Path | None]:
    """The labels that `path` means, and the folder of pictures that an annotate run noted for them.

    Of a run's labels in several formats those of `format` are meant, or COCO's, and a line on stderr says so.
    """
    from ..files import OutputFolder
    from ..runs.hidden import known_outputs

    if not path.exists():
        raise UsageError(f"there is no dataset at {path}")
    for out in (path, path.parent, path.parent.parent):
        images = _noted_images(out)
        if images is not None:
            break
    else:
        return path, None
    if path == out:
        written = known_outputs(OutputFolder(out))
        if not written:
            raise UsageError(f"{path} holds an unfinished run; run samlabel annotate again")
        chosen = next((name for name in (format, "coco") if name in written), min(written))
        path = out / chosen
        if len(written) > 1 and format is None:
            listing = ", ".join(sorted(written))
            say(f"{out} holds a run's labels as {listing}; {chosen} is read, --from chooses another", err=True)
    return path, out / images


def _noted_images(out: Path) -> str | None:
    """The folder of images that a run noted in its output; None in a folder that is no output of a run."""
    from ..files import OutputFolder
    from ..runs.hidden import HIDDEN, read_json

    try:
        images = read_json(OutputFolder(out), f"{HIDDEN}/settings.json").get("images")
    except SamlabelError:  # a link or a pipe, which no run made
        return None
    return images if isinstance(images, str) else None
