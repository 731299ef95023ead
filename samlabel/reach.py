"""Where the files of a dataset may lie: the one place that decides whether a path leads out of it."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .errors import FormatError, LeadsOutside

# A folder of one of these names is a part of a dataset whose images lie beside it.
LABEL_HOMES = frozenset(["annotations", "annotation", "labels", "label"])
HIDDEN, RUN_NOTE, NOTE = ".samlabel", "settings.json", "links.json"
_MOST_LINKS = 40  # as many as Linux follows on the way to one file


@dataclass(frozen=True)
class Reach:
    """Folders that the files of a dataset may be read from, every link on the way worked out.

    `inside` are those that its files must lie in at the end. `sources` are folders that samlabel noted as those of the
    images when it made the dataset: what a link leads to in there is read as it was then, links included.
    `everywhere` is --follow-links.
    """

    inside: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    everywhere: bool = False
    # Folder -> where it really is, and whether a file that is no link may be read there.
    _folders: dict[str, tuple[str, bool]] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, path: Path, *, image_root: Path | None = None, follow_links: bool = False) -> Reach:
        """What the dataset at `path`, a folder or a label file as the user named it, may read.

        That is its folder, the one above where the name says that it holds labels alone, `image_root`, and the folders
        that samlabel noted when it made the dataset.
        """
        base = os.path.abspath(path if path.is_dir() else path.parent)
        above = [os.path.dirname(base)] if os.path.basename(base).lower() in LABEL_HOMES else []
        named: list[Path | str] = [base, *above, path, *([image_root] if image_root is not None else [])]
        return cls(_real(named), _real(noted_folders(Path(base))), follow_links)

    def plus(self, *folders: Path | None) -> Reach:
        """The same, and these folders."""
        return Reach(_real([*self.inside, *(one for one in folders if one)]), self.sources, self.everywhere)

    @classmethod
    def joined(cls, several: Iterable[Reach]) -> Reach:
        """What any of them may read."""
        found = list(several)
        inside = dict.fromkeys(folder for one in found for folder in one.inside)
        sources = dict.fromkeys(folder for one in found for folder in one.sources)
        return cls(tuple(inside), tuple(sources), any(one.everywhere for one in found))

    def holds(self, file: Path) -> bool:
        """Whether `file`, which need not exist, is within reach."""
        try:
            self.check(file)
        except (FormatError, LeadsOutside):
            return False
        return True

    def check(self, file: Path, where: str = "") -> Path:
        """`file`, which may be opened now or is not there; LeadsOutside where it leads out of these folders.

        `where` begins the message instead of the path. FormatError for a pipe, a socket or a device.
        """
        folder, name = os.path.split(os.fspath(file))
        if name in ("", ".", ".."):
            folder, name = os.fspath(file), ""
        if folder not in self._folders:
            home = os.path.realpath(folder)
            self._folders[folder] = (home, self.everywhere or self._reaches(home))
        home, is_inside = self._folders[folder]
        place = f"{home}{os.sep}{name}" if name else home
        for _ in range(_MOST_LINKS):
            try:
                mode = os.lstat(place).st_mode
            except OSError:  # whoever opens it will say so
                mode = stat.S_IFREG
            if not stat.S_ISLNK(mode) or self.everywhere or _is_within(home, self.sources):
                break
            place, is_inside = _one_link_on(place), False
            home = os.path.dirname(place)
        if not (is_inside or self._reaches(place)):
            raise LeadsOutside(where or str(file), os.path.realpath(file), self.inside[0] if self.inside else "")
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
            raise FormatError(f"{file}: a pipe, a socket or a device; expected a regular file")
        return file

    def _reaches(self, place: str) -> bool:
        return self.everywhere or _is_within(place, self.inside) or _is_within(place, self.sources)


ANYWHERE = Reach(everywhere=True)  # for images that the user named themselves, not through a dataset


def noted_folders(base: Path) -> list[Path]:
    """The folders of images that samlabel noted when it made the dataset at `base`, or the run that it belongs to."""
    found = []
    for home in (base, base.parent, base.parent.parent):
        noted = _read(home / HIDDEN / RUN_NOTE).get("images")
        found += [home / noted] if isinstance(noted, str) else []
    noted = _read(base / HIDDEN / NOTE).get("images")
    found += [base / one for one in noted if isinstance(one, str)] if isinstance(noted, list) else []
    return found


def note_for(base: Path, reach: Reach, image_root: Path) -> str | None:
    """What to write to `base/.samlabel/links.json` so that links from `base` to these images can be read back.

    None where they can be read already.
    """
    folders = reach.inside or _real([image_root])
    known = Reach.of(base)
    missing = [one for one in folders if not known.holds(Path(one))]
    if not missing:
        return None
    home = os.path.realpath(base)
    try:
        listed = [Path(os.path.relpath(one, home)).as_posix() for one in missing]
    except ValueError:  # another drive of Windows
        listed = [Path(one).as_posix() for one in missing]
    return json.dumps({"images": listed}) + "\n"


def _read(file: Path) -> Mapping[str, object]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _real(folders: Iterable[Path | str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(os.path.realpath(one) for one in folders))


def _one_link_on(place: str) -> str:
    """Where one link leads, its own folder worked out and its last part not."""
    target = os.path.join(os.path.dirname(place), os.readlink(place))
    folder, name = os.path.split(target)
    return os.path.realpath(target) if name in ("", ".", "..") else os.path.join(os.path.realpath(folder), name)


def _is_within(place: str, folders: Iterable[str]) -> bool:
    place = os.path.normcase(place)
    for one in folders:
        one = os.path.normcase(one)
        if place == one or place.startswith(one.rstrip(os.sep) + os.sep):
            return True
    return False
