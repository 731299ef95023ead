"""YOLO label files without their images, such as a model's predictions, to be read at the sizes of other images."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from converters.io.folders import files_below, head_of
from samlabel.reach import Reach
from samlabel.types import Annotation, Category, Size

from .decoder import objects_of
from .layout import LABEL_FOLDERS, NAME_FILES, find_labels
from .pose import kpt_shape
from .reader import DATA_FILES, base_of, listed_names, load_data, names_in, recognize, used_names, yaml_of


@dataclass(frozen=True)
class Labels:
    """What `converters.Unsized` asks for."""

    categories: tuple[Category, ...]
    files: dict[str, Path]
    base: Path
    keypoints: tuple[int, int] | None

    def find(self, image: str) -> str | None:
        """Where the image's label would be if the image lay in `base`, or in its `images/`."""
        places = find_labels(self.base, [image, f"images/{image}"]).values()
        return next((name for place in places if (name := place[: -len(".txt")]) in self.files), None)

    def read(self, name: str, size: Size) -> tuple[Annotation, ...]:
        classes = frozenset(category.id for category in self.categories)
        return objects_of(self.files[name], size, classes, self.keypoints)


def read_unsized(path: Path, *, reach: Reach) -> Labels | None:
    """The label files of a dataset or of a bare folder, with the classes that `read` gives; None where there are none.

    Of a bare folder, data.yaml or the names file may lie one or two folders above. Raises FormatError and LeadsOutside.
    """
    described = _described(path)
    base = path if path.is_dir() else path.parent
    names, keypoints = None, None
    if described is not None:
        content = load_data(reach.check(described))
        base = base_of(content, described, reach)
        names, keypoints = names_in(content, described), kpt_shape(content, described)
    elif not path.is_dir():
        return None
    files = {file.relative_to(base).as_posix()[: -len(".txt")]: file for file in _texts(base, reach)}
    if not files or (recognize(path) is None and not any(map(_begins_with_numbers, files.values()))):
        return None
    if names is None:
        names = listed_names((base, *(base / name for name in LABEL_FOLDERS)), reach)
    if names is None:
        names, keypoints = _from_above(base, reach)
    if names is None:
        names = used_names(base, [f"{name}.txt" for name in files], None, reach)
    return Labels(tuple(Category(index, name) for index, name in sorted(names.items())), files, base, keypoints)


def _described(path: Path) -> Path | None:
    """The data.yaml at `path`; any other YAML file must say that it is one."""
    file = yaml_of(path)
    return file if file is None or file.name in DATA_FILES or recognize(path) is not None else None


def _from_above(base: Path, reach: Reach) -> tuple[dict[int, str] | None, tuple[int, int] | None]:
    """Class names and `kpt_shape` from the two folders above."""
    for folder in Path(os.path.abspath(base)).parents[:2]:
        within = reach.plus(folder)
        for name in DATA_FILES:
            if (folder / name).is_file():
                content = load_data(within.check(folder / name))
                return names_in(content, folder / name), kpt_shape(content, folder / name)
        listed = listed_names([folder], within)
        if listed is not None:
            return listed, None
    return None, None


def _texts(base: Path, reach: Reach) -> list[Path]:
    """The label files below `base`: those in folders for labels, or where there are none, all."""
    homes = sorted(base / name for name in os.listdir(base) if name in LABEL_FOLDERS and (base / name).is_dir())
    found = [file for home in homes or [base] for file in files_below(reach.check(home), ".txt")]
    found = [reach.check(file) for file in found if file.name not in NAME_FILES]
    within = [file for file in found if not set(LABEL_FOLDERS).isdisjoint(file.relative_to(base).parts[:-1])]
    return within or found


def _begins_with_numbers(file: Path) -> bool:
    """Whether the first line is a row of numbers, or the file is empty."""
    words = head_of(file, 4096).decode("utf-8", "replace").split("\n", 1)[0].split()
    try:
        _ = [float(word) for word in words]  # NaN, which is for the reader to refuse, passes
    except ValueError:
        return False
    return True
