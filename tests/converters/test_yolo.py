"""YOLO: ultralytics' own loader reads what we write, pixel for pixel; what we read is checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import converters
from samlabel.errors import FormatError
from samlabel.types import Category, Dataset, Mask
from tests.converters.cases import CASES, HOLED, NESTED, SIZE, TWO, drawn, one, rectangle, thing

ONE_PART = ["hole", "one pixel", "one pixel in the last corner", "line of one pixel's width", "every border"]


def dataset_of(folder: Path, rows: str, *, names: str = "names: [a, b, c]", label: str = "a.txt") -> Path:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "labels").mkdir(exist_ok=True)
    Image.new("RGB", SIZE[::-1]).save(folder / "images" / "a.png")
    (folder / "labels" / label).write_text(rows, encoding="utf-8")
    (folder / "data.yaml").write_text(f"train: images\nval: images\n{names}\n", encoding="utf-8")
    return folder


def loader(folder: Path, task: str = "segment"):
    """ultralytics' own dataset for a data.yaml, images at their own size and no augmentation."""
    pytest.importorskip("ultralytics")
    from ultralytics.cfg import get_cfg
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    data = check_det_dataset(str(folder / "data.yaml"))
    settings = get_cfg(overrides={"mask_ratio": 1, "overlap_mask": False})
    longest = max(max(Image.open(f).size) for f in (folder / "images").rglob("*.*"))
    size = -(-longest // 32) * 32
    return YOLODataset(
        img_path=data["train"], data=data, task=task, imgsz=size, augment=False, hyp=settings, rect=False
    )


def loaded_masks(folder: Path) -> dict[str, list[tuple[str, np.ndarray]]]:
    """Per image, the class name and the mask of every object as ultralytics trains on it, letterbox taken off."""
    dataset = loader(folder)
    found = {}
    for index in range(len(dataset)):
        item = dataset[index]
        masks, classes = item["masks"].numpy().astype(bool), item["cls"].numpy().ravel().astype(int)
        height, width = item["ori_shape"]
        assert item["resized_shape"][0] >= height
        top, left = (item["img"].shape[1] - height) // 2, (item["img"].shape[2] - width) // 2
        names = [dataset.data["names"][c] for c in classes]
        crops = [m[top : top + height, left : left + width] for m in masks[: len(names)]]
        key = Path(item["im_file"]).relative_to(folder / "images").as_posix()
        found[key] = list(zip(names, crops, strict=True))
    return found


def draw_at_loader_size(case: str, folder: Path) -> Dataset:
    """A case on images of 64 x 64, so that ultralytics does not resize them; masks stay where they are."""
    categories, records = CASES[case]

    def grown(mask: Mask) -> Mask:
        canvas = np.zeros((64, 64), bool)
        canvas[: mask.size[0], : mask.size[1]] = mask.to_pixels()
        return Mask.from_pixels(canvas)

    folder.mkdir()
    moved = []
    for record in records:
        objects = [thing(grown(a.mask), a.category_id) for a in record.annotations]
        moved += one(*objects, path=record.path, size=(64, 64))
        (folder / record.path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64)).save(folder / record.path)
    return Dataset(categories, moved, folder)


@pytest.mark.parametrize("case", [*ONE_PART, "names", "same stem, two extensions", "same stem in two folders"])
def test_ultralytics_loads_each_object_with_its_own_pixels_and_name(case: str, tmp_path: Path) -> None:
    dataset = draw_at_loader_size(case, tmp_path / "photos")
    converters.write(dataset, tmp_path / "out", "yolo")
    names = {c.id: c.name for c in dataset.categories}
    loaded = loaded_masks(tmp_path / "out")
    assert len(loaded) == len(dataset.records)
    for record in dataset.records:
        found = loaded.get(record.path) or loaded[record.path.replace("a.png", "a_png.png")]
        assert len(found) == len(record.annotations)
        for annotation, (name, pixels) in zip(record.annotations, found, strict=True):
            assert name == names[annotation.category_id]
            if len(annotation.mask.to_polygons()) == 1:
                assert np.array_equal(pixels, annotation.mask.to_pixels())
            else:  # parts are joined by a line of one pixel's width
                assert not (annotation.mask.to_pixels() & ~pixels).any()
                assert pixels.sum() - annotation.mask.area <= 20


def test_a_bridge_between_parts_costs_no_more_than_the_gap(tmp_path: Path) -> None:
    two = Mask.from_pixels(np.pad(TWO.to_pixels(), ((0, 40), (0, 32))))
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    report = converters.write(
        Dataset((Category(0, "x"),), one(thing(two, 0), size=(64, 64)), tmp_path), tmp_path / "out", "yolo"
    )
    assert report.losses["parts-bridged"] == 1
    ((_, pixels),) = loaded_masks(tmp_path / "out")["a.png"]
    assert pixels.sum() - two.area <= 15  # from (6, 6) to (20, 12)


