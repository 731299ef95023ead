"""Datasets that hypothesis makes up: the words of a format, in places and with values of its own choosing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from hypothesis import strategies as st
from PIL import Image

Files = dict[str, bytes]

NUMBERS = st.one_of(
    st.integers(-3, 40), st.integers(), st.floats(-50, 50), st.floats(allow_nan=False), st.sampled_from((0.5, 24, 32))
)
TEXTS = st.one_of(
    st.sampled_from(
        ("a.png", "b/a.png", "../a.png", "C:\\a.png", "cat", "1", "nan", "", "polygon", "mask", "0 1", "PPYo0")
    ),
    st.text(max_size=8),
)
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=8,
)
POINTS = st.lists(st.lists(NUMBERS, min_size=2, max_size=2), max_size=6)
FLAT = st.lists(NUMBERS, max_size=10)
SIDES = st.one_of(st.just(24), st.just(32), st.just(24), st.just(32), VALUES)


def table(likely: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Any of these keys, mostly with such values, sometimes with others, and a few keys more."""
    usual = st.fixed_dictionaries(
        {}, optional={key: st.one_of(value, value, value, VALUES) for key, value in likely.items()}
    )
    full = st.fixed_dictionaries({key: st.one_of(value, value, value, value, VALUES) for key, value in likely.items()})
    return st.one_of(full, full, full, usual, st.dictionaries(TEXTS, VALUES, max_size=2))


def some(one: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.one_of(one, one, one, one, one, VALUES), max_size=3)


RLE = table(
    {
        "size": st.one_of(st.just([24, 32]), st.lists(NUMBERS, max_size=3)),
        "counts": st.one_of(TEXTS, st.text("0123456789:;<=>?@ABCPQRXYZ`abcdo", max_size=12), FLAT, st.just([700, 68])),
    }
)
SEGMENTATION = st.one_of(RLE, st.lists(FLAT, max_size=3), st.just([[1, 1, 9, 1, 9, 9]]))
IDS = st.one_of(st.integers(0, 3), TEXTS)
BOXES = st.lists(NUMBERS, min_size=4, max_size=4)
CATEGORIES = some(table({"id": st.integers(0, 3), "name": TEXTS, "supercategory": TEXTS}))
OBJECT = {
    "id": IDS,
    "image_id": IDS,
    "category_id": st.integers(0, 3),
    "segmentation": SEGMENTATION,
    "bbox": BOXES,
    "iscrowd": st.integers(0, 1),
    "score": NUMBERS,
    "point_coords": POINTS,
    "crop_box": BOXES,
    "area": NUMBERS,
}
COCO = table(
    {
        "images": some(table({"id": IDS, "file_name": TEXTS, "width": SIDES, "height": SIDES})),
        "annotations": some(table(OBJECT)),
        "categories": CATEGORIES,
    }
)
SA1B = table(
    {
        "image": table({"image_id": IDS, "file_name": TEXTS, "width": SIDES, "height": SIDES}),
        "annotations": some(table(OBJECT)),
    }
)
LABELME = table(
    {
        "imagePath": TEXTS,
        "imageHeight": SIDES,
        "imageWidth": SIDES,
        "flags": VALUES,
        "shapes": some(
            table(
                {
                    "label": TEXTS,
                    "points": POINTS,
                    "group_id": LEAVES,
                    "flags": VALUES,
                    "mask": TEXTS,
                    "shape_type": st.sampled_from(("polygon", "rectangle", "circle", "mask", "line", "point")),
                }
            )
        ),
    }
)
REGION = table(
    {
        "id": TEXTS,
        "type": st.sampled_from(("polygonlabels", "brushlabels", "rectanglelabels", "ellipselabels")),
        "original_width": SIDES,
        "original_height": SIDES,
        "image_rotation": st.sampled_from((0, 0, 90)),
        "value": table(
            {
                "points": POINTS,
                "x": NUMBERS,
                "y": NUMBERS,
                "width": NUMBERS,
                "height": NUMBERS,
                "rotation": NUMBERS,
                "radiusX": NUMBERS,
                "rle": st.lists(st.integers(0, 255), max_size=20),
                "polygonlabels": st.lists(TEXTS, max_size=2),
                "labels": st.lists(TEXTS, max_size=2),
            }
        ),
    }
)
STUDIO = some(
    table(
        {
            "id": IDS,
            "data": table({"image": TEXTS, "width": SIDES, "height": SIDES}),
            "annotations": some(table({"result": some(REGION)})),
            "predictions": VALUES,
        }
    )
)
TABLE = table(
    {
        "categories": CATEGORIES,
        "pictures": some(
            table(
                {
                    "file_name": TEXTS,
                    "mask": TEXTS,
                    "height": SIDES,
                    "width": SIDES,
                    "id": IDS,
                    "objects": some(
                        table(
                            {
                                "number": NUMBERS,
                                "category_id": st.integers(0, 3),
                                "box": BOXES,
                                "segmentation": SEGMENTATION,
                            }
                        )
                    ),
                }
            )
        ),
    }
)


def _json(name: str, strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Files]:
    return strategy.map(lambda value: {name: json.dumps(value).encode("utf-8", "surrogatepass")})


def _element(value: Any) -> str:
    """XML of (tag, attributes, children or text)."""
    tag, attributes, inner = value
    words = "".join(f" {key}={quoteattr(str(text))}" for key, text in attributes.items())
    body = "".join(map(_element, inner)) if isinstance(inner, list) else escape(str(inner))
    return f"<{tag}{words}>{body}</{tag}>"


