"""`samlabel generate`: PNG masks with a table, RLE in JSON, SA-1B records, and the flags of amg.py."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from samlabel.errors import OutputExists
from samlabel.generate import COLUMNS, generate, names
from samlabel.objects import Objects
from samlabel.options import GRID, Grid
from samlabel.protocols import ModelInfo
from samlabel.types import Annotation, Mask


class Rings:
    """Finds a ring with a hole, a pixel, and its prompt boxes; stands in for `SamSegmenter`."""

    def __init__(self, grid: Grid = GRID, *, fails: dict[str, Exception] | None = None, **named: str) -> None:
        self.grid, self._fails = grid, fails or {}
        info = ModelInfo("rings", device="cpu", prompts=frozenset({"everything"}))
        self.info = replace(info, **named)  # dtype, weights, ...
        self.made: list[str] = []

    def embed(self, images: Any) -> Any:
        return [None for _ in images]

    def segment(self, embedding: Any, objects: Any) -> Any:
        raise AssertionError("nobody asks for masks of boxes")

    def generate(self, image: Any, embedding: Any, *, boxes: Any = None) -> Objects:
        if image.path in self._fails:
            raise self._fails[image.path]
        self.made.append(image.path)
        return Objects.of(self._found(image, boxes))

    def _found(self, image: Any, boxes: Any) -> Any:
        if boxes is not None:
            for x0, y0, x1, y1 in boxes.astype(int).tolist():
                pixels = np.zeros(image.size, bool)
                pixels[y0:y1, x0:x1] = True
                yield self._one(pixels, (), prompt_box=(x0, y0, x1, y1))
            return
        ring = np.zeros(image.size, bool)
        ring[2:12, 3:15] = True
        ring[5:8, 6:10] = False
        yield self._one(ring, ((4.5, 3.0),))
        dot = np.zeros(image.size, bool)
        dot[7, 9] = True
        yield self._one(dot, ((9.0, 7.0),))

    def _one(self, pixels: np.ndarray, points: Any, **more: Any) -> Annotation:
        mask, (height, width) = Mask.from_pixels(pixels), pixels.shape
        return Annotation(
            1,
            mask.box,
            mask,
            predicted_iou=0.9,
            stability_score=0.97,
            point_coords=points,
            crop_box=(0, 0, width, height),
            **more,
        )


RING = 10 * 12 - 3 * 4


def test_png_masks_and_their_table_are_those_of_amg(photos: Path, tmp_path: Path) -> None:
    done = generate(photos, tmp_path / "out", Rings())
    assert (done.images, done.masks, done.exit_code) == (3, 6, 0)
    folder = tmp_path / "out" / "deep" / "b c"
    assert sorted(file.name for file in folder.iterdir()) == ["0.png", "1.png", "metadata.csv"]
    pixels = np.asarray(Image.open(folder / "0.png"))
    assert pixels.shape == (20, 20) and set(np.unique(pixels)) == {0, 255}
    assert (pixels > 0).sum() == RING
    lines = (folder / "metadata.csv").read_text().splitlines()
    assert lines[0] == COLUMNS
    assert lines[1] == f"0,{RING},3,2,12,10,4.5,3.0,0.9,0.97,0,0,20,20"
    assert next(csv.DictReader(lines[:1] + lines[2:]))["bbox_w"] == "1"  # one pixel is one wide


def test_rle_in_json_has_the_keys_of_segment_anything(photos: Path, tmp_path: Path) -> None:
    generate(photos, tmp_path / "out", Rings(), form="coco_rle")
    found = json.loads((tmp_path / "out" / "a.json").read_text())
    assert [set(one) for one in found] == [
        set(["segmentation", "area", "bbox", "predicted_iou", "point_coords", "stability_score", "crop_box"])
    ] * 2
    assert coco.decode(found[0]["segmentation"]).sum() == found[0]["area"] == RING
    assert found[1]["bbox"] == [9, 7, 1, 1]
    assert found[0]["crop_box"] == [0, 0, 60, 40]


def test_sa1b_records_keep_holes_and_follow_the_definition(photos: Path, tmp_path: Path) -> None:
    generate(photos, tmp_path / "out", Rings(), form="sa1b")
    record = json.loads((tmp_path / "out" / "a.json").read_text())
    assert set(record) == {"image", "annotations"}
    number = record["image"].pop("image_id")
    assert isinstance(number, int) and number > 0
    assert record["image"] == {"width": 60, "height": 40, "file_name": "a.png"}
    one, dot = record["annotations"]
    assert set(one) == set(
        ["id", "segmentation", "bbox", "area", "predicted_iou", "stability_score", "crop_box", "point_coords"]
    )
    pixels = coco.decode(one["segmentation"])
    assert pixels[5:8, 6:10].sum() == 0 and pixels.sum() == one["area"] == RING  # the hole is a hole
    assert one["point_coords"] == [[4.5, 3]] and dot["bbox"] == [9, 7, 1, 1]
    assert not (tmp_path / "out" / "samlabel.jsonl").exists()


def test_boxes_of_a_detector_are_the_prompts(photos: Path, tmp_path: Path, fakes: ModuleType) -> None:
    done = generate(photos, tmp_path / "out", Rings(), form="coco_rle", detector=fakes.Detector())
    assert done.masks == 3
    first = json.loads((tmp_path / "out" / "a.json").read_text())[0]
    assert first["prompt_box"] == first["bbox"] and first["point_coords"] == []
    generate(photos, tmp_path / "png", Rings(), detector=fakes.Detector())
    assert ",,," not in (tmp_path / "png" / "a" / "metadata.csv").read_text().splitlines()[0]


def test_a_second_run_does_only_what_is_missing(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    generate(photos, out, Rings())
    (out / "a" / "0.png").write_bytes(b"mine")
    (out / "zzz" / "metadata.csv").unlink()
    import shutil

    shutil.rmtree(out / "zzz")
    done = generate(photos, out, Rings())
    assert (done.images, done.present) == (1, 2)
    assert (out / "a" / "0.png").read_bytes() == b"mine"
    assert generate(photos, out, Rings(), overwrite=True).images == 3
    assert (out / "a" / "0.png").read_bytes() != b"mine"


@pytest.mark.parametrize("form", ["png", "coco_rle", "sa1b"])
def test_masks_in_the_journal_are_written_without_being_made_again(photos: Path, tmp_path: Path, form: str) -> None:
    import shutil

    out = tmp_path / "out"
    generate(photos, out, Rings(), form=form)
    whole = _files(out)
    for one in out.iterdir():
        if one.name != ".samlabel":  # as a run leaves it that was killed before it wrote
            shutil.rmtree(one) if one.is_dir() else one.unlink()
    again = Rings()
    done = generate(photos, out, again, form=form)
    assert again.made == [] and done.exit_code == 0
    assert _files(out) == whole


def test_a_changed_image_gets_new_masks(photos: Path, tmp_path: Path, fakes: ModuleType) -> None:
    out = tmp_path / "out"
    generate(photos, out, Rings(), form="coco_rle")
    fakes.draw(photos / "zzz.png", size=(50, 70))
    again = Rings()
    done = generate(photos, out, again, form="coco_rle")
    assert (again.made, done.images, done.present) == (["zzz.png"], 1, 2)
    assert json.loads((out / "zzz.json").read_text())[0]["crop_box"] == [0, 0, 70, 50]


def test_masks_of_a_version_without_a_journal_are_passed_over(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    generate(photos, out, Rings())
    (out / ".samlabel" / "journal.jsonl").unlink()
    again = Rings()
    assert generate(photos, out, again).present == 3 and again.made == []


class Breaking(Rings):
    """Its second mask is one that cannot be written."""

    def generate(self, image: Any, embedding: Any, *, boxes: Any = None) -> Objects:
        found = super().generate(image, embedding, boxes=boxes).annotations()
        return Objects.of([found[0], replace(found[0], crop_box=None)])


def test_a_run_that_breaks_leaves_no_half_folder(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        generate(photos, tmp_path / "out", Breaking())
    assert [one.name for one in (tmp_path / "out").iterdir()] == [".samlabel"]


def test_pictures_that_would_share_a_name_keep_their_suffix() -> None:
    assert names(("a.png", "a.jpg", "b.png", "deep/a.png")) == {
        "a.png": "a.png",
        "a.jpg": "a.jpg",
        "b.png": "b",
        "deep/a.png": "deep/a",
    }


def test_a_broken_picture_is_named_and_the_others_are_done(photos: Path, tmp_path: Path) -> None:
    (photos / "broken.png").write_bytes(b"not a picture")
    done = generate(photos, tmp_path / "out", Rings())
    assert done.images == 3 and done.exit_code == 3
    assert [one.path for one in done.failed] == ["broken.png"]


@pytest.mark.parametrize(
    ("stage", "models"),
    [
        ("segment", lambda fakes: (Rings(fails={"cursed.png": RuntimeError("a shape that no layer takes")}), None)),
        ("detect", lambda fakes: (Rings(), fakes.Detector())),
    ],
    ids=["the segmenter", "the detector"],
)
def test_an_image_that_a_model_cannot_take_is_named_and_the_others_are_done(
    photos: Path, tmp_path: Path, fakes: ModuleType, stage: str, models: Any
) -> None:
    fakes.draw(photos / "cursed.png")
    segmenter, detector = models(fakes)
    done = generate(photos, tmp_path / "out", segmenter, detector=detector)
    assert (done.images, done.exit_code) == (3, 3)
    assert [(one.path, one.stage, one.reason) for one in done.failed] == [
        ("cursed.png", stage, "a shape that no layer takes")
    ]


def _files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


DENSE = Grid(points_per_side=64)


class TestOtherSettings:
    @pytest.mark.parametrize(
        ("differs", "other"),
        [
            ("grid.points_per_side was 32, is 64", lambda photos, fakes: (photos, Rings(DENSE), {})),
            ("segmenter.name was rings, is discs", lambda photos, fakes: (photos, Rings(name="discs"), {})),
            (
                "segmenter.weights was the default, is 12ab",
                lambda photos, fakes: (photos, Rings(weights_sha256="12ab"), {}),
            ),
            (
                "segmenter.dtype was the default, is bfloat16",
                lambda photos, fakes: (photos, Rings(dtype="bfloat16"), {}),
            ),
            ("form was png, is coco_rle", lambda photos, fakes: (photos, Rings(), {"form": "coco_rle"})),
            ("form was png, is sa1b", lambda photos, fakes: (photos, Rings(), {"form": "sa1b"})),
            ("detector was none", lambda photos, fakes: (photos, Rings(), {"detector": fakes.Detector()})),
            ("images was ../photos, is ../photos/deep", lambda photos, fakes: (photos / "deep", Rings(), {})),
        ],
        ids=["grid", "model", "weights", "dtype", "form", "sa1b", "detector", "images"],
    )
    def test_masks_of_other_settings_are_refused_and_stay(
        self, photos: Path, tmp_path: Path, fakes: ModuleType, differs: str, other: Any
    ) -> None:
        out = tmp_path / "out"
        generate(photos, out, Rings())
        before = _files(out)
        data, segmenter, options = other(photos, fakes)
        with pytest.raises(OutputExists, match=differs) as refused:
            generate(data, out, segmenter, **options)
        assert "--overwrite" in str(refused.value) and "another --output" in str(refused.value)
        assert _files(out) == before

    def test_masks_whose_settings_nobody_noted_are_refused(self, photos: Path, tmp_path: Path) -> None:
        (tmp_path / "out" / "a").mkdir(parents=True)
        with pytest.raises(OutputExists, match="settings that nothing here notes"):
            generate(photos, tmp_path / "out", Rings())
        assert _files(tmp_path / "out") == {}

    def test_overwrite_makes_all_of_them_anew_and_the_next_run_continues(self, photos: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        generate(photos, out, Rings())
        (out / "a" / "0.png").write_bytes(b"old")
        assert generate(photos, out, Rings(DENSE), overwrite=True).images == 3
        assert (out / "a" / "0.png").read_bytes() != b"old"
        assert generate(photos, out, Rings(DENSE)).present == 3

    def test_an_overwrite_that_is_cut_off_leaves_no_mask_of_the_old_settings(
        self, photos: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        generate(photos, out, Rings(), form="coco_rle")
        with pytest.raises(KeyError):  # a mistake in code, of no one image
            generate(photos, out, Rings(DENSE, fails={"zzz.png": KeyError("x")}), form="coco_rle", overwrite=True)
        done = generate(photos, out, Rings(DENSE), form="coco_rle")
        assert (done.images, done.present) == (1, 2)

    def test_overwrite_is_refused_where_old_masks_would_stay_beside_new_ones(
        self, photos: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        generate(photos, out, Rings())
        before = _files(out)
        with pytest.raises(OutputExists, match="leave 2 of them beside the new ones"):
            generate(photos / "a.png", out, Rings(DENSE), overwrite=True)
        assert _files(out) == before

    def test_a_folder_that_was_emptied_takes_other_settings(self, photos: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        generate(photos / "a.png", out, Rings(), form="coco_rle")
        (out / "a.json").unlink()
        assert generate(photos / "a.png", out, Rings(DENSE)).images == 1


class TestCommand:
    @pytest.fixture
    def run(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
        """Calls the command line; gives its exit code, stdout, stderr, and the grid that the model got."""
        from samlabel.cli import main

        grids: list[Any] = []

        def load(variant: Any, *, checkpoint: Any, device: str, grid: Any, **_: Any) -> Rings:
            grids.append((variant, checkpoint, grid))
            return Rings(grid)

        monkeypatch.setattr("samlabel.segmenters.sam.load", load)

        def call(*words: str) -> tuple[int, str, str, list[Any]]:
            with pytest.raises(SystemExit) as end:
                main(["generate", *words, "--device", "cpu"])
            said = capsys.readouterr()
            return end.value.code, said.out, said.err, grids  # type: ignore[return-value]

        return call

    def test_every_flag_of_amg_is_taken_and_reaches_the_generator(self, run: Any, photos: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        code, said, _, grids = run(
            "--input",
            str(photos),
            "--output",
            str(out),
            "--model-type",
            "vit_b",
            "--checkpoint",
            "b.pth",
            "--convert-to-rle",
            "--points-per-side",
            "4",
            "--points-per-batch",
            "5",
            "--pred-iou-thresh",
            "0.5",
            "--stability-score-thresh",
            "0.6",
            "--stability-score-offset",
            "1.5",
            "--box-nms-thresh",
            "0.8",
            "--crop-n-layers",
            "1",
            "--crop-nms-thresh",
            "0.75",
            "--crop-overlap-ratio",
            "0.25",
            "--crop-n-points-downscale-factor",
            "2",
            "--min-mask-region-area",
            "9",
        )
        assert code == 0 and said == f"3 images, 6 masks in {out}\n"
        assert (out / "a.json").is_file()
        variant, checkpoint, grid = grids[0]
        assert (variant, checkpoint) == ("vit_b", Path("b.pth"))
        assert (grid.points_per_side, grid.points_per_batch, grid.crop_n_layers) == (4, 5, 1)
        # amg.py reads this one as a whole number, so 0.25 ends it with an error there.
        assert grid.crop_overlap_ratio == 0.25
        assert (grid.box_nms_thresh, grid.crop_nms_thresh, grid.min_mask_region_area) == (0.8, 0.75, 9)
        assert (grid.stability_score_offset, grid.crop_n_points_downscale_factor) == (1.5, 2)

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (("--output", "o"), "name the pictures"),
            (("{photos}", "--input", "{photos}", "--output", "o"), "name the pictures"),
            (("{photos}",), "--output"),
            (("{photos}", "--output", "o", "--output-form", "gif"), "png"),
            (("{photos}", "--output", "o", "--max-masks", "0"), "max_masks"),
            (("{photos}", "--output", "o", "--crop-overlap-ratio", "1.5"), "crop_overlap_ratio"),
        ],
        ids=["no input", "two inputs", "no output", "unknown form", "no masks", "overlap above one"],
    )
    def test_what_cannot_be_meant_is_one_line_and_exit_code_2(
        self, run: Any, photos: Path, words: tuple[str, ...], says: str
    ) -> None:
        code, _, err, _ = run(*(word.format(photos=photos) for word in words))
        assert code == 2 and says in err and err.count("\n") == 1

    def test_other_settings_are_one_line_and_exit_code_2(self, run: Any, photos: Path, tmp_path: Path) -> None:
        out = str(tmp_path / "out")
        assert run(str(photos), "--out", out)[0] == 0
        code, _, err, _ = run(str(photos), "--out", out, "--points-per-side", "4", "--quiet")
        assert code == 2 and "grid.points_per_side was 32, is 4" in err and err.count("\n") == 1

    def test_json_is_a_summary(self, run: Any, photos: Path, tmp_path: Path) -> None:
        code, said, _, _ = run(str(photos), "--out", str(tmp_path / "out"), "--json", "--quiet")
        assert code == 0
        counts = {"images": 3, "present": 0, "masks": 6, "failed": [], "unread": {}, "left_out": []}
        assert json.loads(said) == {"output": str(tmp_path / "out"), **counts}


def test_the_bundled_model_generates(photos: Path, tmp_path: Path) -> None:
    from samlabel.segmenters.sam import load

    grid = Grid(points_per_side=3, pred_iou_thresh=0.0, stability_score_thresh=0.0, max_masks=2)
    done = generate(photos / "a.png", tmp_path / "out", load("nano", grid=grid), form="coco_rle")
    found = json.loads((tmp_path / "out" / "a.json").read_text())
    assert done.images == 1 and 1 <= len(found) <= 2
    assert all(coco.toBbox(one["segmentation"]).tolist() == one["bbox"] for one in found)