def test_an_image_without_objects_is_a_background_for_ultralytics(tmp_path: Path) -> None:
    dataset = draw_at_loader_size("empty image", tmp_path / "photos")
    converters.write(dataset, tmp_path / "out", "yolo")
    assert (tmp_path / "out" / "labels" / "a.txt").read_bytes() == b""
    assert [len(objects) for objects in loaded_masks(tmp_path / "out").values()] == [0, 1]


@pytest.mark.parametrize("case", ["boxes alone", "boxes among masks"])
def test_ultralytics_loads_boxes_alone_and_boxes_made_rectangles(case: str, tmp_path: Path) -> None:
    dataset = drawn(case, tmp_path / "photos")
    converters.write(dataset, tmp_path / "out", "yolo")
    alone = case == "boxes alone"
    labels = loader(tmp_path / "out", "detect" if alone else "segment").labels
    assert [len(label["cls"]) for label in labels] == [2]
    assert len(labels[0]["segments"]) == (0 if alone else 2)


def test_box_files_written_before_the_first_mask_are_made_rectangles_too(tmp_path: Path) -> None:
    boxes = CASES["boxes alone"]
    records = boxes[1] + one(thing(HOLED), path="b.png")
    report = converters.write(Dataset(boxes[0], records), tmp_path / "out", "yolo", images="none")
    assert report.losses["box-became-mask"] == 2
    rows = (tmp_path / "out" / "labels" / "a.txt").read_text(encoding="utf-8").splitlines()
    assert [len(row.split()) for row in rows] == [9, 9]


def test_crowds_are_left_out_when_asked(tmp_path: Path) -> None:
    report = converters.write(drawn("crowd", tmp_path / "photos"), tmp_path / "out", "yolo", crowds="drop")
    assert (report.objects, report.losses["object-lost"]) == (1, 1)
    assert len((tmp_path / "out" / "labels" / "a.txt").read_text(encoding="utf-8").splitlines()) == 1


def test_splits_of_the_folders_are_named_in_data_yaml(tmp_path: Path) -> None:
    records = one(thing(HOLED), path="train/a.png") + one(thing(TWO), path="val/b.png")
    converters.write(Dataset(CASES["hole"][0], records), tmp_path, "yolo", images="none")
    text = (tmp_path / "data.yaml").read_text(encoding="utf-8")
    assert text.startswith("train: images/train\nval: images/val\n") and "Brücke" in text


def test_labels_without_images_are_read_with_a_folder_of_images(tmp_path: Path) -> None:
    dataset = drawn("same stem, two extensions", tmp_path / "photos")
    converters.write(dataset, tmp_path / "out", "yolo", images="none")
    with pytest.raises(FormatError, match="no images"):
        converters.read(tmp_path / "out")
    back = list(converters.read(tmp_path / "out", image_root=tmp_path / "photos").records)
    assert [(r.path, [a.mask for a in r.annotations]) for r in back] == [("a.jpg", [HOLED]), ("a.png", [TWO])]


def test_a_turned_photo_is_measured_upright(tmp_path: Path) -> None:
    folder = dataset_of(tmp_path, "0 0.5 0.5 1 1\n")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(folder / "images" / "a.png", exif=exif)
    (record,) = converters.read(folder).records
    assert record.size == (40, 20)
    assert record.annotations[0].box == (0, 0, 20, 40)


def test_polygons_of_other_tools_are_taken_at_their_true_place(tmp_path: Path) -> None:
    rows = "1 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75\n"
    (record,) = converters.read(dataset_of(tmp_path, rows)).records
    assert record.annotations[0].mask == rectangle(8, 6, 24, 18)


