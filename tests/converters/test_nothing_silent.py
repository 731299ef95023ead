"""What a reader makes no object of is counted: every reader, one of everything that its tools draw."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

import converters
from samlabel.errors import FormatError, LossyConversion

W, H = 100, 80


def cvat(folder: Path) -> Path:
    points = "".join(f'<points label="{name}" {more}/>' for name, more in JOINTS)
    shapes = [
        f'<skeleton label="a">{points}</skeleton>',
        '<skeleton label="a"><points label="nose" outside="1" points="1,1"/></skeleton>',
        '<cuboid label="a" xtl1="1" ytl1="1"/>',
        '<polyline label="a" points="1,1;50,50"/>',
        '<points label="a" points="1,1"/>',
        '<tag label="a"/>',
        '<ellipse label="a" cx="50" cy="40" rx="10" ry="5" z_order="2"/>',
        '<box label="a" xtl="10" ytl="10" xbr="30" ybr="20"/>',
        '<box label="a" xtl="10" ytl="10" xbr="30" ybr="20" rotation="30"/>',
        '<polygon label="a" points="1,1;20,1;20,20"/>',
        '<mask label="a" left="2" top="2" width="2" height="1" rle="0,2"/>',
    ]
    text = f'<annotations><image id="0" name="a.jpg" width="{W}" height="{H}">{"".join(shapes)}</image></annotations>'
    (folder / "annotations.xml").write_text(text, encoding="utf-8")
    return folder


JOINTS = [("nose", 'outside="0" points="20,20"'), ("eye", 'occluded="1" points="30,22"')]


def png_url() -> str:
    image = Image.new("RGBA", (W, H))
    ImageDraw.Draw(image).rectangle((20, 10, 39, 19), fill=(255, 255, 255, 255))
    out = io.BytesIO()
    image.save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def region(kind: str, **value: Any) -> dict[str, Any]:
    return {"type": kind, "original_width": W, "original_height": H, "value": {**value, kind: ["a"]}}


VERTICES = [{"x": 10, "y": 10}, {"x": 30, "y": 10}, {"x": 30, "y": 30}]
CORNERS = [[20, 10], [60, 20], [55, 40], [15, 30]]


def labelstudio(folder: Path) -> Path:
    regions = [
        region("bitmasklabels", format="png", imageDataURL=png_url()),
        region("vectorlabels", vertices=VERTICES, closed=True),
        region("vectorlabels", vertices=VERTICES, closed=False),
        region("keypointlabels", x=10, y=10, width=0.5),
        region("choices"),
        region("rectanglelabels", x=10, y=90, width=50, height=-60, rotation=0),
        region("rectanglelabels", x=20, y=20, width=20, height=20, rotation=30),
        region("ellipselabels", x=50, y=50, radiusX=10, radiusY=5),
        region("polygonlabels", points=[[10, 10], [30, 10], [30, 30]]),
    ]
    task = {"id": 1, "data": {"image": "a.jpg"}, "annotations": [{"id": 1, "result": regions}]}
    (folder / "tasks.json").write_text(json.dumps([task]), encoding="utf-8")
    return folder


def labelme(folder: Path) -> Path:
    kinds = {
        "polygon": CORNERS,
        "rotation": CORNERS,
        "quadrilateral": CORNERS,
        "oriented_rectangle": CORNERS,
        "rectangle": CORNERS[::2],
        "circle": CORNERS[:2],
        "point": CORNERS[:1],
        "line": CORNERS[:2],
        "linestrip": CORNERS,
        "points": CORNERS,
    }
    shapes = [{"label": "a", "points": points, "shape_type": kind} for kind, points in kinds.items()]
    content = {"shapes": shapes, "imagePath": "a.jpg", "imageHeight": H, "imageWidth": W}
    (folder / "a.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def voc(folder: Path) -> Path:
    turned = "<robndbox><cx>50</cx><cy>40</cy><w>20</w><h>10</h><angle>0.5</angle></robndbox>"
    plain = "<bndbox><xmin>11</xmin><ymin>11</ymin><xmax>30</xmax><ymax>20</ymax></bndbox>"
    objects = "".join(f"<object><name>a</name>{shape}</object>" for shape in (turned, plain))
    size = f"<size><width>{W}</width><height>{H}</height></size>"
    text = f'<annotation verified="yes"><filename>a.jpg</filename>{size}{objects}</annotation>'
    (folder / "a.xml").write_text(text, encoding="utf-8")
    return folder


# tool -> what draws one of everything, the objects that come of it, the shapes that become none
TOOLS: dict[str, tuple[Callable[[Path], Path], int, int]] = {
    "cvat": (cvat, 6, 5),
    "labelstudio": (labelstudio, 6, 3),
    "labelme": (labelme, 6, 4),
    "voc": (voc, 2, 0),
}


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("to", ["coco", "yolo", "sa1b", "png", "parquet"])
def test_every_shape_becomes_an_object_or_is_counted(tool: str, to: str, tmp_path: Path) -> None:
    draw, objects, lost = TOOLS[tool]
    receipt = converters.convert(draw(tmp_path), tmp_path / "out", to=to, images="none", dry_run=True)
    assert (receipt.source_format, receipt.objects_in, receipt.losses.get("shape-lost", 0)) == (tool, objects, lost)


@pytest.mark.parametrize("tool", [tool for tool, (_, _, lost) in TOOLS.items() if lost])
def test_shapes_that_become_no_object_are_refused_and_nothing_is_written(tool: str, tmp_path: Path) -> None:
    source = TOOLS[tool][0](tmp_path)
    with pytest.raises(LossyConversion, match=f"{TOOLS[tool][2]} shape-lost"):
        converters.convert(source, tmp_path / "out.json", to="coco", images="none")
    assert not (tmp_path / "out.json").exists()
    receipt = converters.convert(source, tmp_path / "out.json", to="coco", images="none", allow_lossy=True)
    assert receipt.losses == {"shape-lost": TOOLS[tool][2]}


@pytest.mark.parametrize("tool", ["labelstudio", "labelme"])
def test_a_tool_gets_its_own_shapes_back(tool: str, tmp_path: Path) -> None:
    receipt = converters.convert(TOOLS[tool][0](tmp_path), tmp_path / "out", to=tool, images="none", dry_run=True)
    assert "shape-lost" not in receipt.losses


def test_a_skeleton_becomes_coco_keypoints(tmp_path: Path) -> None:
    converters.convert(cvat(tmp_path), tmp_path / "out.json", to="coco", images="none", allow_lossy=True)
    written = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    (person,) = [one for one in written["annotations"] if "keypoints" in one]
    assert (person["keypoints"], person["num_keypoints"], person["bbox"]) == (
        [20, 20, 2, 30, 22, 1],
        2,
        [20, 20, 10, 2],
    )
    assert written["categories"][0]["keypoints"] == ["nose", "eye"]


def test_areas_of_turned_boxes_and_bitmasks_are_those_of_their_tools(tmp_path: Path) -> None:
    (record,) = converters.read(labelme(tmp_path)).records
    assert [one.mask.area for one in record.annotations[:4]] == [850] * 4
    (tmp_path / "a.json").unlink()
    (record,) = converters.read(labelstudio(tmp_path)).records
    assert (record.annotations[0].mask.area, record.annotations[2].box) == (200, (10, 24, 60, 72))


def annotators(*entries: tuple[str, int, bool]) -> dict[str, Any]:
    found = []
    for time, count, truth in entries:
        box = region("rectanglelabels", x=1, y=1, width=5, height=5)
        found.append({"created_at": time, "result": [box] * count, "ground_truth": truth})
    return {"id": 1, "data": {"image": "a.jpg"}, "annotations": found}


@pytest.mark.parametrize(
    ("entries", "taken", "lost"),
    [
        ([("2026-01-01", 1, False), ("2026-01-02", 2, False)], 2, 1),
        ([("2026-01-01", 1, True), ("2026-01-02", 2, False)], 1, 2),
        ([("2026-01-01", 1, False)], 1, 0),
    ],
    ids=["the newest", "ground truth", "one alone"],
)
def test_one_annotator_is_taken_and_the_others_counted(
    entries: list[tuple[str, int, bool]], taken: int, lost: int, tmp_path: Path
) -> None:
    (tmp_path / "tasks.json").write_text(json.dumps([annotators(*entries)]), encoding="utf-8")
    receipt = converters.convert(tmp_path, tmp_path / "out.json", to="coco", images="none", dry_run=True)
    assert (receipt.objects_in, receipt.losses.get("annotator-lost", 0)) == (taken, lost)


def test_a_skipped_task_is_an_image_without_objects(tmp_path: Path) -> None:
    task = {"id": 1, "data": {"image": "a.jpg", "width": W, "height": H}, "predictions": [12]}
    task["annotations"] = [{"was_cancelled": True, "result": []}]
    (tmp_path / "tasks.json").write_text(json.dumps([task]), encoding="utf-8")
    (record,) = converters.read(tmp_path).records
    assert record.annotations == ()


NAMED = {
    "CVAT for video": ("annotations.xml", '<annotations><track id="0" label="a"/></annotations>'),
    "JSON-MIN": ("m.json", '[{"image": "a.jpg", "label": [{"original_width": 9}], "annotator": 1}]'),
    "archive of masks": ("labelmap.txt", "a:1,2,3::\n"),
}


@pytest.mark.parametrize("name", NAMED)
def test_what_is_not_read_is_called_by_its_name(name: str, tmp_path: Path) -> None:
    file, text = NAMED[name]
    (tmp_path / "SegmentationObject").mkdir()
    (tmp_path / file).write_text(text, encoding="utf-8")
    with pytest.raises(FormatError, match=name):
        converters.read(tmp_path)
