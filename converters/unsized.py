"""Labels that are read without their images: such as say nothing about an image's size are asked image by image."""

from __future__ import annotations

from pathlib import Path

from samlabel.errors import about
from samlabel.reach import Reach

from .format import Unsized
from .recognition import check_place, detect_format, recognized
from .registry import FORMATS


def read_unsized(path: Path | str, *, follow_links: bool = False) -> Unsized | None:
    """The labels at `path`, of which no image need be there; None where `read` is to be asked.

    Bare folders of labels, which no format recognizes for what they are, are taken as well. LeadsOutside for a file
    that is a link out of the dataset, unless `follow_links`.
    """
    path = Path(path)
    check_place(path)
    formats = FORMATS.usable()
    known = [detect_format(path)[0]] if recognized(path, formats) else list(formats.values())
    reach = Reach.of(path, follow_links=follow_links)
    for one in known:
        with about(path):
            found = one.read_unsized(path, reach)
        if found is not None:
            return found
    return None
