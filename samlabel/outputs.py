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

from .errors import ImageChanged, OutputExists, UsageError
from .file_state import State, hash_file, is_same, state_of
from .images import SUFFIXES
from .ledger import write_atomically

HIDDEN = ".samlabel"
_LABELS = frozenset([".json", ".jsonl", ".txt", ".yaml", ".yml", ".xml", ".csv", ".parquet"])
# Looks at an image and its copy in a label folder; gives the SHA-256 of the copy where it is known without reading.
Confirm = Callable[[Path, Path], "str | None"]


class Outputs:
    """The formats below one output folder, and what we know of each file that we wrote there."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.hidden = out / HIDDEN
        self._memory = self.hidden / "outputs.json"
        self._known: dict[str, dict[str, Any]] = {}
        self._is_new = False  # something is known that the file does not say yet
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
        write: Callable[[Path], dict[str, int]],
        *,
        overwrite: bool,
        copies: Confirm | None = None,
        origin: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """Swap in a new `OUT/name` that `write` makes in the folder it is given and tells the losses of.

        With `copies` the symbolic links that `write` made become copies of the images they lead to, each confirmed by
        it; a copy that is there already is taken over, not read again. `origin` is remembered for `origin()`. Gives the
        places where edited files were kept. Raises OutputExists, with nothing changed, when an edited file is in the
        way and not `overwrite`, or a file of a person's has a name that we need, and what `write` and `copies` raise.
        """
        edited = self.edited(name)
        if edited and not overwrite:
            raise OutputExists(edited_message(self.out / name, edited))
        build, target = self.out / f"{HIDDEN}-{name}.new", self.out / name  # as deep, so that relative links hold
        _clear(build)
        build.mkdir()
        try:
            losses = write(build)
            pictures = self._copy_pictures(name, build, copies) if copies is not None else {}
        except ImageChanged:
            _clear(build)
            raise
        hashes = {file: sha256 for file, (_, sha256, _) in pictures.items()}
        made = {file: _describe(build / file, hashes.get(file)) for file in _files(build)}
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
        for file, (_, _, taken_over) in pictures.items():
            if taken_over:  # the old folder's name of it is gone, which counts as a change of the file
                made[file] = _restated(target / file, made[file])
        originals = {file: list(state) for file, (state, _, _) in pictures.items()}
        self._known[name] = {"digest": digest, "files": made, "losses": losses, "pictures": originals, "origin": origin}
        self._remember()
        return kept

    def _copy_pictures(self, name: str, build: Path, confirm: Confirm) -> dict[str, tuple[State, str | None, bool]]:
        """Turn links into copies; gives by file the state of the original, by which it is known the next time, the
        hash where it is known, and whether the copy of the folder before was taken over.
        """
        known = self._known.get(name, {}).get("pictures", {})
        pictures: dict[str, tuple[State, str | None, bool]] = {}
        for file in _files(build):
            link, old = build / file, self.out / name / file
            if not link.is_symlink():
                continue
            source = Path(os.readlink(link))
            link.unlink()
            try:
                state = state_of(source)
                taken_over = is_same(known.get(file, ()), state) and self._is_ours(name, file) and _linked(old, link)
                if not taken_over:
                    shutil.copyfile(source, link)
                    shutil.copymode(source, link)
            except FileNotFoundError:
                state, taken_over = (), False
            pictures[file] = (state, confirm(source, link), taken_over)
        return pictures

    def _is_ours(self, name: str, file: str) -> bool:
        """Whether a file is as we wrote it, told without reading it."""
        old = self.out / name / file
        if old.is_symlink() or not old.is_file():
            return False
        now = state_of(old)
        return any(is_same(version[:-1], now) for version in self._versions(name, file))

    def _changed(self, name: str, file: str) -> bool:
        """Whether somebody changed a file that we wrote; a new state of the same bytes is noted."""
        path, versions = self.out / name / file, self._versions(name, file)
        if path.is_symlink() or not path.exists():
            return False
        now = state_of(path)
        if any(is_same(version[:-1], now) or _is_linked(path, version) for version in versions):
            return False
        if any(version[-1] is None for version in versions):  # an image that an earlier version did not hash
            return all(now[0] != version[0] for version in versions)
        sha256 = hash_file(path)
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
        self._is_new = False
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


def _describe(file: Path, sha256: str | None) -> list[Any]:
    """State and hash of a file that we wrote, read for it unless the hash is known."""
    if file.is_symlink():
        return ["link", os.readlink(file), None]
    found = file.stat()
    if sha256 is None and found.st_nlink > 1 and file.suffix.lower() in SUFFIXES:
        return ["hardlink", found.st_ino, hash_file(file)]
    return [*state_of(file), sha256 or hash_file(file)]


def _is_linked(file: Path, version: list[Any]) -> bool:
    """Whether a file is the image that we linked to: a change of it is one of that image, and no edit of the output."""
    found = file.stat()
    return version[:2] == ["hardlink", found.st_ino] and found.st_nlink > 1


def _restated(file: Path, made: list[Any]) -> list[Any]:
    """The same description with the change time of now, where nothing else differs."""
    *state, sha256 = made
    now = state_of(file)
    return [*now, sha256] if len(now) == 4 and [*now[:2], now[3]] == [*state[:2], state[3]] else made


def _linked(old: Path, new: Path) -> bool:
    """Whether `new` could be made another name of `old`, whose folder is deleted soon."""
    try:
        os.link(old, new)
    except OSError:  # a file system without hard links
        return False
    return True


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
