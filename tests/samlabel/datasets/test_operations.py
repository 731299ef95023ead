"""Operations on whole datasets: what stays, what is renamed, what goes where."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image, ImageEnhance

import converters
from samlabel.cli import main
from samlabel.datasets import (
    Limits,
    collect,
    groups_of_like,
    merge,
    narrow,
    picture_hash,
    plan,
    read_class_map,
    rename,
    take,
)
from samlabel.datasets.plot import as_png, as_svg
from samlabel.errors import FormatError, UnknownName, UsageError
from samlabel.types import Annotation, Category, Dataset, ImageRecord, Mask

SIZE = (40, 60)
NAMES = (Category(1, "cat"), Category(2, "dog"), Category(7, "car"))


def square(side: int, category: int = 1, *, at: int = 0, **fields) -> Annotation:
    pixels = np.zeros(SIZE, bool)
    pixels[at : at + side, at : at + side] = True
    mask = Mask.from_pixels(pixels)
    return Annotation(category, mask.box, mask, **fields)


def record(path: str, *annotations: Annotation) -> ImageRecord:
    return ImageRecord(path, SIZE, annotations)


def photo(seed: int, size: tuple[int, int] = (90, 70)) -> Image.Image:
    """A photo of soft patches, another for another seed."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 255, (7, 9, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)


def names_of(dataset: Dataset) -> list[tuple[str, list[str]]]:
    names = {c.id: c.name for c in dataset.categories}
    return [(r.path, [names[a.category_id] for a in r.annotations]) for r in dataset.records]


SET = Dataset(
    NAMES,
    [
        record("a.png", square(5, 1, score=0.9), square(20, 2, score=0.2)),
        record("b.png", square(30, 7), square(3, 7, iscrowd=True)),
        record("c.png"),
    ],
)


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        ({}, [2, 2, 0]),
        ({"classes": ["cat"]}, [1, 0, 0]),
        ({"without": ["cat", "car"]}, [1, 0, 0]),
        ({"min_area": 25}, [2, 1, 0]),
        ({"min_area": 26, "max_area": 400}, [1, 0, 0]),
        ({"min_score": 0.5}, [1, 2, 0]),
        ({"min_score": 0.5, "unscored": False}, [1, 0, 0]),
        ({"crowds": False}, [2, 1, 0]),
    ],
    ids=str,
)
def test_narrow_keeps_what_the_limits_admit_and_every_image(limits: dict, left: list[int]) -> None:
    found = narrow(SET, Limits(**limits))
    for _ in range(2):
        assert [len(r.annotations) for r in found.records] == left
    kept = [r.path for r in narrow(SET, Limits(**limits), drop_empty=True).records]
    assert kept == [path for path, count in zip(("a.png", "b.png", "c.png"), left, strict=True) if count]


def test_narrow_drops_classes_that_no_object_can_have_and_refuses_unknown_ones() -> None:
    assert [c.name for c in narrow(SET, Limits(classes=["dog", "cat"])).categories] == ["cat", "dog"]
    with pytest.raises(UnknownName, match="Did you mean cat"):
        narrow(SET, Limits(classes=["cta"]))
    with pytest.raises(UsageError, match="below min-area"):
        Limits(min_area=9, max_area=3)


