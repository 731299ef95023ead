"""A dataset of a stranger reads nothing outside itself, and nothing but images is copied out of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

import converters
from samlabel import OutputOptions, auto_annotate
from samlabel.cli import app
from samlabel.datasets.check import check
from samlabel.detectors import load
from samlabel.errors import FormatError, ImageError, LeadsOutside, SamlabelError
from samlabel.types import Category, Dataset, ImageRecord

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links need rights there")

SIZE = (40, 60)  # of what `fakes.draw` draws
COPIES = ("yolo", "sa1b", "voc", "labelme", "coco", "cvat", "png", "labelstudio")  # formats that hold images


def coco(folder: Path, *names: str) -> Path:
    """A COCO file in `folder` of these images, without objects."""
    folder.mkdir(parents=True, exist_ok=True)
    images = [{"id": n, "file_name": name, "width": SIZE[1], "height": SIZE[0]} for n, name in enumerate(names, 1)]
    content = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "thing"}]}
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def yolo(folder: Path, names: str = "[thing]", **places: str) -> Path:
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{key}: {value}\n" for key, value in places.items())
    (folder / "data.yaml").write_text(f"names: {names}\n{lines}")
    return folder


def cli(*words: Any) -> tuple[int, str]:
    """Exit code, and the error on one line."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    return (
        (done.exception.exit_code, str(done.exception))
        if isinstance(done.exception, SamlabelError)
        else (
            done.exit_code,
            done.output,
        )
    )


@pytest.fixture
def secret(tmp_path: Path, fakes: ModuleType) -> Path:
    """An image of the user's, outside of any dataset."""
    return fakes.draw(tmp_path / "home" / "secret.png", (1, 1, 9, 9, fakes.RED))


@pytest.fixture
def passwd(tmp_path: Path) -> Path:
    file = tmp_path / "etc" / "passwd"
    file.parent.mkdir()
    file.write_text("root:x:0:0:root:/root:/bin/bash\n" * 20)
    return file


def contents(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()]


# A dataset of COCO whose image is a link to the secret, in each way a link can lead there.


def link_of_a_file(folder: Path, secret: Path) -> None:
    (folder / "a.png").symlink_to(secret)


def link_of_a_folder(folder: Path, secret: Path) -> None:
    (folder / "secret.png").unlink(missing_ok=True)
    (folder / "images").symlink_to(secret.parent)
    coco(folder, "images/secret.png")


def relative_link(folder: Path, secret: Path) -> None:
    (folder / "a.png").symlink_to(os.path.relpath(secret, folder))


def link_of_a_link(folder: Path, secret: Path) -> None:
    (folder / "b.png").symlink_to(secret)
    (folder / "a.png").symlink_to("b.png")


def link_to_a_folder_and_back(folder: Path, secret: Path) -> None:
    (folder / "away").symlink_to(secret.parent)
    (folder / "a.png").symlink_to("away/secret.png")


def link_with_dots(folder: Path, secret: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "a.png").symlink_to(f"deep/../../{secret.relative_to(folder.parent)}")


WAYS = [link_of_a_file, link_of_a_folder, relative_link, link_of_a_link, link_to_a_folder_and_back, link_with_dots]


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def linked(request: pytest.FixtureRequest, tmp_path: Path, secret: Path) -> Path:
    folder = coco(tmp_path / "stranger", "a.png")
    request.param(folder, secret)
    return folder


@pytest.mark.parametrize("images", ["copy", "hardlink", "symlink"])
def test_no_image_is_placed_through_a_link_out_of_the_dataset(linked: Path, tmp_path: Path, images: str) -> None:
    with pytest.raises(LeadsOutside, match=r"leads to .*secret\.png, outside .*--follow-links") as caught:
        converters.convert(linked, tmp_path / "out", to="yolo", images=images)
    assert caught.value.exit_code == 4 and "\n" not in str(caught.value)
    assert not list((tmp_path / "out").rglob("*.png"))


@pytest.mark.parametrize("to", COPIES)
def test_no_format_copies_through_a_link_out_of_the_dataset(tmp_path: Path, secret: Path, to: str) -> None:
    link_of_a_file(coco(tmp_path / "stranger", "a.png"), secret)
    with pytest.raises(LeadsOutside):
        converters.convert(tmp_path / "stranger", tmp_path / "out", to=to, images="copy", allow_lossy=True)
    assert secret.read_bytes() not in contents(tmp_path / "out")


