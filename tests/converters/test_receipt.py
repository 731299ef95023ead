"""The receipt: what the usual reader of a format gets back, and what permits a conversion that loses something."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import converters
from converters import Capabilities, Format, FormatOptions, ReadOptions, WriteReport
from converters.round_trip import Measure
from samlabel.cli import main
from samlabel.datasets.records import Records
from samlabel.errors import LossyConversion, UsageError
from samlabel.geometry import PolygonMask, polygon_masks
from samlabel.types import Annotation, Category, Dataset, ImageRecord, Mask
from tests.converters.cases import HOLED, LETTERS, NESTED, SIZE, TWO, drawn, one, rectangle, thing

WIDE = (300, 400)


def disc(x: float, y: float, radius: float, points: int = 40, *, decimals: int = 2) -> list[float]:
    angles = [2 * math.pi * n / points for n in range(points)]
    return [round(v, decimals) for a in angles for v in (x + radius * math.cos(a), y + radius * math.sin(a))]


def polygons(*rings: list[float], size: tuple[int, int] = WIDE) -> Annotation:
    (mask,) = polygon_masks([[np.array(ring, dtype=np.float64).tobytes() for ring in rings]], size) or []
    return Annotation(1, mask.extent, mask)


def rings_file(folder: Path, *segmentations: list[list[float]]) -> Path:
    file = folder / "rings.json"
    objects = [
        {"id": n, "image_id": 1, "category_id": 1, "segmentation": s, "bbox": [0, 0, 9, 9]}
        for n, s in enumerate(segmentations, start=1)
    ]
    image = {"id": 1, "file_name": "a.png", "width": WIDE[1], "height": WIDE[0]}
    file.write_text(json.dumps({"images": [image], "annotations": objects, "categories": [{"id": 1, "name": "x"}]}))
    return file


def as_ultralytics_loads(row: str, size: tuple[int, int]) -> np.ndarray:
    """ultralytics' own steps for one row: resample_segments, then polygon2mask."""
    pytest.importorskip("ultralytics")
    from ultralytics.data.utils import polygon2mask
    from ultralytics.utils.ops import resample_segments

    points = np.array(row.split()[1:], dtype=np.float32).reshape(-1, 2)
    count = len(points) + 1 if len(points) > 1000 else 1000
    (points,) = resample_segments([points], count)
    points = points * np.array(size[::-1], np.float32)
    return polygon2mask(size, [points.reshape(-1)]).astype(bool)


@pytest.mark.parametrize(
    "annotation",
    [
        polygons(disc(100, 100, 50)),
        polygons(disc(37.5, 290, 9.9, 7)),
        polygons(disc(200, 150, 140, 1500)),
        polygons(disc(200, 150, 140, 1000)),
        polygons(disc(200, 150, 140, 999)),
        polygons([0, 0, 400, 0, 400, 300, 0, 300]),
        thing(HOLED),
        thing(NESTED),
        thing(TWO),
        thing(rectangle(31, 23, 32, 24)),
    ],
    ids=["disc", "small disc", "1500 points", "1000 points", "999 points", "full", "hole", "nested", "two", "corner"],
)
@pytest.mark.parametrize("outline", ["given", "traced"])
def test_what_the_receipt_measures_is_what_ultralytics_fills(
    outline: str, annotation: Annotation, tmp_path: Path
) -> None:
    yolo = converters.get("yolo")
    size = annotation.mask.size
    record = ImageRecord("a.png", size, (annotation,))
    converters.write(Dataset(LETTERS, [record]), tmp_path, "yolo", images="none", outline=outline)
    (row,) = (tmp_path / "labels" / "a.txt").read_text(encoding="utf-8").splitlines()
    loaded = as_ultralytics_loads(row, size)
    read = yolo.rendered_mask(annotation, yolo.options(outline=outline))
    assert np.array_equal(read.to_pixels(), loaded)
    (iou,) = yolo.rendered_ious([annotation], size, yolo.options(outline=outline))
    assert iou == pytest.approx(annotation.mask.iou(read), abs=1e-12)


