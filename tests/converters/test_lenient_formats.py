"""--lenient in every format: what is broken is left out and counted under its code, the rest is read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import converters
from samlabel.errors import FormatError
from samlabel.types import Annotation, Dataset, ImageRecord
from tests.converters.cases import HOLED, LETTERS, SIZE, drawn, rectangle, thing

BOX = Annotation(3, (2, 3, 9, 12))
Break = Callable[[Path], None]


def rewrite(name: str, change: Callable[[Any], None]) -> Break:
    """Changes the value in a JSON file."""

    def apply(folder: Path) -> None:
        value = json.loads((folder / name).read_text(encoding="utf-8"))
        change(value)
        (folder / name).write_text(json.dumps(value), encoding="utf-8")

    return apply


def replace(name: str, old: str, new: str, count: int = 1) -> Break:
    """Puts `new` where a regular expression matches in a text file."""

    def apply(folder: Path) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        assert re.search(old, text, re.DOTALL), (old, text)
        (folder / name).write_text(re.sub(old, new, text, count=count, flags=re.DOTALL), encoding="utf-8")

    return apply


def cut(name: str) -> Break:
    """Half of a file."""

    def apply(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return apply


def parquet(change: Callable[[list[dict[str, Any]]], None]) -> Break:
    def apply(folder: Path) -> None:
        import pyarrow
        import pyarrow.parquet as table

        file = next((folder / "data").glob("*.parquet"))
        content = table.read_table(file)
        rows = content.to_pylist()
        change(rows)
        table.write_table(pyarrow.Table.from_pylist(rows, schema=content.schema), file)

    return apply


def setter(*path: Any, to: Any) -> Callable[[Any], None]:
    """Sets one place of a nested value."""

    def change(value: Any) -> None:
        for key in path[:-1]:
            value = value[key]
        value[path[-1]] = to

    return change


# format: what breaks -> (how, the code it is counted under, what the error names, images and objects that are left)
# The dataset has two images, "a.png" with a mask and a box, "b.png" with a mask.
TABLE: dict[str, dict[str, tuple[Break, str, str, tuple[int, int]]]] = {
    "sa1b": {
        "a mask": (
            rewrite("a.json", setter("annotations", 0, "segmentation", "counts", to="!!")),
            "bad-mask",
            "a.json: annotation \\d+",
            (2, 1),
        ),
        "a box": (
            rewrite("a.json", setter("annotations", 0, "bbox", to=[1, 2, -3, 4])),
            "bad-box",
            "a.json: annotation \\d+",
            (2, 1),
        ),
        "an image": (
            rewrite("a.json", setter("image", "file_name", to="../x.png")),
            "bad-image",
            "a.json.*leaves the dataset",
            (1, 1),
        ),
        "a file": (cut("a.json"), "bad-file", r"a.json:\d+: broken JSON", (1, 1)),
    },
    "voc": {
        "a box": (
            replace("Annotations/a.xml", "<xmin>3</xmin>", "<xmin>nan</xmin>"),
            "bad-box",
            "a.xml: object 2: xmin",
            (2, 2),
        ),
        "an image": (replace("Annotations/a.xml", "<width>32", "<width>-5"), "bad-image", "a.xml.*no size", (1, 1)),
        "a file": (cut("Annotations/a.xml"), "bad-file", r"a.xml:\d+: broken XML", (1, 1)),
    },
    "labelme": {
        "a mask": (rewrite("a.json", setter("shapes", 0, "mask", to="??")), "bad-mask", "a.json: shape 0", (2, 2)),
        "a label": (rewrite("a.json", setter("shapes", 0, "label", to=5)), "bad-category", "shape 0: label", (2, 2)),
        "a box": (rewrite("a.json", setter("shapes", 1, "points", 0, to=[1, "x"])), "bad-box", "shape 1", (2, 2)),
        "an image": (rewrite("a.json", setter("imageHeight", to=-1)), "bad-image", "a.json.*no size", (1, 1)),
        "a file": (cut("a.json"), "bad-file", r"a.json:\d+: broken JSON", (1, 1)),
    },
    "cvat": {
        "a mask": (replace("annotations.xml", 'rle="[^"]*"', 'rle="1, 2"'), "bad-mask", "image 'a.png': mask", (2, 2)),
        "a box": (replace("annotations.xml", 'xtl="[^"]*"', 'xtl="inf"'), "bad-box", "image 'a.png': box", (2, 2)),
        "an image": (
            replace("annotations.xml", 'name="a.png"', 'name="/etc/a.png"'),
            "bad-image",
            "leaves the dataset",
            (1, 1),
        ),
        "two of a name": (
            replace("annotations.xml", 'name="b.png"', 'name="a.png"'),
            "duplicate-id",
            "described twice",
            (1, 2),
        ),
    },
    "labelstudio": {
        "a mask": (
            rewrite("tasks.json", setter(0, "annotations", 0, "result", 0, "value", "rle", to=[1, 2])),
            "bad-mask",
            "task 1: region 0",
            (2, 2),
        ),
        "a label": (
            rewrite("tasks.json", setter(0, "annotations", 0, "result", 0, "value", "brushlabels", to=[7])),
            "bad-category",
            "region 0: label 7",
            (2, 2),
        ),
        "an image": (rewrite("tasks.json", setter(0, "data", to=None)), "bad-image", "task 1: no data", (1, 1)),
        "a task": (rewrite("tasks.json", setter(0, to=5)), "bad-image", "tasks.json", (1, 1)),
    },
    "png": {
        "a number": (
            rewrite("objects.json", setter("pictures", 0, "objects", 0, "number", to=9)),
            "bad-mask",
            "a.png: object 0: number 9",
            (2, 2),
        ),
        "a class": (
            rewrite("objects.json", setter("pictures", 0, "objects", 0, "category_id", to=7)),
            "bad-category",
            "a.png: object 0: category_id 7",
            (2, 2),
        ),
        "a box": (
            rewrite("objects.json", setter("pictures", 0, "objects", 1, "box", to=[1, 2, 3])),
            "bad-box",
            "a.png: object 1",
            (2, 2),
        ),
        "an image": (cut("masks/a.png"), "bad-image", "masks/a.png: not a readable PNG", (1, 1)),
    },
    "parquet": {
        "a class": (parquet(setter(0, "objects", "category_id", 0, to=7)), "bad-category", "row 0: category", (2, 2)),
        "a mask": (parquet(setter(0, "objects", "segmentation", 0, "counts", to="!!")), "bad-mask", "row 0", (2, 2)),
        "an image": (parquet(setter(0, "file_name", to="../a.png")), "bad-image", "row 0.*leaves the dataset", (1, 1)),
    },
    "yolo": {
        "a row": (replace("labels/a.txt", "^[01]", "9"), "bad-row", "a.txt:1: class 9", (2, 2)),
        "an image": (cut("images/a.png"), "bad-image", "a.png: not a readable image", (1, 1)),
        "an image that is gone": (
            lambda folder: (folder / "images/a.png").unlink(),
            "no-image",
            "a.txt: a label without its image",
            (1, 1),
        ),
        "a file": (
            lambda folder: (folder / "labels/a.txt").write_bytes(b"\xff\xfe0 0"),
            "bad-file",
            "a.txt: not UTF-16",
            (1, 1),
        ),
    },
}


@pytest.mark.parametrize(("name", "what"), [(name, what) for name, table in TABLE.items() for what in table])
def test_what_is_broken_is_an_error_or_left_out_and_counted(name: str, what: str, tmp_path: Path) -> None:
    break_it, code, words, left = TABLE[name][what]
    drawn("empty image", tmp_path / "photos")  # draws a.png and b.png
    records = [
        ImageRecord("a.png", SIZE, (thing(HOLED), *(() if name == "sa1b" else (BOX,)))),
        ImageRecord("b.png", SIZE, (thing(rectangle(2, 2, 9, 9)),)),
    ]
    converters.write(Dataset(LETTERS, records, tmp_path / "photos"), tmp_path / "in", name, images="copy")
    break_it(tmp_path / "in")
    with pytest.raises(FormatError, match=words):
        converters.convert(tmp_path / "in", tmp_path / "out.json", to="coco", from_=name)
    assert not (tmp_path / "out.json").exists()
    receipt = converters.convert(tmp_path / "in", tmp_path / "out.json", to="coco", from_=name, lenient=True)
    assert receipt.skipped == {code: 1}
    assert re.search(words, receipt.skipped_examples[code][0])
    assert (receipt.images_out, receipt.objects_out) == left
    assert any(line.startswith(f"skipped 1 {code}") for line in receipt.lines())


def test_every_format_takes_lenient() -> None:
    assert {*TABLE, "coco"} == set(converters.names())