def test_no_image_is_embedded_through_a_link_out_of_the_dataset(linked: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(LeadsOutside):
        converters.convert(linked, tmp_path / "out", to="parquet", pictures="embed")
    assert not list((tmp_path / "out").rglob("*.parquet"))


COMMANDS: dict[str, Callable[[Path, Path], list[Any]]] = {
    "convert": lambda data, out: ["convert", data, out, "--to", "yolo"],
    "stats": lambda data, out: ["stats", data],
    "view": lambda data, out: ["view", data, "-o", out],
    "filter": lambda data, out: ["filter", data, out, "--to", "yolo"],
    "split": lambda data, out: ["split", data, out, "--to", "yolo", "--part", "a=0.5", "--part", "b=0.5"],
    "merge": lambda data, out: ["merge", data, data, "-o", out, "--to", "yolo"],
    "check": lambda data, out: ["check", data],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_a_link_out_of_the_dataset_and_names_the_flag(
    tmp_path: Path, secret: Path, command: str
) -> None:
    data = coco(tmp_path / "stranger", "a.png", "b.png")
    for name in ("a.png", "b.png"):
        (data / name).symlink_to(secret)
    words = COMMANDS[command](data, tmp_path / "out")
    code, said = cli(*words)
    assert code == 4 and "a.png" in said and str(secret) in said and "--follow-links" in said
    code, said = cli(*words, "--follow-links")
    assert code == 0, said


@pytest.mark.parametrize("command", COMMANDS)
def test_image_root_allows_links_into_it(tmp_path: Path, secret: Path, command: str) -> None:
    data = coco(tmp_path / "stranger", "a.png", "b.png")
    for name in ("a.png", "b.png"):
        (data / name).symlink_to(secret)
        (secret.parent / name).symlink_to(secret)
    code, said = cli(*COMMANDS[command](data, tmp_path / "out"), "--image-root", secret.parent)
    assert code == 0, said


@pytest.mark.parametrize("key", ["path", "train", "val", "test"])
@pytest.mark.parametrize("form", ["absolute", "relative"])
def test_a_folder_that_data_yaml_names_outside_is_not_read(tmp_path: Path, secret: Path, key: str, form: str) -> None:
    data = tmp_path / "stranger"
    place = str(secret.parent) if form == "absolute" else "../home"
    yolo(data, **{"train": ".", key: place})
    (data / "labels" / "secret.txt").write_text("")
    (secret.parent / "secret.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    with pytest.raises(LeadsOutside, match=rf"data\.yaml: {key}: .*leads to .*home, outside .*--follow-links"):
        converters.convert(data, tmp_path / "out", to="coco", images="copy", allow_lossy=True)
    assert secret.read_bytes() not in contents(tmp_path / "out") if (tmp_path / "out").exists() else True
    found = list(converters.read(data, follow_links=True).records)
    assert [record.path.rpartition("/")[2] for record in found] == ["secret.png"]


def test_a_list_file_of_data_yaml_names_no_image_outside(tmp_path: Path, secret: Path) -> None:
    data = yolo(tmp_path / "stranger", train="train.txt")
    for name in (str(secret), "../home/secret.png", "./../home/secret.png"):
        (data / "train.txt").write_text(name + "\n")
        for follow in (False, True):
            with pytest.raises(SamlabelError, match="--image-root"):
                list(converters.read(data, follow_links=follow).records)


LABELS = {
    "coco": ("annotations.json", '{"images": [], "annotations": [], "categories": []}'),
    "yolo": ("data.yaml", "names: [a]\n"),
    "labelme": ("a.json", '{"shapes": [], "imagePath": "a.png", "imageHeight": 4, "imageWidth": 4}'),
    "sa1b": (
        "a.json",
        '{"image": {"image_id": 1, "width": 4, "height": 4, "file_name": "a.jpg"}, "annotations": []}',
    ),
    "png": ("objects.json", '{"categories": [], "pictures": []}'),
    "cvat": ("annotations.xml", "<annotations><meta/></annotations>"),
    "labelstudio": ("annotations.json", '[{"data": {"image": "a.png"}, "annotations": []}]'),
    "voc": (
        "a.xml",
        "<annotation><filename>a.jpg</filename><size><width>4</width><height>4</height></size></annotation>",
    ),
}


@pytest.mark.parametrize("format", LABELS)
def test_a_label_file_that_is_a_link_out_of_the_dataset_is_not_read(tmp_path: Path, format: str) -> None:
    name, text = LABELS[format]
    (tmp_path / "home").mkdir()
    (tmp_path / "stranger").mkdir()
    (tmp_path / "home" / name).write_text(text)
    (tmp_path / "stranger" / name).symlink_to(tmp_path / "home" / name)
    with pytest.raises(LeadsOutside):
        list(converters.read(tmp_path / "stranger", format).records)
    with pytest.raises(LeadsOutside):
        list(converters.read(tmp_path / "stranger", format, lenient=converters.Lenient()).records)


@pytest.mark.parametrize("form", ["file", "folder"])
def test_labels_of_yolo_behind_a_link_out_of_the_dataset_are_not_read(
    tmp_path: Path, fakes: ModuleType, form: str
) -> None:
    data = yolo(tmp_path / "stranger")
    fakes.draw(data / "images" / "a.png")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    if form == "file":
        (data / "labels" / "a.txt").symlink_to(tmp_path / "home" / "a.txt")
    else:
        (data / "labels").rmdir()
        (data / "labels").symlink_to(tmp_path / "home")
    with pytest.raises(LeadsOutside):
        list(converters.read(data).records)


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("labels/a.txt", "0 0.5 0.5 0.1 0.1\n"),
        ("a.txt", "0 0.5 0.5 0.1 0.1\n"),
        ("Annotations/a.xml", "<annotation><size><width>9</width><height>9</height></size></annotation>"),
    ],
    ids=["yolo", "bare yolo", "voc"],
)
def test_the_detector_labels_reads_no_label_behind_a_link_out_of_its_dataset(
    tmp_path: Path, label: str, text: str
) -> None:
    data, home = tmp_path / "stranger", tmp_path / "home"
    (data / label).parent.mkdir(parents=True)
    home.mkdir()
    (home / "secret").write_text(text)
    (data / label).symlink_to(home / "secret")
    with pytest.raises(LeadsOutside):
        load(f"labels:{data}")
    assert load(f"labels:{data}", follow_links=True).info.categories is not None


def test_the_detector_labels_takes_no_names_from_behind_a_link_out_of_its_dataset(tmp_path: Path) -> None:
    data, home = tmp_path / "stranger", tmp_path / "home"
    (data / "labels").mkdir(parents=True)
    home.mkdir()
    (home / "data.yaml").write_text("names: [thing]\n")
    (data / "data.yaml").symlink_to(home / "data.yaml")
    (data / "labels" / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    for folder in (data, data / "labels"):
        with pytest.raises(LeadsOutside):
            load(f"labels:{folder}")
        assert [one.name for one in load(f"labels:{folder}", follow_links=True).info.categories] == ["thing"]


def test_a_dataset_that_is_accepted_reads_nothing_outside(
    tmp_path: Path, photos: Path, fakes: ModuleType, secret: Path
) -> None:
    data = yolo(tmp_path / "stranger")
    (data / "images").mkdir()
    (data / "images" / "a.png").symlink_to(photos / "a.png")
    (data / "labels" / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")

    def run(**options: Any) -> Any:
        models = {"detector": fakes.Detector(), "segmenter": fakes.Segmenter()}
        output = OutputOptions(accept=data, **options)
        return auto_annotate(photos, output_dir=tmp_path / "out", device="cpu", output=output, **models)

    with pytest.raises(LeadsOutside):
        run()
    assert run(follow_links=True).human == 1


@pytest.mark.parametrize("name", ["../home/secret.png", "{secret}", "x/../../home/secret.png"])
@pytest.mark.parametrize("follow", [False, True])
def test_a_name_that_is_absolute_or_climbs_needs_the_folder_of_the_images(
    tmp_path: Path, secret: Path, name: str, follow: bool
) -> None:
    data = coco(tmp_path / "stranger", name.format(secret=secret))
    with pytest.raises(FormatError, match="--image-root"):
        converters.convert(data, tmp_path / "out", to="yolo", follow_links=follow)


@pytest.mark.parametrize("name", ["{root}/deep/a.png", "deep/../deep/a.png", "../photos/deep/a.png"])
def test_a_name_that_leads_into_the_folder_of_the_images_is_taken(tmp_path: Path, fakes: ModuleType, name: str) -> None:
    root = tmp_path / "photos"
    fakes.draw(root / "deep" / "a.png")
    data = coco(tmp_path / "set", name.format(root=root))
    assert [one.path for one in converters.read(data, image_root=root).records] == ["deep/a.png"]


@pytest.mark.parametrize("name", ["{secret}", "../home/secret.png", "way/secret.png"])
def test_a_name_that_leads_out_of_the_folder_of_the_images_is_refused(tmp_path: Path, secret: Path, name: str) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    (root / "way").symlink_to(secret.parent)
    data = coco(tmp_path / "set", name.format(secret=secret))
    with pytest.raises((FormatError, LeadsOutside), match=r"leads to .*secret\.png, outside"):
        converters.convert(data, tmp_path / "out", to="yolo", image_root=root)


@pytest.mark.parametrize("beside", ["", "images"])
def test_the_folder_beside_a_dataset_is_not_searched_for_its_images(
    tmp_path: Path, fakes: ModuleType, beside: str
) -> None:
    fakes.draw(tmp_path / beside / "private" / "a.png")
    data = coco(tmp_path / "stranger", "private/a.png")
    assert converters.read(data).image_root is None


def test_images_beside_a_folder_of_annotations_are_found(tmp_path: Path, fakes: ModuleType) -> None:
    fakes.draw(tmp_path / "set" / "images" / "a.png")
    data = coco(tmp_path / "set" / "annotations", "a.png")
    for named in (data, data / "annotations.json", tmp_path / "set"):
        converters.convert(named, tmp_path / f"out-{named.name}", to="yolo")
        assert (tmp_path / f"out-{named.name}" / "images" / "a.png").is_file()


def test_the_named_folder_itself_may_be_a_link(tmp_path: Path, fakes: ModuleType) -> None:
    fakes.draw(coco(tmp_path / "real", "a.png") / "a.png")
    (tmp_path / "set").symlink_to(tmp_path / "real")
    (tmp_path / "labels.json").symlink_to(tmp_path / "real" / "annotations.json")
    converters.convert(tmp_path / "set", tmp_path / "out", to="yolo")
    assert (tmp_path / "out" / "images" / "a.png").is_file()
    assert [one.path for one in converters.read(tmp_path / "labels.json").records] == ["a.png"]


def test_links_within_a_dataset_are_followed(tmp_path: Path, fakes: ModuleType) -> None:
    data = coco(tmp_path / "set", "a.png")
    fakes.draw(data / "blobs" / "0a1b.png")
    (data / "a.png").symlink_to("blobs/0a1b.png")
    converters.convert(data, tmp_path / "out", to="yolo")
    assert (tmp_path / "out" / "images" / "a.png").is_file()


# What is copied or embedded is an image.


def renamed(folder: Path, passwd: Path) -> None:
    (folder / "a.png").write_bytes(passwd.read_bytes())


def followed(folder: Path, passwd: Path) -> None:
    (folder / "a.png").symlink_to(passwd)


def hard_linked(folder: Path, passwd: Path) -> None:
    os.link(passwd, folder / "a.png")


def as_svg(folder: Path, passwd: Path) -> None:
    (folder / "a.png").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")


def as_postscript(folder: Path, passwd: Path) -> None:
    (folder / "a.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 60 40\n%%EndComments\n")


NO_IMAGES = [renamed, followed, hard_linked, as_svg, as_postscript]


@pytest.mark.parametrize("way", NO_IMAGES, ids=lambda way: way.__name__)
@pytest.mark.parametrize("images", ["copy", "hardlink", "symlink"])
def test_what_is_no_image_is_not_placed(
    tmp_path: Path, passwd: Path, way: Callable[[Path, Path], None], images: str
) -> None:
    data = coco(tmp_path / "stranger", "a.png")
    way(data, passwd)
    with pytest.raises(ImageError, match=r"a\.png: not an image in a known format") as caught:
        converters.convert(data, tmp_path / "out", to="sa1b", images=images, follow_links=True)
    assert "\n" not in str(caught.value) and not list((tmp_path / "out").rglob("*.png"))


@pytest.mark.parametrize("way", NO_IMAGES, ids=lambda way: way.__name__)
def test_what_is_no_image_is_not_embedded(tmp_path: Path, passwd: Path, way: Callable[[Path, Path], None]) -> None:
    pytest.importorskip("pyarrow")
    data = coco(tmp_path / "stranger", "a.png")
    way(data, passwd)
    with pytest.raises(ImageError, match="not an image in a known format"):
        converters.convert(data, tmp_path / "out", to="parquet", pictures="embed", follow_links=True)
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_a_file_inside_parquet_that_is_no_image_is_not_copied(tmp_path: Path, passwd: Path, fakes: ModuleType) -> None:
    pyarrow, tables = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    row = {"image": {"bytes": passwd.read_bytes(), "path": "a.png"}, "width": 60, "height": 40}
    row["objects"] = {"bbox": [], "category": []}
    schema = pyarrow.schema(
        [
            ("image", pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])),
            ("width", pyarrow.int64()),
            ("height", pyarrow.int64()),
            (
                "objects",
                pyarrow.struct(
                    [
                        ("bbox", pyarrow.list_(pyarrow.list_(pyarrow.float64()))),
                        ("category", pyarrow.list_(pyarrow.int64())),
                    ]
                ),
            ),
        ]
    )
    (tmp_path / "set").mkdir()
    tables.write_table(pyarrow.Table.from_pylist([row], schema=schema), tmp_path / "set" / "a.parquet")
    with pytest.raises(ImageError, match="not an image"):
        converters.convert(tmp_path / "set", tmp_path / "out", to="sa1b")
    assert passwd.read_bytes() not in contents(tmp_path / "out")


def test_a_picture_of_postscript_is_not_compared_by_stats(tmp_path: Path, passwd: Path) -> None:
    data = coco(tmp_path / "stranger", "a.png")
    as_postscript(data, passwd)
    from samlabel.datasets.likeness import picture_hash

    assert picture_hash(data / "a.png") is None
    assert check(data).counts["image-unreadable"] == 1


@pytest.mark.parametrize("format", ["yolo", "coco"])
def test_a_pipe_in_a_dataset_is_not_waited_for(tmp_path: Path, fakes: ModuleType, format: str) -> None:
    data = yolo(tmp_path / "set") if format == "yolo" else coco(tmp_path / "set", "images/a.png")
    (data / "images").mkdir()
    (data / "labels").mkdir(exist_ok=True)
    (data / "labels" / "a.txt").write_text("")
    os.mkfifo(data / "images" / "a.png")
    with pytest.raises(SamlabelError):
        list(converters.read(data).records)
        converters.convert(data, tmp_path / "out", to="sa1b")


# What samlabel wrote with links is read back.


def test_the_links_of_a_run_are_read_back_without_a_flag(photos: Path, tmp_path: Path, fakes: ModuleType) -> None:
    (tmp_path / "cache").mkdir()
    (photos / "a.png").rename(tmp_path / "cache" / "0a1b")  # a cache of datasets is made of links
    (photos / "a.png").symlink_to("../cache/0a1b")
    out = tmp_path / "out"
    auto_annotate(
        photos,
        output_dir=out,
        detector=fakes.Detector(),
        segmenter=fakes.Segmenter(),
        device="cpu",
        formats=("yolo", "sa1b"),
        output=OutputOptions(place_images="symlink"),
    )
    for path in (out / "yolo", out / "yolo" / "data.yaml"):
        assert [one.path for one in converters.read(path).records] == ["a.png", "deep/b c.png", "zzz.png"]
    for name in ("yolo", "sa1b"):
        assert cli("convert", out / name, tmp_path / f"to-{name}", "--to", "voc", "--allow-lossy")[0] == 0
        assert cli("check", out / name, "--fail-on", "error")[0] == 0


@pytest.mark.parametrize("command", ["convert", "filter", "split", "merge"])
def test_the_links_of_a_dataset_are_read_back_without_a_flag(
    photos: Path, tmp_path: Path, fakes: ModuleType, command: str
) -> None:
    data = coco(photos, "a.png", "zzz.png")
    out = tmp_path / "out"
    assert cli(*COMMANDS[command](data, out), "--images", "symlink")[0] == 0
    names = [one.path.rpartition("/")[2] for one in converters.read(out).records]
    assert sorted(names) == ["a.png", "zzz.png"]
    assert cli("convert", out, tmp_path / "again", "--to", "sa1b")[0] == 0


def test_a_note_reaches_only_the_folders_that_it_names(tmp_path: Path, photos: Path, secret: Path) -> None:
    data = coco(photos, "a.png", "zzz.png")
    out = tmp_path / "out"
    converters.convert(data, out, to="yolo", images="symlink")
    (out / "images" / "zzz.png").unlink()
    (out / "images" / "zzz.png").symlink_to(secret)
    with pytest.raises(LeadsOutside):
        list(converters.read(out).records)


@pytest.mark.parametrize("note", ["{", "[]", '{"images": 3}', '{"images": [3, null]}', "[" * 100_000])
def test_a_broken_note_allows_nothing(tmp_path: Path, secret: Path, note: str) -> None:
    data = coco(tmp_path / "stranger", "a.png")
    link_of_a_file(data, secret)
    (data / ".samlabel").mkdir()
    for name in ("settings.json", "links.json"):
        (data / ".samlabel" / name).write_text(note)
    with pytest.raises(LeadsOutside):
        converters.convert(data, tmp_path / "out", to="yolo")


def test_a_dataset_made_by_hand_reads_within_its_own_folder(tmp_path: Path, photos: Path, secret: Path) -> None:
    (photos / "zzz.png").unlink()
    (photos / "zzz.png").symlink_to(secret)
    dataset = Dataset((Category(1, "a"),), [ImageRecord("a.png", SIZE), ImageRecord("zzz.png", SIZE)], photos)
    with pytest.raises(LeadsOutside):
        converters.write(dataset, tmp_path / "out", "yolo")
