"""Sound datasets to damage: one of every format as samlabel writes it, small ones as other tools write them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from PIL import Image

import converters
from samlabel.errors import SamlabelError
from samlabel.types import Dataset
from tests.converters.cases import CASES, LETTERS, SIZE, drawn

WIDE, HIGH = SIZE[1], SIZE[0]
POLYGON = [4, 4, 20, 4, 20, 20, 4, 20]

VOC = f"""<annotation><folder>x</folder><filename>a.png</filename><size><width>{WIDE}</width><height>{HIGH}</height>
<depth>3</depth></size><segmented>0</segmented><object><name>cat</name><pose>Left</pose><difficult>1</difficult>
<bndbox><xmin>4</xmin><ymin>4</ymin><xmax>20</xmax><ymax>20</ymax></bndbox><polygon><x1>4</x1><y1>4</y1><x2>20</x2>
<y2>4</y2><x3>20</x3><y3>20</y3></polygon><part><name>head</name><bndbox><xmin>4</xmin><ymin>4</ymin><xmax>9</xmax>
<ymax>9</ymax></bndbox></part></object></annotation>"""
LABELME_XML = f"""<annotation><filename>a.png</filename><folder>x</folder><imagesize><nrows>{HIGH}</nrows>
<ncols>{WIDE}</ncols></imagesize><object><name>cat</name><deleted>0</deleted><occluded>yes</occluded><attributes>b=1
</attributes><id>0</id><polygon><pt><x>4</x><y>4</y></pt><pt><x>20</x><y>4</y></pt><pt><x>20</x><y>20</y></pt></polygon>
</object><object><name>dog</name><deleted>0</deleted><id>1</id><type>bounding_box</type><polygon><pt><x>1</x><y>1</y></pt>
<pt><x>9</x><y>9</y></pt></polygon></object></annotation>"""
CVAT = f"""<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><meta><project><labels><label>
<name>cat</name></label></labels></project></meta><image id="0" name="a.png" subset="train" width="{WIDE}"
height="{HIGH}"><box label="cat" xtl="1" ytl="1" xbr="9" ybr="9" rotation="30" z_order="0"><attribute name="score">0.5
</attribute></box><ellipse label="cat" cx="9" cy="9" rx="4" ry="2"/><polygon label="cat" group_id="1"
points="1,1;9,1;9,9"/><polygon label="cat" group_id="1" points="11,1;19,1;19,9"/><mask label="cat" rle="1, 2, 3"
left="7" top="9" width="3" height="2"/><points label="cat" points="1,1"/><tag label="cat"/></image></annotations>"""
COCO = {
    "info": {"year": 2017},
    "licenses": [{"id": 1}],
    "images": [
        {"id": 7, "file_name": "a.png", "width": WIDE, "height": HIGH, "license": 1},
        {"id": "s", "file_name": "sub/b.png", "width": WIDE, "height": HIGH},
    ],
    "categories": [{"id": 1, "name": "cat", "supercategory": "pet", "keypoints": ["nose"], "skeleton": [[1, 1]]}],
    "annotations": [
        {
            "id": 1,
            "image_id": 7,
            "category_id": 1,
            "segmentation": [POLYGON],
            "area": 256,
            "bbox": [4, 4, 16, 16],
            "iscrowd": 0,
            "keypoints": [5, 5, 2],
            "num_keypoints": 1,
        },
        {
            "id": 2,
            "image_id": "s",
            "category_id": 1,
            "iscrowd": 1,
            "bbox": [0, 0, WIDE, HIGH],
            "segmentation": {"size": [HIGH, WIDE], "counts": [10, 50, WIDE * HIGH - 60]},
            "area": 50,
        },
    ],
}
STUDIO = [
    {
        "id": 1,
        "data": {"image": "/data/upload/1/a.png"},
        "annotations": [
            {
                "id": 5,
                "result": [
                    {
                        "id": "q",
                        "type": "rectanglelabels",
                        "original_width": WIDE,
                        "original_height": HIGH,
                        "image_rotation": 0,
                        "value": {
                            "x": 10,
                            "y": 10,
                            "width": 20,
                            "height": 20,
                            "rotation": 15,
                            "rectanglelabels": ["cat"],
                        },
                    },
                    {
                        "id": "e",
                        "type": "ellipselabels",
                        "original_width": WIDE,
                        "original_height": HIGH,
                        "value": {"x": 50, "y": 50, "radiusX": 10, "radiusY": 20, "ellipselabels": ["cat"]},
                    },
                    {
                        "id": "p",
                        "type": "polygonlabels",
                        "original_width": WIDE,
                        "original_height": HIGH,
                        "value": {"points": [[1, 1], [50, 1], [50, 50]], "polygonlabels": ["dog"]},
                    },
                    {"id": "c", "type": "choices", "value": {"choices": ["good"]}},
                ],
            }
        ],
    },
]
LABELME = {
    "version": "5.0.1",
    "flags": {"done": True},
    "imagePath": "..\\in\\a.png",
    "imageData": None,
    "imageHeight": HIGH,
    "imageWidth": WIDE,
    "shapes": [
        {"label": "cat", "points": [[4, 4], [20, 4], [20, 20]], "group_id": 1, "shape_type": "polygon", "flags": {}},
        {"label": "cat", "points": [[22, 4], [30, 4], [30, 20]], "group_id": 1, "shape_type": "polygon", "flags": {}},
        {"label": "dog", "points": [[4, 4], [9, 9]], "group_id": None, "shape_type": "rectangle", "flags": {}},
        {"label": "dog", "points": [[9, 9], [9, 4]], "group_id": None, "shape_type": "circle", "flags": {}},
        {"label": "edge", "points": [[4, 4], [9, 9]], "group_id": None, "shape_type": "line", "flags": {}},
    ],
}
YOLO = "0 0.5 0.5 0.25 0.25\n1 0.1 0.1 0.9 0.1 0.9 0.9 0.1 0.9\r\n\n"

# name -> (format, files)
OTHERS: dict[str, tuple[str, dict[str, str]]] = {
    "voc of other tools": ("voc", {"Annotations/a.xml": VOC, "labelmap.txt": "cat:0,0,0:head:sit\n"}),
    "older LabelMe": ("labelme", {"Annotations/a.xml": LABELME_XML}),
    "cvat project": ("cvat", {"annotations.xml": CVAT}),
    "coco of other tools": ("coco", {"annotations.json": "\ufeff" + json.dumps(COCO)}),
    "label studio export": ("labelstudio", {"export.json": json.dumps(STUDIO)}),
    "labelme by hand": ("labelme", {"in/a.json": json.dumps(LABELME)}),
    "darknet": ("yolo", {"obj.names": "cat\ndog\n", "obj_train_data/a.txt": YOLO, "obj_train_data/a.png": ""}),
    "yolo list": (
        "yolo",
        {
            "data.yaml": "nc: 2\nnames: {0: cat, 1: dog}\ntrain: list.txt\nval: [images]\n",
            "list.txt": "./images/a.png\n",
            "images/a.png": "",
            "labels/a.txt": YOLO,
        },
    ),
}


def titles(data: Path | None = None) -> list[str]:
    """Every dataset to damage; `data` holds files of other tools, in `fixtures`."""
    real = sorted((data / "fixtures").rglob("*")) if data else ()
    places = [place for place in real if place.is_dir() or place.suffix == ".json"]
    found = [f"real {place.relative_to(data / 'fixtures')}" for place in places if _recognised(place)] if data else []
    return [*(f"own {name}" for name in converters.names()), *OTHERS, *found]


def lay_out(title: str, folder: Path, data: Path | None = None) -> tuple[str, Path]:
    """The format and the place of a dataset of `titles`, laid out below `folder`."""
    kind, _, what = title.partition(" ")
    if kind == "own":
        return what, own(what, folder)
    if kind == "real" and data:
        source = data / "fixtures" / what
        folder.mkdir(parents=True)
        if source.is_file():
            return str(_recognised(source)), Path(shutil.copyfile(source, folder / source.name))
        shutil.copytree(source, folder / source.name, copy_function=shutil.copyfile)
        for place in [folder / source.name, *(folder / source.name).rglob("*")]:
            place.chmod(0o755)
        return str(_recognised(source)), folder / source.name
    name, files = OTHERS[title]
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        if path.endswith(".png"):
            Image.new("RGB", (WIDE, HIGH)).save(folder / path)
        else:
            (folder / path).write_bytes(text.encode("utf-8"))
    return name, folder


def _recognised(place: Path) -> str | None:
    try:
        name = converters.detect_format(place)[0].name
        return name if any(record.annotations for record in converters.read(place).records) else None
    except SamlabelError:
        return None


def own(name: str, folder: Path) -> Path:
    """A small dataset in the format, with what the format can hold."""
    records = []
    for place, case in enumerate(("hole", "scores", "boxes among masks", "empty image", "further fields")):
        drawn(case, folder / "photos" / f"{place}")
        records += [type(r)(f"{place}/{r.path}", r.size, r.annotations, r.id, r.extra) for r in CASES[case][1]]
    dataset = Dataset(LETTERS, records, folder / "photos")
    options = {"pictures": "embed"} if name == "parquet" else {}
    converters.write(dataset, folder / "labels", name, images="copy", **options)
    return folder / "labels"


def label_files(path: Path, name: str) -> list[Path]:
    """The files of a dataset that are labels and not photos."""
    files = [path] if path.is_file() else [f for f in sorted(path.rglob("*")) if f.is_file() and f.stat().st_size]
    labels = {".json", ".jsonl", ".xml", ".txt", ".yaml", ".names", ".parquet"}
    pictures = {"masks", "Masks", "SegmentationObject", "SegmentationClass"}
    return [f for f in files if f.suffix in labels or (f.suffix == ".png" and not pictures.isdisjoint(f.parts))]
