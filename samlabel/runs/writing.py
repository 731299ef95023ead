"""Label files of a run, written from its journal where they are not current."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from .. import formats
from ..datasets.records import Records
from ..formats import FormatOptions
from ..image_files import ImageFiles
from ..progress import SILENT, Progress
from ..reach import ANYWHERE
from ..types import Dataset, ImageRecord
from .earlier import Earlier
from .invalidation import settings_hash
from .journal import Journal, Totals
from .outputs import Outputs


@dataclass(frozen=True)
class Writing:
    """Writes formats below an output folder.

    `root` is the folder of the images and `images` how they are placed, None being each format's own way. Files that
    somebody edited are replaced, and kept aside, with `overwrite`.
    """

    outputs: Outputs
    root: Path
    images: str | None
    settings: Mapping[str, Any]
    overwrite: bool = False
    progress: Progress = SILENT

    def write(
        self, name: str, journal: Journal, paths: Sequence[str], totals: Totals, *, replacing: bool = False
    ) -> list[str] | None:
        """The format `name` with the records of `paths`, which `totals` counts; None where it is that already.

        Gives the places where edited files were kept; they are replaced with `replacing` as well.
        """
        made_from = {"records": totals.digest, "images": self.images, "settings": self.settings}
        if placed(name, self.images) != "none":  # another image of the same labels must be placed anew
            made_from["files"] = settings_hash({path: journal.entries[path].sha256 for path in paths})
        digest = settings_hash(made_from)
        if not self.overwrite and self.outputs.is_current(name, digest):
            return None
        rows = [[one.id, one.name, one.supercategory] for one in journal.categories]
        origin = {"end": journal.end, "records": totals.digest, "images": list(paths), "categories": rows}
        # The folder of images may be made of links, as caches of datasets are: the user named them.
        records = Records(lambda: self.progress.over(journal.records(paths), f"writing {name}"))
        dataset = Dataset(journal.categories, records, self.root, reach=ANYWHERE, expected=journal.entries)
        copies = _copies(name, self.images)
        images = "symlink" if copies else self.images
        context = settings_hash({**made_from, "records": "", "files": "", "categories": repr(journal.categories)})

        def digest_of(path: str) -> str:
            return f"{settings_hash([context, journal.entries[path].sha256])}{totals.records[path]}"

        def write(folder: Path, earlier: Earlier) -> dict[str, int]:
            format = formats.get(name)
            if not isinstance(format, formats.ImagewiseFormat):
                return dict(formats.write(dataset, folder, format=name, overwrite=True, images=images).losses)
            update = formats.Update(
                self._images(name, journal, paths, digest_of, earlier),
                earlier.losses,
                lambda made: earlier.note(made, digest_of(made.path)),
            )
            return dict(formats.update(dataset, folder, format, update, images=images).losses)

        return self.outputs.replace(
            name,
            digest,
            write,
            overwrite=self.overwrite or replacing,
            copies=partial(_confirm, dataset.images_in()) if copies else None,
            origin=origin,
            progress=self.progress,
        )

    def _images(
        self,
        name: str,
        journal: Journal,
        paths: Sequence[str],
        digest_of: Callable[[str], str],
        earlier: Earlier,
    ) -> Iterator[ImageRecord | formats.Unchanged]:
        for path in self.progress.over(paths, f"writing {name}"):
            entry = journal.entries[path]
            made = earlier.of(path, digest_of(path), self.root / path, entry)
            if made is None:
                yield journal.record(path)
            else:
                yield formats.Unchanged(made, partial(earlier.keep, made, entry), partial(journal.record, path))


def write_links(name: str, dataset: Dataset, folder: Path) -> None:
    """Label files as a run writes them, with links in the place of images."""
    images = "symlink" if _copies(name, None) else None
    formats.write(dataset, folder, format=name, overwrite=True, images=images)


def placed(name: str, images: str | None) -> str:
    """How the format `name` gets its images: copy, hardlink, symlink or none."""
    usual: FormatOptions = formats.get(name).options()
    return images or usual.images


def _copies(name: str, images: str | None) -> bool:
    """True when the format `name` gets copies of the images."""
    return placed(name, images) == "copy" and os.name != "nt"


def _confirm(files: ImageFiles, source: Path, copy: Path) -> str | None:
    """The hash of a copy of an image of this run; of what a format of others linked to, nothing is known."""
    assert files.root is not None
    return files.confirm(Path(os.path.relpath(source, files.root)).as_posix(), copy)
