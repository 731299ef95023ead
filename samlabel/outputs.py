"""Label files of a run: put in place whole, remembered by hash, a person's changes never lost.

A format is written to a hidden folder and swapped in by renaming, so `OUT/yolo` is the old dataset
or the new one. What was written is remembered, so a later run can tell its own files from a
person's: an edited file stops the run, or is kept aside when overwriting was asked for; a file that
we did not write is carried over.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import OutputExists, UsageError
from .images import SUFFIXES, fingerprint, hash_file
from .ledger import write_atomically

HIDDEN = ".samlabel"
_LABELS = frozenset([".json", ".jsonl", ".txt", ".yaml", ".yml", ".xml", ".csv", ".parquet"])


class Outputs:
    """The formats below one output folder, and what we know of each file that we wrote there."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.hidden = out / HIDDEN
        self._memory = self.hidden / "outputs.json"
        self._known: dict[str, dict[str, Any]] = {}
        if self._memory.exists():
            self._known = json.loads(self._memory.read_text(encoding="utf-8"))
        self._finish_swaps()
        for build in out.glob(f"{HIDDEN}-*.new"):  # half written by a killed process
            _clear(build)

    @property
    def formats(self) -> list[str]:
        """Formats that were written here before."""
        return sorted(self._known)

    def is_current(self, name: str, digest: str) -> bool:
        """True when `OUT/name` was made from `digest` and no file of it has gone since."""
        known = self._known.get(name, {})
        return known.get("digest") == digest and all((self.out / name / file).exists() for file in known["files"])

    def losses(self, name: str) -> dict[str, int]:
        """What the format could not hold when it was written last, by code."""
        return dict(sorted(self._known.get(name, {}).get("losses", {}).items()))

    def origin(self, name: str) -> dict[str, Any] | None:
        """What `OUT/name` was made from, as it was told to `replace`; None when that was never noted."""
        return self._known.get(name, {}).get("origin")

    @staticmethod
    def clear(folder: Path) -> None:
        """Remove a folder that we were building, but nothing behind a link."""
        _clear(folder)

    def edited(self, name: str) -> list[str]:
        """Files of `OUT/name` that we wrote and somebody changed since, sorted."""
        folder = self.out / name
        return [file for file in self._written(name) if _changed(folder / file, self._versions(name, file))]

    def foreign(self, name: str) -> list[str]:
        """Files of `OUT/name` that we did not write, sorted."""
        written = set(self._written(name))
        return [file for file in _files(self.out / name) if file not in written]

    def replace(
        self,
        name: str,
        digest: str,
        write: Callable[[Path], dict[str, int]],
        *,
        overwrite: bool,
        copies: bool = False,
        origin: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """Swap in a new `OUT/name` that `write` makes in the folder it is given and tells the losses of.

        With `copies` the symbolic links that `write` made become copies of the pictures they lead to; a copy that
        is there already is taken over, not read again. `origin` is remembered for `origin()`. Gives the places where
        edited files were kept. Raises OutputExists, with nothing changed, when an edited file is in the way and not
        `overwrite`, or a file of a person's has a name that we need.
        """
        edited = self.edited(name)
        if edited and not overwrite:
            raise OutputExists(edited_message(self.out / name, edited))
        build, target = self.out / f"{HIDDEN}-{name}.new", self.out / name  # as deep, so that relative links hold
        _clear(build)
        build.mkdir()
        losses = write(build)
        pictures = self._copy_pictures(name, build) if copies else {}
        made = {file: _describe(build / file, is_picture=file in pictures) for file in _files(build)}
        taken = [file for file in self.foreign(name) if file in made]
        if taken:
            shutil.rmtree(build)
            raise OutputExists(
                f"{target / taken[0]} exists and samlabel did not write it ({len(taken)} such files); "
                f"move it away or choose another --out"
            )
        kept = self._keep(name, edited)
        self._known.setdefault(name, {"files": {}})["next"] = made
        self._remember()
        if target.exists():
            os.replace(target, self._old(name))
        os.replace(build, target)
        self._carry_over(name)
        self._known[name] = {"digest": digest, "files": made, "losses": losses, "pictures": pictures, "origin": origin}
        self._remember()
        return kept

    def _copy_pictures(self, name: str, build: Path) -> dict[str, list[int]]:
        """Turn links into copies; gives size and time of each original, by which it is known the next time."""
        known = self._known.get(name, {}).get("pictures", {})
        pictures = {}
        for file in _files(build):
            link, old = build / file, self.out / name / file
            if not link.is_symlink():
                continue
            source = Path(os.readlink(link))
            pictures[file] = list(fingerprint(source))
            link.unlink()
            same = known.get(file) == pictures[file] and not old.is_symlink() and old.is_file()
            if same and list(fingerprint(old)) in [version[:2] for version in self._versions(name, file)]:
                try:
                    os.link(old, link)  # the old folder is deleted soon, and then this is the only name
                    continue
                except OSError:  # a file system without hard links
                    pass
            shutil.copyfile(source, link)
            shutil.copymode(source, link)
        return pictures

    def _keep(self, name: str, edited: list[str]) -> list[str]:
        """Copies of edited files in a numbered folder that nothing here ever deletes."""
        if not edited:
            return []
        number = 1
        while (home := self.out / "kept" / f"{name}-{number}").exists():
            number += 1
        for file in edited:
            (home / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.out / name / file, home / file)
        return [str(home / file) for file in edited]

    def _finish_swaps(self) -> None:
        """Complete or undo a swap that a killed process left half done."""
        for name in self.formats:
            if not self._old(name).exists():
                continue
            if (self.out / name).exists():
                self._carry_over(name)
            else:
                os.replace(self._old(name), self.out / name)

    def _carry_over(self, name: str) -> None:
        """Move what we did not write from the replaced folder to the new one, then delete the rest."""
        old, target = self._old(name), self.out / name
        if not old.exists():
            return
        written = set(self._written(name))
        for file in _files(old):
            if file not in written:
                (target / file).parent.mkdir(parents=True, exist_ok=True)
                os.replace(old / file, target / file)
        shutil.rmtree(old)

    def _old(self, name: str) -> Path:
        return self.out / f"{HIDDEN}-{name}.old"

    def _written(self, name: str) -> list[str]:
        known = self._known.get(name, {})
        return sorted({*known.get("files", {}), *known.get("next", {})})

    def _versions(self, name: str, file: str) -> list[list[Any]]:
        known = self._known[name]
        return [known[part][file] for part in ("files", "next") if file in known.get(part, {})]

    def _remember(self) -> None:
        write_atomically(self._memory, json.dumps(self._known, sort_keys=True, separators=(",", ":")) + "\n")


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
    found = []
    for where, folders, names in os.walk(folder):
        folders[:] = [one for one in folders if one != HIDDEN]
        links = [one for one in folders if os.path.islink(os.path.join(where, one))]
        found += [Path(where, one).relative_to(folder).as_posix() for one in (*names, *links)]
    return iter(sorted(found))


def _describe(file: Path, *, is_picture: bool) -> list[Any]:
    """Size, time and, for label files, hash; pictures are only copies, reading them again tells nothing."""
    if file.is_symlink():
        return ["link", os.readlink(file), None]
    size, changed = fingerprint(file)
    return [size, changed, None if is_picture or file.suffix.lower() in SUFFIXES - {".png"} else hash_file(file)]


def _clear(build: Path) -> None:
    """Remove what a killed process was building, but nothing behind a link."""
    if build.is_symlink() or build.is_file():
        build.unlink()
    elif build.exists():
        shutil.rmtree(build)


def refuse_links(out: Path, formats: Iterable[str]) -> None:
    """UsageError where a link below the output would make us write, move or delete elsewhere."""
    hidden = out / HIDDEN
    suspects = [hidden, *(hidden.iterdir() if hidden.is_dir() else ()), out / "kept", *(out / name for name in formats)]
    suspects += out.glob(f"{HIDDEN}-*") if out.is_dir() else ()
    for one in suspects:
        if one.is_symlink():
            raise UsageError(
                f"{one} is a link to {os.readlink(one)}; nothing is written outside {out}: remove the link"
            )


def _changed(file: Path, versions: list[list[Any]]) -> bool:
    if file.is_symlink() or not file.exists():
        return False
    size, changed = fingerprint(file)
    if any((size, changed) == tuple(known[:2]) for known in versions):
        return False
    if any(known[2] is None for known in versions):  # a picture
        return all(size != known[0] for known in versions)
    return hash_file(file) not in [known[2] for known in versions]
