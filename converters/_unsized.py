"""Labels that can be read without their images: such as say nothing about an image's size are asked image by image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from samlabel.errors import about
from samlabel.reach import Reach
from samlabel.types import Annotation, Category, Size

from ._registry import check_place, detect_format, formats, get, recognised


class Unsized(Protocol):
    """Label files, one an image, for a caller who has the images and knows their sizes."""

    @property
    def categories(self) -> tuple[Category, ...]: ...

    @property
    def files(self) -> Mapping[str, Path]:
        """Each label file by its name: the path from the dataset's folder, without the suffix."""
        ...

    def find(self, image: str) -> str | None:
        """The name of the label of an image at this path, from the folder of the images; None when it has none."""
        ...

    def read(self, name: str, size: Size) -> tuple[Annotation, ...]:
        """The objects in the label file of this name, at the (height, width) of its image; FormatError as in `read`."""
        ...


def read_unsized(path: Path | str, *, follow_links: bool = False) -> Unsized | None:
    """The labels at `path`, of which no image need be there; None where `read` is to be asked.

    A format offers this with `read_unsized(path, *, reach) -> Unsized | None`, which gives None where it finds no such
    labels. Bare folders of labels, which no format recognizes for what they are, are taken as well. LeadsOutside for a
    file that is a link out of the dataset, unless `follow_links`.
    """
    path = Path(path)
    check_place(path)
    known = [detect_format(path)[0]] if recognised(path) else [info.name for info in formats() if not info.problem]
    reach = Reach.of(path, follow_links=follow_links)
    for name in known:
        offered = getattr(get(name), "read_unsized", None)  # few formats have it
        if offered is not None:
            with about(path):
                found: Unsized | None = offered(path, reach=reach)
            if found is not None:
                return found
    return None
