"""Every format through the same hard cases: what it declares in KEEPS comes back, what it loses has a code."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from pathlib import Path

import pytest

import converters
from samlabel.errors import LossyConversion, OutputExists, SamlabelError
from samlabel.types import Dataset
from tests.converters.cases import CASES, LETTERS, NEEDS, drawn, files_of, seen

FORMATS = [info.name for info in converters.list_formats() if info.problem is None]
# Codes that must be raised when a format lacks a word of KEEPS that the case is about.
LOSS = {
    "exact_masks": "mask-changed",
    "holes": "holes-lost",
    "parts": "parts-lost",
    "crowd": "crowd-lost",
    "empty_masks": "empty-mask-lost",
    "empty_images": "empty-image-lost",
    "scores": "score-lost",
    "mask_scores": "mask-score-lost",
    "boxes_without_mask": "no-mask-lost",
}
NOTE = {
    "category_ids": "category-ids-changed",
    "image_ids": "image-ids-changed",
    "annotation_ids": "annotation-ids-changed",
    "supercategories": "supercategory-lost",
    "source": "source-lost",
    "prompts": "prompt-lost",
    "boxes": "box-tightened",
    "extra_fields": "fields-lost",
    "dataset_fields": "dataset-fields-lost",
}


LABEL_PICTURES = ("SegmentationClass", "SegmentationObject", "masks")  # folders of pictures that are labels


@pytest.mark.parametrize("name", FORMATS)
def test_keeps_are_words_of_features(name: str) -> None:
    assert set(converters.FEATURES) >= converters.get(name).capabilities.keeps


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", FORMATS)
def test_a_format_gives_back_what_it_declares(name: str, case: str, tmp_path: Path) -> None:
    dataset = drawn(case, tmp_path / "photos")
    keeps = converters.get(name).capabilities.keeps
    lacks = NEEDS.get(case, frozenset()) - keeps
    report = converters.write(dataset, tmp_path / "out", name)
    lost = {LOSS[word] for word in lacks & LOSS.keys()}
    noted = {NOTE[word] for word in lacks & NOTE.keys()}
    refused = set(converters.REFUSED) & set(report.losses)
    # Of what is noted alone a writer reports classes with another number; the rest is known from KEEPS (see convert).
    assert noted & {"category-ids-changed"} <= set(report.losses)
    assert {NOTE[word] for word in keeps & NOTE.keys()}.isdisjoint(report.losses)
    if case == "boxes among masks" and name == "yolo":
        assert refused == {"box-became-mask"}
        return
    assert refused <= lost
    assert not refused or lacks
    back = converters.read(tmp_path / "out", name)
    renamed = "image-renamed" in report.losses
    expected = seen(dataset, keeps)
    got = seen(back, keeps)
    assert got[0] == expected[0]
    if renamed:
        assert [r[1:] for r in got[1]] == [r[1:] for r in expected[1]]
    elif "mask-changed" in lost:
        assert [(r[0], [o[0] for o in r[2]]) for r in got[1]] == [(r[0], [o[0] for o in r[2]]) for r in expected[1]]
    elif "empty-mask-lost" in lost or "no-mask-lost" in lost:
        dropped = sum(report.losses[code] for code in lost)
        assert sum(len(r[2]) for r in got[1]) == sum(len(r[2]) for r in expected[1]) - dropped
    else:
        assert got[1] == expected[1]
    assert report.images == len(CASES[case][1])


@pytest.mark.parametrize("case", [case for case in CASES if case != "no images"])
@pytest.mark.parametrize("name", FORMATS)
def test_a_conversion_is_refused_exactly_when_something_would_be_lost(name: str, case: str, tmp_path: Path) -> None:
    converters.write(drawn(case, tmp_path / "photos"), tmp_path / "in.json", "coco")
    keeps = converters.get(name).capabilities.keeps
    lacks = NEEDS.get(case, frozenset()) - keeps
    expected = {LOSS[word] for word in lacks & LOSS.keys()}
    if case == "boxes among masks" and name == "yolo":
        expected = {"box-became-mask"}
    arguments = {"to": name, "image_root": tmp_path / "photos"}
    target = tmp_path / "out"
    if expected:
        with pytest.raises(LossyConversion, match=sorted(expected)[0]) as refusal:
            converters.convert(tmp_path / "in.json", target, **arguments)
        assert "\n" not in str(refusal.value)
        assert not target.exists()
    dry = converters.convert(tmp_path / "in.json", target, dry_run=True, **arguments)
    assert not target.exists()
    receipt = converters.convert(tmp_path / "in.json", target, allow_lossy=True, **arguments)
    assert set(receipt.losses) == expected == set(dry.losses)
    assert {NOTE[word] for word in lacks & NOTE.keys()} <= set(receipt.notes)
    assert receipt.images_in == receipt.images_out == len(CASES[case][1])
    assert receipt.objects_out == dry.objects_out
    assert sum(len(r.annotations) for r in converters.read(target, name).records) == receipt.objects_out


@pytest.mark.parametrize("name", FORMATS)
def test_fields_of_the_file_and_of_classes_come_back_or_are_told(name: str, tmp_path: Path) -> None:
    plain = drawn("hole", tmp_path / "photos")
    skeleton = {"keypoints": ["nose", "tail"], "skeleton": [[1, 2]]}
    categories = tuple(replace(c, extra=skeleton if place == 0 else {}) for place, c in enumerate(plain.categories))
    extra = {"info": {"year": 2024, "pictures": "x" * 70_000}, "licenses": [{"id": 1, "name": "CC BY"}]}
    dataset = replace(plain, categories=categories, extra=extra)
    converters.write(dataset, tmp_path / "in.json", "coco")
    arguments = {"to": name, "image_root": tmp_path / "photos", "allow_lossy": True}
    receipt = converters.convert(tmp_path / "in.json", tmp_path / "out", **arguments)
    back = converters.read(tmp_path / "out")
    if "dataset_fields" in converters.get(name).capabilities.keeps:
        assert "dataset-fields-lost" not in receipt.notes
        assert (back.extra, [c.extra for c in back.categories]) == (extra, [c.extra for c in categories])
    else:
        assert receipt.notes["dataset-fields-lost"] == 3
        assert (back.extra, [bool(c.extra) for c in back.categories]) == ({}, [False] * len(back.categories))


def several_cases(folder: Path) -> Dataset:
    """Cases that every format keeps, each in a folder of its own."""
    records = []
    cases = ("hole", "two parts", "nested parts", "names", "same stem in two folders", "every border")
    for place, case in enumerate(cases):
        drawn(case, folder / f"case {place}")
        records += [replace(record, path=f"case {place}/{record.path}") for record in CASES[case][1]]
    return Dataset(LETTERS, sorted(records, key=lambda record: record.path), folder)


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(FORMATS, 2)))
def test_masks_and_names_survive_a_way_through_any_two_formats(first: str, second: str, tmp_path: Path) -> None:
    keeps = frozenset()
    dataset = several_cases(tmp_path / "photos")
    converters.write(dataset, tmp_path / "first", first, images="copy")
    one = converters.convert(tmp_path / "first", tmp_path / "second", to=second, allow_lossy=True, images="copy")
    two = converters.convert(tmp_path / "second", tmp_path / "third", to=first, allow_lossy=True, images="copy")
    assert (one.source_format, two.source_format) == (first, second)
    assert len(one.source_format_why) > 10
    assert seen(converters.read(tmp_path / "third"), keeps) == seen(dataset, keeps)


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_dataset_gives_the_same_bytes_and_leaves_equal_files_alone(name: str, tmp_path: Path) -> None:
    dataset = drawn("names", tmp_path / "photos")
    converters.write(dataset, tmp_path / "one", name)
    converters.write(dataset, tmp_path / "two", name)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    before = {f: f.stat().st_mtime_ns for f in (tmp_path / "one").rglob("*") if f.is_file()}
    time.sleep(0.02)
    converters.write(dataset, tmp_path / "one", name, overwrite=True)
    assert {f: f.stat().st_mtime_ns for f in (tmp_path / "one").rglob("*") if f.is_file()} == before


@pytest.mark.parametrize("name", FORMATS)
def test_labels_that_are_there_are_not_overwritten(name: str, tmp_path: Path) -> None:
    converters.write(drawn("hole", tmp_path / "photos"), tmp_path / "out", name)
    before = files_of(tmp_path / "out")
    with pytest.raises(OutputExists, match="overwrite"):
        converters.write(drawn("two parts", tmp_path / "photos"), tmp_path / "out", name)
    assert files_of(tmp_path / "out") == before


@pytest.mark.parametrize("name", FORMATS)
def test_a_write_that_fails_leaves_no_part_of_a_file(name: str, tmp_path: Path) -> None:
    dataset = drawn("hole", tmp_path / "photos")

    def broken():
        yield from dataset.records
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="disk"):
        converters.write(Dataset(dataset.categories, broken(), dataset.image_root), tmp_path / "out", name)
    assert [f for f in (tmp_path / "out").rglob("*") if f.name.endswith(".tmp")] == []
    assert not (tmp_path / "out" / "annotations.json").exists()
    assert not (tmp_path / "out" / "data.yaml").exists()


@pytest.mark.parametrize("name", FORMATS)
def test_a_symbolic_link_does_not_lead_a_write_outside(name: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    out = tmp_path / "out"
    plain = tmp_path / "plain"
    converters.write(drawn("same stem in two folders", tmp_path / "photos"), plain, name, images="copy")
    folders = [folder.relative_to(plain).parent for folder in plain.rglob("x") if folder.is_dir()]
    assert folders
    for folder in folders:
        (out / folder).mkdir(parents=True, exist_ok=True)
        (out / folder / "x").symlink_to(outside, target_is_directory=True)
    with pytest.raises(SamlabelError, match="outside"):
        converters.write(drawn("same stem in two folders", tmp_path / "photos"), out, name, images="copy")
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("name", FORMATS)
def test_an_option_that_a_format_lacks_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(SamlabelError, match="no option 'segmentatoin'"):
        converters.write(drawn("hole", tmp_path / "photos"), tmp_path / "out", name, segmentatoin="rle")


@pytest.mark.parametrize("name", FORMATS)
def test_a_category_that_is_not_listed_is_refused(name: str, tmp_path: Path) -> None:
    dataset = drawn("hole", tmp_path / "photos")
    with pytest.raises(SamlabelError, match="category_id 1 "):
        converters.write(Dataset((), dataset.records, dataset.image_root), tmp_path / "out", name)


@pytest.mark.parametrize("images", ["copy", "hardlink", "symlink", "none"])
@pytest.mark.parametrize("name", FORMATS)
def test_images_come_along_as_asked(name: str, images: str, tmp_path: Path) -> None:
    converters.write(drawn("hole", tmp_path / "photos"), tmp_path / "out", name, images=images)
    found = [f for f in (tmp_path / "out").rglob("a.png") if f.parent.name not in LABEL_PICTURES]
    assert len(found) == (images != "none")
    if found:
        source = tmp_path / "photos" / "a.png"
        assert found[0].is_symlink() == (images == "symlink")
        assert found[0].samefile(source) == (images != "copy")
        assert found[0].read_bytes() == source.read_bytes()


def test_a_missing_image_is_one_clear_line(tmp_path: Path) -> None:
    dataset = drawn("hole", tmp_path / "photos")
    (tmp_path / "photos" / "a.png").unlink()
    with pytest.raises(SamlabelError, match="a.png: no such image"):
        converters.write(dataset, tmp_path / "out", "yolo")
