"""Where a YOLO dataset keeps the label of an image, and labels that nothing would read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from math import isfinite
from pathlib import Path, PurePosixPath

from converters.io.files import IMAGE_SUFFIXES
from converters.io.folders import head_of
from converters.lenient import Lenient, broken
from samlabel.errors import FormatError

NAME_FILES = ("classes.txt", "obj.names", "_darknet.labels", "names.txt")
LABEL_FOLDERS = ("labels", "Labels", "annotations", "Annotations")  # the first is ultralytics'


def label_path(image: str) -> str:
    """Where ultralytics looks for an image's label: the last folder `images` becomes `labels`, else beside it."""
    folder, _, name = image.rpartition("/")
    stem, _, suffix = name.rpartition(".")
    return f"{_label_folder(folder)}{stem if stem and suffix else name}.txt"


@lru_cache(maxsize=64)
def _label_folder(folder: str) -> str:
    parts = list(PurePosixPath(folder).parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return "".join(f"{part}/" for part in parts)


def find_labels(base: Path, images: Iterable[str]) -> dict[str, str]:
    """Image -> its label, both from `base`: where ultralytics looks, else as other tools lay a dataset out.

    They write `Images` beside `Annotations`, in either case of the letters. A label that is nowhere gets the place
    where ultralytics looks.
    """
    folders: dict[str, list[str]] = {}
    found = {}
    for image in images:
        usual = label_path(image)
        home, _, name = usual.rpartition("/")
        parent = str(PurePosixPath(image).parent)
        if parent not in folders:
            folders[parent] = [place for place in _places(parent, home) if (base / place).is_dir()]
        there = folders[parent]
        if len(there) > 1:  # otherwise there is nothing to choose, which saves a look for each image
            there = [place for place in there if (base / place / name).is_file()]
        found[image] = str(PurePosixPath(there[0]) / name) if there else usual
    return found


def _places(parent: str, home: str) -> list[str]:
    """Folders that may hold the labels of the images in `parent`, the likeliest first."""
    places = [home or "."]
    parts = PurePosixPath(parent).parts
    for place in range(len(parts) - 1, -1, -1):
        if parts[place].lower() == "images":
            places += ["/".join((*parts[:place], folder, *parts[place + 1 :])) for folder in LABEL_FOLDERS]
            break
    return list(dict.fromkeys([*places, parent]))


def refuse_lost(base: Path, labels: Mapping[str, str], *, bare: bool, lenient: Lenient | None) -> None:
    """FormatError where labels would be lost in silence: one without its image, or one that lies elsewhere.

    With `lenient` they are counted there; no label at all is an error always.
    In a `bare` folder, without a data.yaml that chooses splits, every folder of labels counts. A label whose image is
    there, and left out by a list file, is left out too.
    """
    wanted = set(labels.values())
    folders = {str(PurePosixPath(label).parent) for label in wanted}
    missing = {PurePosixPath(label).stem: label for label in wanted if not (base / label).is_file()}
    for name in _texts_below(base) if missing or bare else _texts_in(base, folders):
        place = PurePosixPath(name)
        if name in wanted or place.name in NAME_FILES:
            continue
        orphan = str(place.parent) in folders or (bare and not set(LABEL_FOLDERS).isdisjoint(place.parts[:-1]))
        astray = place.stem in missing
        if (orphan or astray) and not _has_image(base, name) and looks_like_rows(base / name):
            error = _lost(base / name, place, missing)
            if lenient is None:
                raise error
            lenient.note("no-image", error)
    if labels and not any((base / label).is_file() for label in wanted):
        image, label = next(iter(labels.items()))
        raise FormatError(
            f"{base}: {len(labels)} images and no label file, such as {label} for {image}; if none of them shows an "
            "object, one empty label file says so"
        )


def _lost(file: Path, place: PurePosixPath, missing: Mapping[str, str]) -> FormatError:
    if "labelTxt" in place.parts:
        return broken("no-image", f"{file}: oriented boxes of DOTA (labelTxt), which samlabel does not read")
    if place.stem in missing:
        label = missing[place.stem]
        return broken("no-image", f"{file}: may be the label that is looked for at {label}; move it there, or away")
    return broken("no-image", f"{file}: a label without its image; put the image in place or move the label away")


def _texts_below(base: Path) -> Iterator[str]:
    for where, folders, files in os.walk(base):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        prefix = Path(os.path.relpath(where, base)).as_posix()
        yield from (str(PurePosixPath(prefix) / name) for name in sorted(files) if name.endswith(".txt"))


def _texts_in(base: Path, folders: Iterable[str]) -> Iterator[str]:
    for folder in sorted(folders):
        for file in sorted((base / folder).glob("*.txt")) if (base / folder).is_dir() else ():
            yield file.relative_to(base).as_posix()


def _has_image(base: Path, label: str) -> bool:
    """Whether an image lies where this label's is looked for, one that the dataset does not list."""
    place = PurePosixPath(label)
    parts = list(place.parts)
    for at in range(len(parts) - 2, -1, -1):
        if parts[at] in LABEL_FOLDERS:
            homes = ["/".join((*parts[:at], folder, *parts[at + 1 : -1])) for folder in ("images", "Images")]
            break
    else:
        homes = [str(place.parent)]
    return any((base / home / f"{place.stem}{suffix}").is_file() for home in homes for suffix in IMAGE_SUFFIXES)


def looks_like_rows(file: Path) -> bool:
    """Whether the first line begins with a class and four numbers."""
    words = head_of(file, 4096).decode("utf-8", "replace").split("\n", 1)[0].split()
    try:
        return len(words) >= 5 and all(isfinite(float(word)) for word in words[:5])
    except ValueError:
        return False