@pytest.mark.parametrize("layout", ["no data.yaml", "obj.names", "labels beside images", "list file", "roboflow"])
def test_layouts_of_other_tools_are_read(layout: str, tmp_path: Path) -> None:
    folder = dataset_of(tmp_path / "set", "1 0.5 0.5 0.5 0.5\r\n", names="names: {0: a, 1: b}")
    names = ["a", "b"]
    if layout in ("no data.yaml", "obj.names", "labels beside images"):
        (folder / "data.yaml").unlink()
        names = ["class_0", "class_1"]
    if layout == "obj.names":
        (folder / "obj.names").write_text("a\nb\n", encoding="utf-8")
        names = ["a", "b"]
    if layout == "labels beside images":
        (folder / "obj.names").write_text("a\nb\n", encoding="utf-8")
        (folder / "images" / "a.png").rename(folder / "a.png")
        (folder / "labels" / "a.txt").rename(folder / "a.txt")
        names = ["a", "b"]
    if layout == "list file":
        (folder / "train.txt").write_text("\ufeff./images/a.png\n", encoding="utf-8")
        (folder / "data.yaml").write_text("train: train.txt\nnames: [a, b]\n", encoding="utf-8")
    if layout == "roboflow":
        (folder / "train").mkdir()
        (folder / "images").rename(folder / "train" / "images")
        (folder / "labels").rename(folder / "train" / "labels")
        (folder / "data.yaml").write_text("train: ../train/images\nnc: 2\nnames: ['a', 'b']\n", encoding="utf-8")
    assert converters.detect_format(folder)[0].name == "yolo"
    dataset = converters.read(folder)
    (record,) = dataset.records
    assert [c.name for c in dataset.categories] == names
    assert [(a.category_id, a.box, a.mask) for a in record.annotations] == [(1, (8, 6, 24, 18), None)]
    assert (dataset.image_root / record.path).is_file()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("3 0.5 0.5 0.1 0.1", "class 3 is beyond"),
        ("-1 0.5 0.5 0.1 0.1", "class -1"),
        ("0.5 0.5 0.5 0.1 0.1", "class 0.5"),
        ("nan 0.5 0.5 0.1 0.1", "class nan"),
        ("1e999 0.5 0.5 0.1 0.1", "class 1e999"),
        ("0 0.5 0.5 0.1", "3 numbers"),
        ("0", "0 numbers"),
        ("0 0.5 nan 0.1 0.1", "nan is not a share"),
        ("0 0.5 inf 0.1 0.1", "inf is not a share"),
        ("0 5 5 20 20", "5 is not a share"),
        ("0 0.5 0.5 -0.005 0.1", "negative"),
        ("cat 0.5 0.5 0.1 0.1", "not a row of numbers"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_row_is_one_line_with_file_line_and_rule(row: str, words: str, tmp_path: Path) -> None:
    folder = dataset_of(tmp_path, f"0 0.5 0.5 0.1 0.1\n\n{row}\n")
    with pytest.raises(FormatError, match=words) as error:
        list(converters.read(folder).records)
    assert str(error.value).startswith(f"{folder / 'labels' / 'a.txt'}:3: ") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("names: 5", "names"),
        ("names: [a\n", "data.yaml"),
        ("names: {x: 1}", "names"),
        ("names: [a, b]\nnc: 3", "nc is 3"),
        ("path: 7\nnames: [a]", "path"),
        ("test: {a: b}\nnames: [a]", "test"),
        ("names: !!python/object/apply:os.system [echo]", "data.yaml"),
    ],
    ids=str,
)
def test_a_broken_data_yaml_is_one_line(names: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=words) as error:
        converters.read(dataset_of(tmp_path, "", names=names), "yolo")
    assert "\n" not in str(error.value)


def test_a_label_without_its_image_is_not_passed_over(tmp_path: Path) -> None:
    folder = dataset_of(tmp_path, "0 0.5 0.5 0.1 0.1\n", label="b.txt")
    with pytest.raises(FormatError, match="without its image"):
        converters.read(folder)


def test_an_image_that_is_none_is_a_format_error(tmp_path: Path) -> None:
    folder = dataset_of(tmp_path, "")
    (folder / "images" / "a.png").write_bytes(b"no picture")
    with pytest.raises(FormatError, match="a.png"):
        list(converters.read(folder).records)


def test_a_split_that_does_not_exist_is_named(tmp_path: Path) -> None:
    folder = dataset_of(tmp_path, "")
    (folder / "data.yaml").write_text("train: images\nval: other\nnames: [a]\n", encoding="utf-8")
    with pytest.raises(FormatError, match="val: other does not exist"):
        converters.read(folder)


def test_our_rows_come_back_exactly_at_any_size_of_image(tmp_path: Path) -> None:
    for size in ((24, 32), (700, 31), (3, 9001)):
        canvas = np.zeros(size, bool)
        canvas[: min(24, size[0]), -min(32, size[1]) :] = NESTED.to_pixels()[: size[0], -size[1] :]
        canvas[0, 0] = True
        mask = Mask.from_pixels(canvas)
        home = tmp_path / str(size[1])
        home.mkdir()
        Image.new("L", size[::-1]).save(home / "a.png")
        dataset = Dataset((Category(0, "x"),), one(thing(mask, 0), size=size), home)
        converters.write(dataset, home / "out", "yolo")
        (record,) = converters.read(home / "out").records
        assert record.annotations[0].mask == mask
