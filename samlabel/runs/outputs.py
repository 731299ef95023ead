"""Label files of a run: put in place whole, remembered by hash, a person's changes never lost.

A format is written to a hidden folder and swapped in by renaming, so `OUT/yolo` is the old dataset
or the new one. What was written is remembered, so a later run can tell its own files from a
person's: an edited file stops the run, or is kept aside when overwriting was asked for; a file that
we did not write is carried over.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import ImageChanged, OutputExists
from ..file_state import State, hash_file, is_same, state_of
from ..files import OutputFolder
from ..progress import SILENT, Progress
from ..walk import is_link
from .earlier import Earlier
from .hidden import HIDDEN, KEPT, OUTPUTS, known_outputs
from .versions import describe, is_linked, restated

_LABELS = frozenset([".json", ".jsonl", ".txt", ".yaml", ".yml", ".xml", ".csv", ".parquet"])
# Looks at an image and its copy in a label folder; gives the SHA-256 of the copy where it is known without reading.
Confirm = Callable[[Path, Path], "str | None"]


class Outputs:
    """The formats below one output folder, and what we know of each file that we wrote there."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = OutputFolder(out)
        self._known = known_outputs(self.folder)
        self._is_new = False  # something is known that the file does not say yet
        self._finish_swaps()
        for build in out.glob(f"{HIDDEN}-*.new"):  # half written by a killed process
            self.folder.remove_tree(build.name)

    @property
    def formats(self) -> list[str]:
        """Formats that were written here before."""
        return sorted(self._known)

    def is_current(self, name: str, digest: str) -> bool:
        """True when `OUT/name` was made from `digest` and no file of it has gone since."""
        known = self._known.get(name, {})
        return known.get("digest") == digest and all(
            self._is_there(f"{name}/{file}") for file in known.get("files", {})
        )

    def losses(self, name: str) -> dict[str, int]:
        """What the format could not hold when it was written last, by code."""
        return dict(sorted(self._known.get(name, {}).get("losses", {}).items()))

    def origin(self, name: str) -> dict[str, Any] | None:
        """What `OUT/name` was made from, as it was told to `replace`; None when that was never noted."""
        return self._known.get(name, {}).get("origin")

    def edited(self, name: str) -> list[str]:
        """Files of `OUT/name` that we wrote and somebody changed since, sorted."""
        found = [file for file in self._written(name) if self._changed(name, file)]
        if self._is_new:
            self._remember()
        return found

    def foreign(self, name: str) -> list[str]:
        """Files of `OUT/name` that we did not write, sorted."""
        written = set(self._written(name))
        return [file for file in _files(self.out / name) if file not in written]

    def replace(
        self,
        name: str,
        digest: str,
        write: Callable[[Path, Earlier], dict[str, int]],
        *,
        overwrite: bool,
        copies: Confirm | None = None,
        origin: Mapping[str, Any] | None = None,
        progress: Progress = SILENT,
    ) -> list[str]:
        """Swap in a new `OUT/name` that `write` makes in the folder it is given and tells the losses of.

        It may take over files of the earlier writing, which it is given as well.
        With `copies` the symbolic links that `write` made become copies of the images they lead to, each confirmed by
        it; a copy that is there already is taken over, not read again. `origin` is remembered for `origin()`. Gives the
        places where edited files were kept. Raises OutputExists, with nothing changed, when an edited file is in the
        way and not `overwrite`, or a file of a person's has a name that we need, and what `write` and `copies` raise.
        """
        edited = self.edited(name)
        if edited and not overwrite:
            raise OutputExists(edited_message(self.out / name, edited))
        new = f"{HIDDEN}-{name}.new"  # as deep as the target, so that relative links hold
        build = self.out / new
        self.folder.remove_tree(new)
        self.folder.mkdir(new)
        try:
            is_ours = partial(self._is_ours, name)
            with Earlier(self.folder, name, new, self._known.get(name, {}), is_ours) as earlier:
                losses = write(build, earlier)
            pictures = self._copy_pictures(name, new, copies, progress) if copies is not None else {}
        except ImageChanged:
            self.folder.remove_tree(new)
            raise
        hashes = {file: sha256 for file, (_, sha256, _) in pictures.items()}
        files = progress.over(list(_files(build)), "noting files", unit="files")
        made = {file: restated(os.path.join(build, file), earlier.kept.get(file)) for file in files}
        made = {file: known or describe(build / file, hashes.get(file)) for file, known in made.items()}
        taken = [file for file in self.foreign(name) if file in made]
        if taken:
            self.folder.remove_tree(new)
            raise OutputExists(
                f"{self.out / name / taken[0]} exists and samlabel did not write it ({len(taken)} such files); "
                f"move it away or choose another --out"
            )
        kept = self._keep(name, edited)
        self._known.setdefault(name, {"files": {}})["next"] = made
        self._remember()
        if self.folder.kind(name) is not None:
            self.folder.rename(name, _old(name))
        self.folder.rename(new, name)
        self._carry_over(name)
        taken_over = [file for file, (_, _, was_there) in pictures.items() if was_there]
        for file in (*taken_over, *earlier.kept):  # the old folder's name of it is gone: a change of the file
            made[file] = restated(os.path.join(self.out, name, file), made[file]) or made[file]
        originals = {**earlier.originals, **{file: state for file, (state, _, _) in pictures.items()}}
        self._known[name] = {
            "digest": digest,
            "files": made,
            "losses": losses,
            "pictures": originals,
            "origin": origin,
            "images": earlier.images,
        }
        self._remember()
        return kept

    def _copy_pictures(
        self, name: str, new: str, confirm: Confirm, progress: Progress
    ) -> dict[str, tuple[State, str | None, bool]]:
        """Turn links into copies; gives by file the state of the original, by which it is known the next time, the
        hash where it is known, and whether the copy of the folder before was taken over.
        """
        known = self._known.get(name, {}).get("pictures", {})
        pictures: dict[str, tuple[State, str | None, bool]] = {}
        links = [file for file in _files(self.out / new) if self.folder.kind(f"{new}/{file}") == "link"]
        for file in progress.over(links, "copying images"):
            link = f"{new}/{file}"
            source = Path(os.readlink(self.out / link))
            try:
                state = state_of(source)
                taken_over = is_same(known.get(file, ()), state) and self._is_ours(name, file)
                taken_over = taken_over and self._could_link(self.out / name / file, link)
                if not taken_over:
                    self.folder.place(source, link, "copy")
            except FileNotFoundError:
                state, taken_over = (), False
            pictures[file] = (state, confirm(source, self.out / link), taken_over)
        return pictures

    def _is_ours(self, name: str, file: str) -> bool:
        """Whether a file is as we wrote it, told without reading it."""
        if self.folder.kind(f"{name}/{file}") != "file":
            return False
        now = state_of(os.path.join(self.out, name, file))
        return any(is_same(version[:-1], now) for version in self._versions(name, file))

    def _changed(self, name: str, file: str) -> bool:
        """Whether somebody changed a file that we wrote; a new state of the same bytes is noted."""
        path, versions = os.path.join(self.out, name, file), self._versions(name, file)
        if self.folder.kind(f"{name}/{file}") != "file":
            return False
        now = state_of(path)
        if any(is_same(version[:-1], now) or is_linked(path, version) for version in versions):
            return False
        if any(version[-1] is None for version in versions):  # an image that an earlier version did not hash
            return all(now[0] != version[0] for version in versions)
        sha256 = hash_file(Path(path))
        for part in ("files", "next"):
            if (noted := self._known[name].get(part, {}).get(file)) is not None and noted[-1] == sha256:
                if len(now) == 4:
                    noted[:], self._is_new = [*now, sha256], True
                return False
        return True

    def _keep(self, name: str, edited: list[str]) -> list[str]:
        """Copies of edited files in a numbered folder that nothing here ever deletes."""
        if not edited:
            return []
        number = 1
        while self.folder.kind(home := f"{KEPT}/{name}-{number}") is not None:
            number += 1
        for file in edited:
            self.folder.link(f"{name}/{file}", f"{home}/{file}")
        return [str(self.out / home / file) for file in edited]

    def _could_link(self, old: Path, name: str) -> bool:
        """Make `name` another name of `old`, whose folder is deleted soon; False where a file has one name only."""
        try:
            self.folder.place(old, name, "hardlink")
        except OSError:  # a file system without hard links
            return False
        return True

    def _finish_swaps(self) -> None:
        """Complete or undo a swap that a killed process left half done."""
        for name in self.formats:
            if self.folder.kind(_old(name)) is None:
                continue
            if self.folder.kind(name) is not None:
                self._carry_over(name)
            else:
                self.folder.rename(_old(name), name)

    def _carry_over(self, name: str) -> None:
        """Move what we did not write from the replaced folder to the new one, then delete the rest."""
        old = _old(name)
        written = set(self._written(name))
        for file in _files(self.out / old) if self.folder.kind(old) == "folder" else ():
            if file not in written:
                self.folder.rename(f"{old}/{file}", f"{name}/{file}")
        self.folder.remove_tree(old)

    def _is_there(self, name: str) -> bool:
        kind = self.folder.kind(name)
        return (self.out / name).exists() if kind == "link" else kind is not None

    def _written(self, name: str) -> list[str]:
        known = self._known.get(name, {})
        return sorted({*known.get("files", {}), *known.get("next", {})})

    def _versions(self, name: str, file: str) -> list[list[Any]]:
        known = self._known[name]
        return [known[part][file] for part in ("files", "next") if file in known.get(part, {})]

    def _remember(self) -> None:
        self._is_new = False
        text = json.dumps(self._known, sort_keys=True, separators=(",", ":")) + "\n"
        self.folder.write(OUTPUTS, text, durable=True)