def _xml(name: str, root: str, tags: tuple[str, ...], keys: tuple[str, ...]) -> st.SearchStrategy[Files]:
    attributes = st.dictionaries(st.sampled_from(keys), st.one_of(NUMBERS, TEXTS), max_size=8) if keys else st.just({})
    texts = st.one_of(st.integers(-3, 40), NUMBERS, TEXTS)
    leaf = st.tuples(st.sampled_from(tags), attributes, texts)
    tree = st.recursive(
        leaf, lambda inner: st.tuples(st.sampled_from(tags), attributes, st.lists(inner, max_size=6)), max_leaves=16
    )
    whole = st.tuples(st.just(root), st.just({}), st.lists(tree, max_size=6))
    return whole.map(lambda value: {name: _element(value).encode("utf-8", "surrogatepass")})


ROW = st.lists(st.one_of(st.integers(0, 3), st.floats(0, 1), NUMBERS, TEXTS), max_size=9)
ROWS = st.lists(ROW.map(lambda row: " ".join(map(str, row))), max_size=4).map("\n".join)
YOLO = st.tuples(
    ROWS,
    table(
        {
            "names": st.one_of(st.lists(TEXTS, max_size=3), st.dictionaries(NUMBERS, TEXTS, max_size=3)),
            "nc": NUMBERS,
            "train": TEXTS,
            "val": st.sampled_from(("images", "../images", "list.txt")),
            "path": TEXTS,
        }
    ),
    TEXTS,
)


def _yolo(value: tuple[str, dict[str, Any], str]) -> Files:
    rows, content, listed = value
    texts = {"labels/a.txt": rows, "data.yaml": json.dumps(content), "list.txt": f"images/a.png\n{listed}\n"}
    return {"images/a.png": b"", **{name: text.encode("utf-8", "surrogatepass") for name, text in texts.items()}}


PARQUET = some(
    table(
        {
            "image": table({"path": TEXTS, "bytes": st.binary(max_size=6)}),
            "image_id": st.integers(0, 9),
            "width": SIDES,
            "height": SIDES,
            "file_name": TEXTS,
            "extra": TEXTS,
            "objects": table(
                {
                    "bbox": st.lists(BOXES, max_size=2),
                    "category": st.lists(NUMBERS, max_size=2),
                    "segmentation": st.lists(RLE, max_size=2),
                    "id": st.lists(NUMBERS, max_size=2),
                }
            ),
        }
    )
)


def _parquet(rows: list[Any]) -> Files:
    import io

    import pyarrow
    import pyarrow.parquet as parquet

    out = io.BytesIO()
    try:
        parquet.write_table(pyarrow.Table.from_pylist([row for row in rows if isinstance(row, dict)]), out)
    except Exception:  # rows whose values are of no common type
        return {"a.parquet": b"PAR1" + repr(rows).encode("utf-8", "surrogatepass") + b"PAR1"}
    return {"a.parquet": out.getvalue()}


BOX_TAGS = (
    "xmin",
    "ymin",
    "xmax",
    "ymax",
    "bndbox",
    "name",
    "object",
    "object",
    "size",
    "width",
    "height",
    "filename",
    "polygon",
    "x1",
    "y1",
    "x2",
    "y2",
    "x3",
    "y3",
    "part",
    "difficult",
)
OLD_TAGS = (
    "object",
    "object",
    "name",
    "deleted",
    "polygon",
    "pt",
    "x",
    "y",
    "segm",
    "mask",
    "filename",
    "imagesize",
    "nrows",
    "ncols",
    "type",
    "id",
)
CVAT_KEYS = (
    "name",
    "width",
    "height",
    "label",
    "points",
    "xtl",
    "ytl",
    "xbr",
    "ybr",
    "rotation",
    "rle",
    "left",
    "top",
    "cx",
    "cy",
    "rx",
    "ry",
    "group_id",
    "id",
    "subset",
    "occluded",
)
CVAT_TAGS = ("image", "image", "box", "polygon", "ellipse", "mask", "meta", "label", "attribute", "track")

# name -> (format, files)
DATASETS: dict[str, tuple[str, st.SearchStrategy[Files]]] = {
    "coco": ("coco", _json("annotations.json", COCO)),
    "sa1b": ("sa1b", _json("a.json", SA1B)),
    "labelme": ("labelme", _json("a.json", LABELME)),
    "older labelme": ("labelme", _xml("a.xml", "annotation", OLD_TAGS, ())),
    "labelstudio": ("labelstudio", _json("tasks.json", STUDIO)),
    "png": ("png", _json("objects.json", TABLE)),
    "voc": ("voc", _xml("Annotations/a.xml", "annotation", BOX_TAGS, ())),
    "cvat": ("cvat", _xml("annotations.xml", "annotations", CVAT_TAGS, CVAT_KEYS)),
    "yolo": ("yolo", YOLO.map(_yolo)),
    "parquet": ("parquet", PARQUET.map(_parquet)),
}


def run(name: str, count: int, seed: int, use: Callable[[Files], None]) -> None:
    """`use` on `count` datasets of one kind, the same for the same seed."""
    import hypothesis

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(DATASETS[name][1])
    def once(files: Files) -> None:
        use(files)

    once()


def lay_out(files: Files, folder: Path) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".png") and not data:
            if not (folder / name).exists():
                Image.new("RGB", (32, 24)).save(folder / name)
        else:
            (folder / name).write_bytes(data)
