"""Small files that claim far more than they are: one line or the right result, under a gigabyte, within seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import converters
from tests.fuzz import bombs

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no limits on memory there")

GIGABYTE, SECONDS = 10**9, 20
ROOT = Path(__file__).resolve().parents[2]


def ends(*commands: list[str], file_size: int = -1) -> list[dict[str, Any]]:
    """What became of commands in a process of their own, which may not take more than a gigabyte."""
    child = [sys.executable, "-m", "tests.converters.bomb_child", json.dumps(commands), str(file_size)]
    done = subprocess.run(child, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr[-2000:]}"
    found = json.loads(done.stdout)
    assert found["peak"] < GIGABYTE, f"{found['peak']} bytes of memory"
    for end in found["ends"]:
        assert end["code"] in (0, 1, 2, 4), end
        assert end["seconds"] < SECONDS, end
        assert "please report" not in end["said"] and "Traceback" not in end["said"], end
        if end["code"] in (1, 2):
            assert end["said"].splitlines()[-1].startswith("samlabel: error: ") and len(end["said"]) < 3000, end
    return list(found["ends"])


def commands(source: Path, target: Path, name: str | None, to: str) -> list[list[str]]:
    named = ["--from", name] if name else []
    convert = ["convert", *named, str(source), str(target), "--to", to, "--allow-lossy", "--images", "none"]
    return [["check", *named, str(source)], ["stats", *named, str(source)], convert]


@pytest.mark.parametrize("kind", bombs.KINDS)
def test_a_bomb_ends_in_one_line_or_the_right_result(kind: str, tmp_path: Path) -> None:
    place = list(bombs.KINDS).index(kind)
    name = bombs.lay_out(kind, 0, tmp_path / "in")
    assert sum(file.stat().st_size for file in bombs.files_below(tmp_path / "in")) < 10_000_000
    formats = [one for one in converters.names() if one not in ("png", "voc")]  # these have tests of their own
    checked, _, converted = commands(tmp_path / "in", tmp_path / "out", name, formats[place % len(formats)])
    ends(checked, converted)


def write_coco(file: Path, height: int, width: int, *objects: dict[str, Any]) -> Path:
    file.write_text(bombs.coco(list(objects), height, width))
    return file


@pytest.mark.parametrize("to", ["coco", "yolo", "labelme", "sa1b", "cvat"])
def test_a_polygon_far_outside_is_refused_before_it_is_walked(to: str, tmp_path: Path) -> None:
    far = [-10999, -10999, 10999, 10999, -10999, 10999] * 20_000
    source = write_coco(tmp_path / "in.json", 1000, 1000, {"segmentation": [far]})
    checked, counted, converted = ends(*commands(source, tmp_path / "out", None, to))
    assert (checked["code"], counted["code"], converted["code"]) == (4, 1, 1)
    for end in (counted, converted):
        assert "in.json: annotation 1: polygons whose edges cross 40000000 columns" in end["said"]


def test_a_comb_of_thousands_of_teeth_has_the_right_pixels(tmp_path: Path) -> None:
    teeth = [v for n in range(18000) for v in (n, 20000 * (n % 2))]
    source = write_coco(tmp_path / "in.json", 20000, 20000, {"segmentation": [teeth], "bbox": [0, 0, 17999, 20000]})
    _, counted, converted = ends(*commands(source, tmp_path / "out.json", None, "coco"))
    assert counted["out"].split()[-1] == "89995000" and converted["code"] == 0
    (entry,) = json.loads((tmp_path / "out.json").read_text())["annotations"]
    assert entry["segmentation"]["size"] == [20000, 20000]


def test_objects_that_are_too_much_together_are_refused(tmp_path: Path) -> None:
    side = 20000
    zigzag = [v for n in range(200) for v in (side * (n % 2), 100 * n)]
    source = write_coco(tmp_path / "in.json", side, side, *[{"segmentation": [zigzag]}] * 1000)
    checked, counted, converted = ends(*commands(source, tmp_path / "out", None, "yolo"))
    assert (checked["code"], counted["code"], converted["code"]) == (4, 1, 1)
    for end in (counted, converted):
        assert "in.json: image 'a.jpg': 5 objects of 20000000 runs together" in end["said"]


def test_short_runs_through_every_column_count_as_the_columns(tmp_path: Path) -> None:
    side = 46340
    runs = {"size": [side, side], "counts": [5, side * side - 5]}
    source = write_coco(tmp_path / "in.json", side, side, *[{"segmentation": runs}] * 20_000)
    checked, counted, converted = ends(*commands(source, tmp_path / "out", None, "yolo"))
    assert (checked["code"], counted["code"], converted["code"]) == (4, 1, 1)
    assert "in.json: image 'a.jpg':" in counted["said"] and "objects of" in counted["said"]


@pytest.mark.parametrize(("group", "says"), [(0, "objects of"), (7, "a group of")])
def test_masks_that_are_too_much_together_are_refused(group: int, says: str, tmp_path: Path) -> None:
    width, height = 2**20, 2000
    part = width * height // 2
    mask = f'<mask label="a" group_id="{group}" left="0" top="0" width="{width}" height="{height}"'
    masks = f'{mask} rle="0, {part}, {part}"/>' * 500
    image = f'<image id="0" name="a.jpg" width="{width}" height="{height}">{masks}</image>'
    (tmp_path / "annotations.xml").write_text(f"<annotations>{image}</annotations>")
    checked, counted = ends(["check", str(tmp_path)], ["stats", str(tmp_path)])
    assert (checked["code"], counted["code"]) == (4, 1) and says in counted["said"]


@pytest.mark.parametrize("to", ["yolo", "labelme", "cvat", "labelstudio", "sa1b", "coco"])
def test_three_numbers_that_stand_for_two_gigapixels_are_converted(to: str, tmp_path: Path) -> None:
    side = 46340
    runs = {"size": [side, side], "counts": [5, side * side - 5]}
    source = write_coco(tmp_path / "in.json", side, side, {"segmentation": runs, "bbox": [0, 0, side, side]})
    _, counted, converted = ends(*commands(source, tmp_path / "out", None, to))
    assert counted["out"].split()[-1] == str(side * side - 5) and converted["code"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("to", ["png", "voc"])
def test_the_labels_of_a_gigapixel_image_are_written_as_pictures_and_read_back(to: str, tmp_path: Path) -> None:
    height, width = 30000, 40000
    wide = [100.0, 100.0, 39000.0, 100.0, 39000.0, 29000.0, 100.0, 29000.0]
    small = [500.0, 500.0, 1500.0, 500.0, 1500.0, 900.0]
    objects = [{"segmentation": [points], "bbox": [0, 0, 1, 1]} for points in (wide, small)]
    source = write_coco(tmp_path / "in.json", height, width, *objects)
    out = tmp_path / "out"
    convert = ["convert", str(source), str(out), "--to", to, "--allow-lossy", "--images", "none", "--measure", "none"]
    written, read = ends(convert, ["stats", "--from", to, str(out)])
    assert (written["code"], read["code"]) == (0, 0)
    assert read["out"].split()[-3:-1] == ["2", "1"]
    assert sum(file.stat().st_size for file in out.rglob("*.png")) < 10_000_000


def test_as_many_objects_as_16_bits_number_are_read_from_one_picture(tmp_path: Path) -> None:
    side = 1024
    cells = np.arange(1, 65537).reshape(256, 256).clip(max=65535).repeat(4, axis=0).repeat(4, axis=1).astype(">u2")
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.png").write_bytes(bombs.png(side, side, bits=16, rows=lambda y: cells[y].tobytes()))
    checked, counted = ends(["check", "--from", "png", str(tmp_path)], ["stats", "--from", "png", str(tmp_path)])
    assert checked["code"] in (0, 4) and "objects 65535, 65535 with a mask" in counted["out"]


def test_twelve_thousand_equal_objects_are_found_each_once(tmp_path: Path) -> None:
    one = {"segmentation": [[1, 1, 90, 1, 90, 90, 1, 90]], "bbox": [1, 1, 89, 89]}
    source = write_coco(tmp_path / "in.json", 100, 100, *[one] * 12_000)
    (end,) = ends(["check", "--json", str(source)])
    assert json.loads(end["out"])["counts"] == {"duplicate": 11_999}


@pytest.mark.parametrize("to", [name for name in converters.names() if name != "voc"])
def test_sixty_thousand_classes_are_written_and_read(to: str, tmp_path: Path) -> None:
    categories = [{"id": n, "name": f"class number {n}"} for n in range(1, 60_001)]
    images = [{"id": 1, "file_name": "a.png", "height": 9, "width": 9}]
    entries = [
        {
            "id": n,
            "image_id": 1,
            "category_id": n * 59,
            "bbox": [1, 1, 3, 3],
            "iscrowd": 0,
            "segmentation": [[1, 1, 4, 1, 4, 4]],
        }
        for n in range(1, 1001)
    ]
    (tmp_path / "in.json").write_text(json.dumps({"images": images, "annotations": entries, "categories": categories}))
    Image.new("1", (9, 9)).save(tmp_path / "a.png")
    out = tmp_path / "out"
    convert = ["convert", str(tmp_path / "in.json"), str(out), "--to", to, "--allow-lossy", "--measure", "none"]
    written, read = ends(convert, ["stats", "--from", to, str(out)])
    assert (written["code"], read["code"]) == (0, 0)


@pytest.mark.photos
@pytest.mark.parametrize(
    "name",
    [
        "polyfar.json",
        "comb.json",
        "rle46k.json",
        "yaml_path",
        "pq_str",
        "cvat_masks",
        "png_many",
        "yaml_hexint",
        "lm_huge",
        "pq_meta",
    ],
)
def test_the_bombs_of_the_collection_end_as_it_asks(name: str, photos_data: Path, tmp_path: Path) -> None:
    source = photos_data.parent / "cases" / "bombs" / name
    ends(*commands(source, tmp_path / "out", {"png_many": "png", "pq_str": "parquet"}.get(name), "coco"))


@pytest.mark.parametrize("to", [name for name in converters.names() if name != "parquet"])
def test_a_disk_that_is_full_is_named_with_the_bytes_that_are_free(to: str, tmp_path: Path) -> None:
    """A limit on the size of files stands for it: the system refuses both in the middle of a write."""
    rows = [[n % 50, n % 40, 90, n % 30, 90, 90] for n in range(400)]
    source = write_coco(tmp_path / "in.json", 100, 100, *[{"segmentation": [row]} for row in rows])
    out = tmp_path / "out"
    convert = ["convert", str(source), str(out), "--to", to, "--allow-lossy", "--images", "none", "--measure", "none"]
    (end,) = ends(convert, file_size=500)
    assert end["code"] == 1 and f" in {tmp_path}" in end["said"] and " bytes free)" in end["said"], end