def _old(name: str) -> str:
    """Where the label files of a format lie while new ones take their place."""
    return f"{HIDDEN}-{name}.old"


def foreign_labels(out: Path) -> Path | None:
    """A label file in a folder that samlabel never wrote to, None when there is none."""
    if not out.is_dir() or (out / HIDDEN / "settings.json").exists():
        return None
    return next((out / file for file in _files(out) if Path(file).suffix.lower() in _LABELS), None)


def edited_message(folder: Path, edited: list[str]) -> str:
    """One line that says which files a person changed and what to do next."""
    more = f" and {len(edited) - 1} more" if len(edited) > 1 else ""
    return (
        f"{folder / edited[0]}{more} changed since samlabel wrote it; move it away, "
        f"or --overwrite, which keeps a copy in {folder.parent / 'kept'}"
    )


def _files(folder: Path) -> Iterator[str]:
    """Files below a folder, sorted, as POSIX paths relative to it; links are not followed."""
    found: list[str] = []
    for where, folders, names in os.walk(folder):
        folders[:] = [one for one in folders if one != HIDDEN]
        links = [one for one in folders if os.path.islink(os.path.join(where, one))]
        inner = os.path.relpath(where, folder).replace(os.sep, "/")
        found += [one if inner == "." else f"{inner}/{one}" for one in (*names, *links)]
    return iter(sorted(found))


def refuse_links(out: Path, formats: Iterable[str]) -> None:
    """UsageError, before hours of work, where a link right below the output would be refused at the end."""
    hidden = out / HIDDEN
    suspects = [hidden, *(hidden.iterdir() if hidden.is_dir() else ()), out / KEPT, *(out / name for name in formats)]
    suspects += out.glob(f"{HIDDEN}-*") if out.is_dir() else ()
    for one in suspects:
        if one.is_symlink():
            raise is_link(one)