@pytest.mark.parametrize("decimals", [0, 1, 2, 3, 6, 12])
def test_polygons_pass_to_yolo_and_back_to_the_same_pixels(decimals: int, tmp_path: Path) -> None:
    rings = [[disc(50 + 20.37 * n, 60 + 11.13 * n, 4 + 3 * n, 3 + n, decimals=decimals)] for n in range(12)]
    source = rings_file(tmp_path, *rings)
    wanted = [a.mask for r in converters.read(source).records for a in r.annotations]
    assert all(isinstance(mask, PolygonMask) for mask in wanted)
    drawn_on = tmp_path / "photos"
    drawn_on.mkdir()
    from PIL import Image

    Image.new("L", WIDE[::-1]).save(drawn_on / "a.png")
    converters.convert(source, tmp_path / "out", to="yolo", image_root=drawn_on, outline="given")
    rows = (tmp_path / "out" / "labels" / "a.txt").read_text(encoding="utf-8").splitlines()
    assert [a.mask for r in converters.read(tmp_path / "out").records for a in r.annotations] == wanted
    passed = [len(row.split()) // 2 == 3 + n for n, row in enumerate(rows)]
    assert sum(passed) >= (12 if decimals <= 2 else 8)  # points on a tie go the long way, as traced rows


@pytest.mark.parametrize(
    "ring",
    [[-5, 10, 50, -3, 60, 70], [10, 10, 10.01, 10, 10, 10.01]],
    ids=["over the border", "thinner than a pixel"],
)
def test_polygons_that_no_row_can_say_as_they_are_keep_their_pixels(ring: list[float], tmp_path: Path) -> None:
    dataset = Dataset(LETTERS, one(polygons(ring), size=WIDE))
    converters.write(dataset, tmp_path, "yolo", images="none", outline="given")
    (row,) = (tmp_path / "labels" / "a.txt").read_text(encoding="utf-8").splitlines()
    values = [float(word) for word in row.split()[1:]]
    assert min(values) >= 0 and max(values) <= 1
    from converters.formats.yolo.rows import read_polygon

    assert read_polygon(values, WIDE) == Mask.from_polygons([ring], WIDE)


def test_traced_rows_are_filled_exactly_by_ultralytics(tmp_path: Path) -> None:
    source = rings_file(tmp_path, [disc(100, 100, 50)], [disc(30, 40, 8)])
    given = converters.convert(source, tmp_path / "a", to="yolo", dry_run=True).mask_iou  # as it is by default
    traced = converters.convert(source, tmp_path / "a", to="yolo", dry_run=True, outline="traced").mask_iou
    assert (given.reader, given.masks, given.measured, given.under_1) == ("ultralytics", 2, 2, 2)
    assert 0.7 < given.min < given.mean < 1
    assert (traced.mean, traced.min, traced.under_1, traced.worst) == (1.0, 1.0, 0, [])
    assert [(w["image"], w["place"], w["id"]) for w in given.worst] == [("a.png", 2, 2), ("a.png", 1, 1)]


def test_an_exact_format_is_1_by_construction(tmp_path: Path) -> None:
    source = rings_file(tmp_path, [disc(100, 100, 50)], [disc(30, 40, 8), disc(90, 90, 20)])
    receipt = converters.convert(source, tmp_path / "out", to="sa1b", images="none")
    content = receipt.to_dict()["mask_iou"]
    assert (content["mean"], content["min"], content["measured"], content["under_1"]) == (1.0, 1.0, 2, 0)


def test_coco_polygons_are_measured_through_pycocotools(tmp_path: Path) -> None:
    converters.write(drawn("nested parts", tmp_path / "photos"), tmp_path / "in.json", "coco")
    exact = converters.convert(tmp_path / "in.json", tmp_path / "a.json", to="coco", segmentation="polygons")
    assert (exact.mask_iou.reader, exact.mask_iou.min) == ("pycocotools", 1.0)
    source = rings_file(tmp_path, [disc(100, 100, 50, 300)])
    with pytest.raises(LossyConversion, match="mask-changed"):
        converters.convert(source, tmp_path / "b.json", to="coco", segmentation="polygons", max_points=12)
    cheap = converters.convert(
        source, tmp_path / "b.json", to="coco", segmentation="polygons", max_points=12, min_iou=0.9
    )
    (ring,) = json.loads((tmp_path / "b.json").read_text())["annotations"][0]["segmentation"]
    assert len(ring) <= 24
    assert cheap.losses == {"mask-changed": 1} and 0.9 <= cheap.mask_iou.min < 1
    files = (source, tmp_path / "b.json")
    (before,), (after,) = ([r.annotations[0].mask for r in converters.read(file).records] for file in files)
    assert cheap.mask_iou.min == pytest.approx(before.iou(after))


def test_coco_polygons_of_the_source_stay_as_they_are(tmp_path: Path) -> None:
    rings = [disc(100, 100, 50), disc(200, 200, 30)]
    converters.convert(rings_file(tmp_path, rings), tmp_path / "out.json", to="coco", segmentation="polygons")
    assert json.loads((tmp_path / "out.json").read_text())["annotations"][0]["segmentation"] == rings


@pytest.mark.parametrize("budget", [{"max_points": 16}, {"tolerance": 2.0}], ids=str)
@pytest.mark.parametrize("outline", ["given", "traced"])
def test_a_budget_for_yolo_rows_is_kept_and_its_cost_told(budget: dict, outline: str, tmp_path: Path) -> None:
    source = rings_file(tmp_path, [disc(100, 100, 50, 200)], [disc(250, 180, 80, 150)])
    how = {"to": "yolo", "images": "none", "outline": outline}
    receipt = converters.convert(source, tmp_path / "out", min_iou=0.5, **how, **budget)
    rows = (tmp_path / "out" / "labels" / "a.txt").read_text().splitlines()
    free = converters.convert(source, tmp_path / "free", to="yolo", images="none", outline=outline)
    long = (tmp_path / "free" / "labels" / "a.txt").read_text().splitlines()
    assert all(len(row) < len(full) / 2 for row, full in zip(rows, long, strict=True))
    if "max_points" in budget:
        assert all(len(row.split()) // 2 <= 16 for row in rows)
    assert receipt.losses["mask-changed"] == 2
    assert 0.9 < receipt.mask_iou.min <= receipt.mask_iou.mean < 1 and free.losses == {}


@pytest.mark.parametrize(
    ("to", "options", "times"),
    [
        ("coco", {}, 1),
        ("parquet", {}, 1),
        ("coco", {"segmentation": "polygons", "tolerance": 0.1, "min_iou": 0}, 2),
        ("png", {"images": "none"}, 2),
    ],
    ids=["coco", "parquet", "polygons with a tolerance", "many files"],
)
def test_a_source_is_read_once_where_nothing_can_be_refused(to: str, options: dict, times: int, tmp_path: Path) -> None:
    converters.write(Dataset(LETTERS, one(thing(NESTED))), tmp_path / "in.json", "coco")
    passes: list[int] = []

    class Counted(type(converters.get("coco"))):
        def read(self, path: Path, options: ReadOptions = ReadOptions()) -> Dataset:
            dataset = super().read(path, options)
            return replace(dataset, records=Records(lambda: passes.append(1) or iter(dataset.records)))

    receipt = converters.convert(tmp_path / "in.json", tmp_path / "out", to=to, from_=Counted(), **options)
    assert len(passes) == times
    assert (receipt.objects_in, receipt.objects_out, receipt.mask_iou.measured) == (1, 1, 1)


def test_a_budget_smaller_than_the_seams_is_told(tmp_path: Path) -> None:
    converters.write(Dataset(LETTERS, one(thing(NESTED))), tmp_path / "in.json", "coco")
    receipt = converters.convert(
        tmp_path / "in.json", tmp_path / "out", to="yolo", images="none", max_points=4, allow_lossy=True
    )
    assert receipt.notes["over-budget"] == 1


def test_min_iou_permits_what_reaches_it_and_refuses_what_does_not(tmp_path: Path) -> None:
    converters.write(drawn("scores", tmp_path / "photos"), tmp_path / "in.json", "coco")
    arguments = {"to": "yolo", "images": "none"}
    with pytest.raises(LossyConversion, match="score-lost"):
        converters.convert(tmp_path / "in.json", tmp_path / "out", **arguments)
    with pytest.raises(LossyConversion, match=r"lowest mask IoU is 0\.\d+, a.png object 2; --min-iou asks for 0.99"):
        converters.convert(tmp_path / "in.json", tmp_path / "out", min_iou=0.99, **arguments)
    assert not (tmp_path / "out").exists()
    receipt = converters.convert(tmp_path / "in.json", tmp_path / "out", min_iou=0.5, **arguments)
    assert receipt.losses["score-lost"] == 2 and receipt.objects_out == 2


def test_min_iou_does_not_permit_objects_to_be_left_out(tmp_path: Path) -> None:
    converters.write(drawn("empty mask", tmp_path / "photos"), tmp_path / "in.json", "coco")
    with pytest.raises(LossyConversion, match="IoU is 0.0000|empty-mask-lost"):
        converters.convert(tmp_path / "in.json", tmp_path / "out", to="yolo", images="none", min_iou=0.1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_iou": 1.5},
        {"min_iou": math.nan},
        {"measure": "some"},
        {"max_points": 3},
        {"tolerance": -1.0},
        {"tolerance": math.nan},
        {"outline": "x"},
    ],
    ids=str,
)
def test_impossible_options_are_usage_errors(wrong: dict, tmp_path: Path) -> None:
    source = rings_file(tmp_path, [disc(100, 100, 50)])
    with pytest.raises(UsageError) as error:
        converters.convert(source, tmp_path / "out", to="yolo", images="none", **wrong)
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_large_sets_are_sampled_and_the_receipt_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("converters.round_trip.ALL_OF_THE_FIRST", 3)
    monkeypatch.setattr("converters.round_trip.EVERY", 4)
    yolo = converters.get("yolo")
    measure = Measure(yolo, yolo.options(), yolo.capabilities.keeps, (Category(1, "x"),), "auto")
    for number in range(8):
        measure.add(ImageRecord(f"{number}.png", SIZE, (thing(HOLED), thing(TWO))))
    found = measure.result()
    assert (found.masks, found.measured) == (16, 7)  # three of images 1 and 2, then 4 and 8
    assert "7 measured" in found.lines()[0]


def test_a_format_that_says_nothing_is_measured_by_writing_and_reading(tmp_path: Path) -> None:
    class Blocky(Format[FormatOptions]):
        name = "blocky"
        summary = "Boxes in the place of masks"
        options = FormatOptions
        capabilities = Capabilities(frozenset({"category_names"}))

        def write(self, dataset: Dataset, path: Path, options: FormatOptions) -> WriteReport:
            return converters.write(dataset, path, "coco")

        def read(self, path: Path, options: ReadOptions = ReadOptions()) -> Dataset:
            found = converters.read(path, "coco")
            filled = [
                ImageRecord(r.path, r.size, [thing(rectangle(*map(int, a.mask.box))) for a in r.annotations])
                for r in found.records
            ]
            return Dataset(found.categories, filled)

    blocky = Blocky()
    measure = Measure(blocky, blocky.options(), blocky.capabilities.keeps, LETTERS, "auto")
    measure.add(ImageRecord("a.png", SIZE, (thing(HOLED), thing(rectangle(1, 1, 4, 4)))))
    found = measure.result()
    assert found.measured == 2 and found.under_1 == 1
    assert found.min == HOLED.area / 256


def test_the_command_line_gives_the_receipt_and_exit_code_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = rings_file(tmp_path, [disc(100, 100, 50, 200)])

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["convert", str(source), str(tmp_path / "out"), "--to", "yolo", "--images", "none", *words])
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    code, out, _ = run("--max-points", "20", "--dry-run", "--json")
    content = json.loads(out)
    assert code == 0 and content["dry_run"] and content["losses"] == {"mask-changed": 1}
    assert 0.9 < content["mask_iou"]["mean"] < 1 and not (tmp_path / "out").exists()
    code, out, err = run("--max-points", "20")
    assert (code, out) == (4, "") and "mask-changed" in err and err.count("\n") == 1
    code, _, err = run("--max-points", "20", "--min-iou", "0.999")
    assert code == 4 and not (tmp_path / "out").exists()
    code, out, _ = run("--max-points", "20", "--min-iou", "0.9", "--outline", "traced")
    assert code == 0 and "mean IoU 0.9" in out and (tmp_path / "out" / "data.yaml").exists()
    code, _, err = run("--segmentation", "polygons")
    assert code == 2 and "no option 'segmentation'" in err
