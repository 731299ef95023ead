"""The detector's classes under the user's own names: numbered, joined, left out, refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from samlabel.annotate import auto_annotate
from samlabel.errors import FormatError, OutputExists, UnknownName, UsageError
from samlabel.options import ClassOptions
from samlabel.pipeline.class_map import ClassMap, MappedDetector


def labeled(photos: Path, out: Path, fakes: ModuleType, **options: Any) -> tuple[list[Any], dict[str, int]]:
    """Categories of the COCO file, and objects by class name."""
    summary = auto_annotate(
        photos,
        output_dir=out,
        detector=fakes.Detector(),
        segmenter=fakes.Segmenter(),
        device="cpu",
        taxonomy=ClassOptions(**options),
    )
    content = json.loads((out / "coco" / "annotations.json").read_text())
    return [(one["id"], one["name"]) for one in content["categories"]], dict(summary.categories)


@pytest.mark.parametrize(
    ("options", "categories", "objects"),
    [
        ({"rename": ["red=apple"]}, [(1, "apple"), (7, "blue")], {"apple": 1, "blue": 2}),
        ({"rename": ["blue=red"]}, [(1, "red")], {"red": 3}),
        ({"rename": ["red="]}, [(7, "blue")], {"blue": 2}),
        ({"class_map": {"blue": "sky"}}, [(1, "sky")], {"sky": 2}),
        ({"class_map": {"blue": "sky", "red": "apple"}}, [(1, "sky"), (2, "apple")], {"sky": 2, "apple": 1}),
        ({"class_map": {"blue": "thing", "red": "thing"}}, [(1, "thing")], {"thing": 3}),
        ({"class_map": {"blue": "sky"}, "rename": ["red=apple"]}, [(1, "sky"), (2, "apple")], {"sky": 2, "apple": 1}),
    ],
    ids=["renamed", "joined", "dropped", "others left out", "ids in the map's order", "two to one", "both"],
)
def test_objects_take_the_classes_of_the_map(
    photos: Path, tmp_path: Path, fakes: ModuleType, options: dict[str, Any], categories: list[Any], objects: Any
) -> None:
    assert labeled(photos, tmp_path / "out", fakes, **options) == (categories, objects)


@pytest.mark.parametrize(
    ("name", "text"),
    [("map.yaml", "blue: sky\nred:\n"), ("map.json", '{"blue": "sky", "red": null}'), ("map.csv", "blue,sky\nred,\n")],
)
def test_a_map_is_read_from_a_file(photos: Path, tmp_path: Path, fakes: ModuleType, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert labeled(photos, tmp_path / "out", fakes, class_map=tmp_path / name) == ([(1, "sky")], {"sky": 2})


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"rename": ["rad=apple"]}, UnknownName, "unknown class of the detector 'rad'.*Did you mean red"),
        ({"rename": ["red"]}, UsageError, "OLD=NEW"),
        ({"class_map": {"red": None}}, UsageError, "leaves every class out"),
        ({"class_map": {}}, UsageError, "leaves every class out"),
        ({"class_map": {"red": "a"}, "classes": ["red"]}, UsageError, "--classes and --map both"),
    ],
    ids=["unknown class", "no equals sign", "all left out", "empty", "with classes"],
)
def test_a_map_that_cannot_be_used_is_one_line_and_nothing_written(
    photos: Path, tmp_path: Path, fakes: ModuleType, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        labeled(photos, tmp_path / "out", fakes, **options)
    assert not (tmp_path / "out" / "coco").exists()


def test_a_file_that_is_no_map_is_named(photos: Path, tmp_path: Path, fakes: ModuleType) -> None:
    (tmp_path / "map.yaml").write_text("- red\n- blue\n")
    with pytest.raises(FormatError, match="map.yaml: not a class map"):
        labeled(photos, tmp_path / "out", fakes, class_map=tmp_path / "map.yaml")


def test_without_a_detector_there_is_nothing_to_map(photos: Path, tmp_path: Path, fakes: ModuleType) -> None:
    with pytest.raises(UsageError, match="without a detector every object is of one class"):
        auto_annotate(
            photos,
            "none",
            output_dir=tmp_path / "out",
            segmenter=fakes.Segmenter(),
            device="cpu",
            taxonomy=ClassOptions(rename=["a=b"]),
        )


@pytest.mark.parametrize(
    "later",
    [{}, {"class_map": {"red": "a", "blue": "b"}}, {"class_map": {"blue": "b"}}],
    ids=["no map", "another order", "other classes"],
)
def test_a_run_with_another_map_is_another_run(
    photos: Path, tmp_path: Path, fakes: ModuleType, later: dict[str, Any]
) -> None:
    labeled(photos, tmp_path / "out", fakes, class_map={"blue": "b", "red": "a"})
    with pytest.raises(OutputExists, match="class_map"):
        labeled(photos, tmp_path / "out", fakes, **later)


def test_boxes_and_scores_stay_with_their_objects(fakes: ModuleType, photos: Path) -> None:
    from samlabel.sources.images import decode

    image = decode(photos, "a.png").image
    class_map = ClassMap.of({"blue": "sky"})
    assert class_map is not None
    (plain,) = fakes.Detector().detect([image])
    (mapped,) = MappedDetector(fakes.Detector(), class_map).detect([image])
    blue = plain.category_ids == 7
    assert mapped.boxes.tolist() == plain.boxes[blue].tolist()
    assert mapped.scores.tolist() == plain.scores[blue].tolist()
    assert mapped.category_ids.tolist() == [1]