def test_rename_joins_classes_of_one_name_and_leaves_out_those_of_none() -> None:
    found = rename(SET, {"cat": "animal", "dog": "animal", "car": None})
    assert [(c.id, c.name) for c in found.categories] == [(1, "animal")]
    assert names_of(found) == [("a.png", ["animal", "animal"]), ("b.png", []), ("c.png", [])]
    with pytest.raises(UnknownName):
        rename(SET, {"cow": "x"})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("map.yaml", "cat: animal\ncar:\n"),
        ("map.json", '{"cat": "animal", "car": null}'),
        ("map.csv", "cat,animal\ncar,\n"),
    ],
)
def test_class_maps_are_read_from_files_and_pairs_win(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_class_map(tmp_path / name) == {"cat": "animal", "car": None}
    assert read_class_map(tmp_path / name, ["cat=pet"])["cat"] == "pet"


@pytest.mark.parametrize(("name", "text"), [("m.yaml", "[1"), ("m.json", "{"), ("m.json", "[]"), ("m.csv", "a,b,c")])
def test_broken_class_maps_are_one_line(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(FormatError, match="class map") as error:
        read_class_map(tmp_path / name)
    assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match="OLD=NEW"):
        read_class_map(None, ["cat"])


def test_merge_joins_classes_by_name_and_gives_numbers_that_are_free() -> None:
    other = Dataset((Category(1, "dog"), Category(2, "bird")), [record("a.png", square(4, 1), square(4, 2))])
    found = merge([SET, other], names=["one", "two"])
    assert [(c.id, c.name) for c in found.categories] == [(1, "cat"), (2, "dog"), (7, "car"), (8, "bird")]
    assert names_of(found)[-1] == ("two/a.png", ["dog", "bird"])
    assert [path for path, _ in names_of(found)] == ["one/a.png", "one/b.png", "one/c.png", "two/a.png"]


def test_merge_keeps_folders_of_pictures_apart_and_joins_objects_of_one_picture(tmp_path: Path) -> None:
    one = Dataset(NAMES, [record("a.png", square(4)), record("b.png")], tmp_path / "x")
    same = Dataset(NAMES, [record("a.png", square(6, 2))], tmp_path / "x")
    far = Dataset(NAMES, [record("a.png", square(8, 7))], tmp_path / "y")
    found = merge([one, far, same])
    assert found.image_root == tmp_path
    assert names_of(found) == [("x/a.png", ["cat", "dog"]), ("x/b.png", []), ("y/a.png", ["car"])]
    turned = Dataset(NAMES, [ImageRecord("a.png", (60, 40))], tmp_path / "x")
    with pytest.raises(UsageError, match="in another"):
        list(merge([one, turned]).records)


def test_merge_keeps_fields_of_the_files_and_the_licence_of_every_image() -> None:
    def one(path: str, licence: int, **extra: object) -> Dataset:
        picture = ImageRecord(path, SIZE, (square(4),), extra={"license": licence, "mine": path})
        return Dataset(NAMES, [picture], None, extra)

    free, paid, own = ({"id": 1, "name": "CC0"}, {"id": 1, "name": "paid"}, {"id": 2, "name": "CC0"})
    found = merge(
        [one("a.png", 1, info={"year": 1}, licenses=[free]), one("b.png", 1, info={"year": 2}, licenses=[paid, own])],
        names=["x", "y"],
    )
    assert found.extra == {"info": {"year": 1}, "info (y)": {"year": 2}, "licenses": [free, {**paid, "id": 2}]}
    assert [dict(r.extra) for r in found.records] == [{"license": 1, "mine": "a.png"}, {"license": 2, "mine": "b.png"}]


def test_like_photos_have_like_hashes_and_others_do_not(tmp_path: Path) -> None:
    photo(1, (400, 300)).save(tmp_path / "a.png")
    photo(1, (400, 300)).save(tmp_path / "b.jpg", quality=40)
    photo(1, (400, 300)).resize((160, 120)).save(tmp_path / "c.png")
    ImageEnhance.Brightness(photo(1, (400, 300))).enhance(1.1).save(tmp_path / "d.png")
    for seed in range(2, 30):
        photo(seed).save(tmp_path / f"{seed}.png")
    Image.new("RGB", (50, 50)).save(tmp_path / "flat.png")
    Image.new("RGB", (50, 50)).save(tmp_path / "flat2.png")
    (tmp_path / "none.png").write_bytes(b"")
    hashes = {f.name: picture_hash(f) for f in sorted(tmp_path.iterdir())}
    assert hashes["flat.png"] is hashes["none.png"] is None
    groups = [group for group in groups_of_like(hashes) if len(group) > 1]
    assert groups == [["a.png", "b.jpg", "c.png", "d.png"]]


def test_hashes_within_the_limit_are_always_found() -> None:
    import random

    rng = random.Random(0)
    base = rng.getrandbits(128)
    hashes = {"base": base}
    for number in range(40):
        changed = base
        for bit in rng.sample(range(128), 8):
            changed ^= 1 << bit
        hashes[str(number)] = changed
    hashes["other"] = rng.getrandbits(128)
    assert sorted(map(len, groups_of_like(hashes))) == [1, 41]


def big_set(folder: Path) -> Dataset:
    records = []
    for number in range(100):
        objects = [square(4, 1) for _ in range(1 + number % 2)]
        objects += [square(6, 2)] if number % 5 == 0 else []
        objects += [square(8, 7)] if number % 20 == 3 else []
        records.append(record(f"{number:03}.png", *objects))
        photo(number // 2 if number < 20 else number + 1000).save(folder / f"{number:03}.png")
    return Dataset(NAMES, records, folder)


def test_a_split_keeps_shares_classes_and_like_photos(tmp_path: Path) -> None:
    whole = big_set(tmp_path)
    shares = {"train": 0.7, "val": 0.2, "test": 0.1}
    found = plan(whole, shares, seed=3)
    assert found.groups == 10 and found.grouped == 20
    assert all(found.part_of[f"{n:03}.png"] == found.part_of[f"{n + 1:03}.png"] for n in range(0, 20, 2))
    for part, share in shares.items():
        assert abs(found.counts()[part] - 100 * share) <= 2
    counts = {
        part: Counter(a.category_id for r in take(whole, found.part_of, part).records for a in r.annotations)
        for part in shares
    }
    assert counts["train"][2] in range(13, 16) and counts["val"][2] in range(3, 6)
    assert counts["train"][7] >= 3 and counts["val"][7] >= 1
    assert plan(whole, shares, seed=3).part_of == found.part_of
    assert plan(whole, shares, seed=4).part_of != found.part_of
    shuffled = Dataset(NAMES, list(reversed(whole.records)), tmp_path)
    assert dict(plan(shuffled, shares, seed=3).part_of) == dict(found.part_of)


@pytest.mark.parametrize(
    "shares", [{"a": 1.0}, {"a": 0.5, "b": 0.6}, {"a": 0.0, "b": 1.0}, {"../a": 0.5, "b": 0.5}], ids=str
)
def test_impossible_shares_are_usage_errors(shares: dict) -> None:
    with pytest.raises(UsageError):
        plan(SET, shares)


def test_stats_count_what_is_there(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        photo(seed).save(tmp_path / f"{name}.png")
    records = [*SET.records, record("d.png", square(5, 1), square(5, 1), Annotation(1, (0, 0, 50, 40)))]
    found = collect(Dataset((*NAMES, Category(9, "unused")), records, tmp_path))
    assert (found.images, found.empty_images, found.objects, found.masks) == (4, 1, 7, 6)
    assert (found.crowds, found.scores, found.repeated_objects) == (1, 2, 1)
    assert [(c.name, c.objects, c.images) for c in found.classes] == [
        ("cat", 4, 2),
        ("car", 2, 1),
        ("dog", 1, 1),
        ("unused", 0, 0),
    ]
    assert found.unused_classes == ["unused"] and found.imbalance == 4
    assert (found.small, found.medium, found.large) == (6, 1, 0)
    assert found.areas["max"] == 2000 and sum(found.area_bins.values()) == 7
    assert found.repeated_examples == ["d.png, object 2"]
    assert found.like_pictures == [["a.png", "b.png"]]
    svg = ElementTree.fromstring(as_svg(found))
    assert "cat" in "".join(svg.itertext()) and svg.attrib["width"] == "760"
    assert collect(Dataset(NAMES, [])).lines()


@pytest.mark.parametrize("name", ['<script>"&' + "x" * 50, "two\nlines\x00\ud800", "", "鳥"])
def test_a_class_name_cannot_break_the_plot(name: str) -> None:
    found = collect(Dataset((Category(1, name),), [record("a.png", square(5))]))
    assert ElementTree.fromstring(as_svg(found)) is not None
    assert as_png(found)


def test_the_plot_as_png_has_a_bar_as_long_as_a_class_is_frequent() -> None:
    found = collect(Dataset(NAMES, [record("a.png", *[square(5, at=n) for n in range(4)], square(9, 2))]))
    pixels = np.asarray(Image.open(io.BytesIO(as_png(found))).convert("RGB")).astype(int)
    assert pixels.shape[1] == 1520
    rows = [n for n in (np.abs(pixels - (0x48, 0x78, 0xA8)).max(axis=2) < 3).sum(axis=1).tolist() if n]
    assert rows[0] == pytest.approx(880, abs=2) and 220 in [pytest.approx(n, abs=2) for n in rows]


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for number in range(20):
        photo(number, (60, 40)).save(tmp_path / "photos" / f"{number:02}.png")
    records = [record(f"{n:02}.png", square(5 + n, 1 if n % 3 else 2, at=1)) for n in range(20)]
    converters.write(Dataset(NAMES, records), tmp_path / "photos" / "annotations.json", "coco")
    return tmp_path / "photos" / "annotations.json"


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def test_the_commands_work_on_files(coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "stats", coco, "--plot", tmp_path / "plot.svg", "--json")
    assert code == 0 and json.loads(out)["objects"] == 20 and (tmp_path / "plot.svg").read_text().startswith("<svg")
    code, _, err = run(capsys, "stats", coco, "--plot", tmp_path / "plot.svg")
    assert code == 2 and "exists already" in err
    code, _, _ = run(capsys, "stats", coco, "--plot", tmp_path / "plot.png")
    assert code == 0 and Image.open(tmp_path / "plot.png").format == "PNG"
    code, _, err = run(capsys, "stats", coco, "--plot", tmp_path / "plot.pdf")
    assert code == 2 and "ends in .svg or .png" in err
    code, out, _ = run(capsys, "stats", coco, "--no-pictures")
    assert code == 0 and "cat\t13\t13" in out and "photos" not in out.replace(str(coco), "")

    code, out, err = run(
        capsys,
        "filter",
        coco,
        tmp_path / "few.json",
        "--rename",
        "dog=hound",
        "--classes",
        "hound",
        "--min-area",
        "100",
        "--drop-empty",
    )
    assert code == 0, err
    assert "stay    5 of 20 images, 5 of 20 objects" in out
    content = json.loads((tmp_path / "few.json").read_text())
    assert [c["name"] for c in content["categories"]] == ["hound"]
    assert [i["file_name"] for i in content["images"]] == ["06.png", "09.png", "12.png", "15.png", "18.png"]

    code, out, err = run(
        capsys,
        "merge",
        coco,
        tmp_path / "few.json",
        "-o",
        tmp_path / "all.json",
        "--image-root",
        coco.parent,
        "--rename",
        "hound=dog",
    )
    assert code == 0, err
    assert len(json.loads((tmp_path / "all.json").read_text())["annotations"]) == 25

    code, out, err = run(capsys, "split", coco, tmp_path / "parts", "--to", "yolo", "--json")
    assert code == 0, err
    parts = json.loads(out)["parts"]
    assert (parts["train"]["images_out"], parts["val"]["images_out"]) == (16, 4)
    back = converters.read(tmp_path / "parts", "yolo")
    assert sum(len(r.annotations) for r in back.records) == 20
    assert [c.name for c in back.categories] == ["cat", "dog", "car"]


@pytest.mark.parametrize(
    ("words", "wanted", "hint"),
    [
        (["filter", "SRC", "OUT", "--classes", "cta"], 2, "Did you mean cat"),
        (["filter", "SRC", "OUT", "--min-area", "-1"], 2, "min-area"),
        (["filter", "SRC", "SRC"], 2, "overwrite"),
        (["filter", "SRC", "OUT", "--map", "missing.yaml"], 2, "missing.yaml"),
        (["merge", "SRC", "-o", "OUT"], 2, "two datasets"),
        (["split", "SRC", "OUT", "--part", "train=2", "--part", "val=1"], 2, "share"),
        (["split", "SRC", "OUT", "--part", "x"], 2, "NAME=SHARE"),
        (["stats", "SRC", "--plot", "x.bmp"], 2, ".svg"),
        (["stats", "missing"], 2, "no dataset"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_words_are_one_line(
    words: list[str], wanted: int, hint: str, coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = coco.read_bytes()
    places = {"SRC": str(coco), "OUT": str(tmp_path / "out.json")}
    code, _, err = run(capsys, *(places.get(word, word) for word in words))
    assert code == wanted and hint in err and err.count("\n") == 1
    assert coco.read_bytes() == before and not (tmp_path / "out.json").exists()


def test_a_lossy_filter_and_split_are_refused_and_write_nothing(
    coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(coco.read_text())
    content["annotations"][3]["score"] = 0.5
    coco.write_text(json.dumps(content))
    for command in ("filter", "split"):
        code, _, err = run(capsys, command, coco, tmp_path / "out", "--to", "yolo")
        assert code == 4 and "score-lost" in err
        assert not (tmp_path / "out").exists()
        code, _, err = run(capsys, command, coco, tmp_path / command, "--to", "yolo", "--allow-lossy")
        assert code == 0, err
