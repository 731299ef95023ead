"""Prepared folders and links: no command writes, moves or deletes outside the folder that it was told."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

import converters
from samlabel.annotate import auto_annotate
from samlabel.cli import main
from samlabel.errors import FormatError, SamlabelError, UsageError
from samlabel.options import OutputOptions
from samlabel.types import Dataset

Run = Callable[..., Any]


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[Path]:
    """A folder of somebody else's, which must be as it was when the test ends."""
    folder = tmp_path / "theirs"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.txt", "sub/a.txt", "index.html", "data.yaml", "annotations.json"):
        (folder / name).write_text("theirs")
    before = seen(folder)
    yield folder
    assert seen(folder) == before


def seen(folder: Path) -> dict[str, str | None]:
    return {one.relative_to(folder).as_posix(): one.read_text() if one.is_file() else None for one in folder.rglob("*")}


@pytest.fixture
def annotate(photos: Path, tmp_path: Path, fakes: ModuleType) -> Run:
    def run(**options: Any) -> Any:
        return auto_annotate(
            photos,
            output_dir=tmp_path / "out",
            detector=fakes.Detector(),
            segmenter=fakes.Segmenter(),
            device="cpu",
            formats=("coco", "yolo"),
            **options,
        )

    return run


@pytest.fixture
def labels(photos: Path, tmp_path: Path, annotate: Run) -> Path:
    """COCO labels of the photos, and the output that they came from."""
    annotate()
    source = tmp_path / "labels.json"
    source.write_bytes((tmp_path / "out" / "coco" / "annotations.json").read_bytes())
    return source


def command(*words: Any) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


# Below the folder that a command writes to: where the link lies, and the words of the command.
LINKS_IN_OUTPUTS = {
    "convert, labels": ("labels", ["convert", "--to", "yolo"]),
    "convert, images at depth": ("images/deep", ["convert", "--to", "yolo"]),
    "convert, labels at depth": ("labels/deep", ["convert", "--to", "yolo"]),
    "labelme at depth": ("deep", ["convert", "--to", "labelme"]),
    "sa1b at depth": ("deep", ["convert", "--to", "sa1b"]),
    "voc": ("SegmentationObject", ["convert", "--to", "voc"]),
    "voc, lists": ("ImageSets/Main", ["convert", "--to", "voc"]),
    "png": ("masks", ["convert", "--to", "png"]),
    "parquet": ("data", ["convert", "--to", "parquet"]),
    "coco, images": ("images", ["convert", "--to", "coco", "--images", "copy"]),
    "labelstudio, images": ("images/deep", ["convert", "--to", "labelstudio", "--images", "copy"]),
    "cvat, images": ("images", ["convert", "--to", "cvat", "--images", "hardlink"]),
    "filter": ("labels", ["filter", "--to", "yolo"]),
    "split": ("train", ["split", "--to", "yolo", "--seed", "3"]),
    "split, deeper": ("val/labels", ["split", "--to", "yolo"]),
    "view": ("pictures", ["view"]),
    "view at depth": ("pictures/deep", ["view"]),
}


@pytest.mark.parametrize("inside", [False, True], ids=["out of the folder", "elsewhere in it"])
@pytest.mark.parametrize(("place", "words"), LINKS_IN_OUTPUTS.values(), ids=LINKS_IN_OUTPUTS)
def test_a_link_in_the_place_of_a_folder_is_refused(
    labels: Path,
    photos: Path,
    tmp_path: Path,
    theirs: Path,
    capsys: pytest.CaptureFixture[str],
    place: str,
    words: list[str],
    inside: bool,
) -> None:
    out = tmp_path / "new"
    (out / place).parent.mkdir(parents=True)
    (out / "elsewhere").mkdir()
    (out / place).symlink_to(out / "elsewhere" if inside else theirs)
    name, *options = words
    common = [out, "--image-root", photos, "--allow-lossy", "--overwrite"]
    target = ["--out", out, "--images", photos] if name == "view" else common
    capsys.readouterr()
    assert command(name, labels, *target, *options) == 2
    assert f"{out / place} is a link to" in capsys.readouterr().err
    assert list((out / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("depth", ["deep", "."])
def test_masks_are_not_written_through_a_link(
    photos: Path, tmp_path: Path, theirs: Path, depth: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "masks").mkdir()
    link = tmp_path / "masks" / ("deep" if depth == "deep" else ".samlabel")
    link.symlink_to(theirs)
    for form in ("png", "coco_rle", "sa1b"):
        code = command("generate", photos, "--output", tmp_path / "masks", "--output-form", form, "--device", "cpu")
        assert code == 2 and f"{link} is a link to" in capsys.readouterr().err
        for one in (tmp_path / "masks").iterdir():
            if one != link and one.is_dir():
                os.rename(one, tmp_path / f"{form} {one.name}")
            elif one != link:
                one.unlink()


TEMPORARY = {
    "body of the page": (".index.body.tmp", ["view"]),
    "page": (".index.html.tmp", ["view"]),
    "overlay": ("pictures/.a.png.jpg.tmp", ["view"]),
    "page itself": ("index.html", ["view"]),
    "overlay itself": ("pictures/a.png.jpg", ["view"]),
    "data.yaml": ("data.yaml", ["convert", "--to", "yolo", "--overwrite"]),
    "a label": ("labels/a.txt", ["convert", "--to", "yolo", "--overwrite"]),
    "an image": ("images/a.png", ["convert", "--to", "yolo", "--overwrite"]),
    "a table": ("annotations.json", ["convert", "--to", "coco", "--overwrite"]),
    "parts": ("data.yaml", ["split", "--to", "yolo"]),
}


@pytest.mark.parametrize(("place", "words"), TEMPORARY.values(), ids=TEMPORARY)
def test_a_link_in_the_place_of_a_file_is_not_followed(
    labels: Path, photos: Path, tmp_path: Path, theirs: Path, place: str, words: list[str]
) -> None:
    out = tmp_path / "new"
    (out / place).parent.mkdir(parents=True)
    (out / place).symlink_to(theirs / "a.txt")
    name, *options = words
    target = ["--out", out, "--images", photos] if name == "view" else [out, "--image-root", photos, "--allow-lossy"]
    assert command(name, labels, *target, *options) == 0


def test_a_drawing_replaces_a_link(labels: Path, tmp_path: Path, theirs: Path) -> None:
    for name in ("plot.svg", ".plot.svg.tmp"):
        (tmp_path / name).symlink_to(theirs / "a.txt")
    assert command("stats", labels, "--plot", tmp_path / "plot.svg", "--overwrite", "--no-pictures") == 0
    assert not (tmp_path / "plot.svg").is_symlink()


def test_a_log_is_not_appended_to_through_a_link(photos: Path, tmp_path: Path, theirs: Path) -> None:
    (tmp_path / "log.jsonl").symlink_to(theirs / "a.txt")
    assert command("annotate", photos, "--out", tmp_path / "out", "--log", tmp_path / "log.jsonl") == 2


def test_an_export_replaces_links_and_keeps_older_files_when_it_fails(tmp_path: Path, theirs: Path) -> None:
    from samlabel.segmenters.sam import export

    out = tmp_path / "onnx"
    out.mkdir()
    (out / "encoder.onnx").symlink_to(theirs / "a.txt")
    (out / "decoder.onnx").write_text("older")
    with pytest.raises(SamlabelError, match="unknown masks"):
        export("nano", out, masks="many")
    assert sorted(one.name for one in out.iterdir()) == ["decoder.onnx", "encoder.onnx"]
    assert (out / "decoder.onnx").read_text() == "older"
    export("nano", out, low_res=True)
    assert not (out / "encoder.onnx").is_symlink() and (out / "encoder.onnx").stat().st_size > 1e6
    assert sorted(one.name for one in out.iterdir()) == ["decoder.onnx", "encoder.onnx"]


def test_a_download_is_not_written_through_a_link(
    tmp_path: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from samlabel.hub import weights

    monkeypatch.setenv(weights.CACHE_VARIABLE, str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "m.pth.part").symlink_to(theirs / "a.txt")
    one = weights.Checkpoint("m", "http://127.0.0.1:9/m.pth", "0" * 64, 6, "none")
    with pytest.raises(SamlabelError):
        weights.pull(one)


class TestRunFolder:
    """The folder of an earlier run, as a stranger may have prepared it."""

    @pytest.mark.parametrize("place", ["yolo/images/deep", "yolo/labels/deep", "yolo/labels", "coco/annotations.json"])
    @pytest.mark.parametrize("overwrite", [False, True])
    def test_a_link_at_any_depth_leads_no_write_outside(
        self, annotate: Run, photos: Path, tmp_path: Path, theirs: Path, fakes: ModuleType, place: str, overwrite: bool
    ) -> None:
        annotate()
        os.rename(tmp_path / "out" / place, tmp_path / "moved")
        (tmp_path / "out" / place).symlink_to(theirs)
        fakes.draw(photos / "new.png")
        try:
            annotate(output=OutputOptions(overwrite=overwrite))
        except UsageError as error:
            assert "is a link to" in str(error)

    @pytest.mark.parametrize("name", ["journal.jsonl", "settings.json", "outputs.json"])
    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names")
    def test_a_pipe_in_the_place_of_a_hidden_file_ends_in_one_line(
        self, annotate: Run, tmp_path: Path, name: str
    ) -> None:
        annotate()
        (tmp_path / "out" / ".samlabel" / name).unlink()
        os.mkfifo(tmp_path / "out" / ".samlabel" / name)
        with pytest.raises(UsageError, match="is no regular file"):
            annotate()

    @pytest.mark.parametrize("name", ["manifest.json", "failed.jsonl", "conflicts.jsonl"])
    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names")
    def test_a_pipe_in_the_place_of_a_file_is_replaced(
        self, annotate: Run, photos: Path, tmp_path: Path, name: str
    ) -> None:
        (photos / "bad.jpg").write_bytes(b"")
        annotate()
        (tmp_path / "out" / name).unlink(missing_ok=True)
        os.mkfifo(tmp_path / "out" / name)
        annotate()
        assert not (tmp_path / "out" / name).exists() or (tmp_path / "out" / name).is_file()

    def test_a_kept_folder_that_is_a_link_gets_nothing(
        self, annotate: Run, photos: Path, tmp_path: Path, theirs: Path, fakes: ModuleType
    ) -> None:
        annotate()
        (tmp_path / "out" / "yolo" / "labels" / "a.txt").write_text("a person's")
        (tmp_path / "out" / "kept").symlink_to(theirs)
        fakes.draw(photos / "new.png")
        with pytest.raises(UsageError, match="kept is a link to"):
            annotate(output=OutputOptions(overwrite=True))

    VERSION: ClassVar[Any] = [1, 1, None]
    HOSTILE: ClassVar[Any] = {
        "a list": [],
        "a format that is no table": {"coco": 5},
        "a format outside": {"../victim": {"files": {}}},
        "a format at a place of its own": {"/tmp/victim": {"files": {}}},
        "a format by way of one": {"a/../../victim": {"files": {}}},
        "a format of Windows": {"..\\victim": {"files": {}}},
        "a drive": {"C:\\victim": {"files": {}}},
        "a format with a zero": {"a\0b": {"files": {}}},
        "the hidden folder": {".samlabel": {"files": {}}},
        "what people made": {"kept": {"files": {}}},
        "a file outside": {"coco": {"files": {"../../victim/a.txt": VERSION}}},
        "a file at its own place": {"coco": {"files": {"/etc/passwd": VERSION}}},
        "a file of Windows": {"coco": {"files": {"..\\..\\victim\\a.txt": VERSION}}},
        "a next file outside": {"coco": {"files": {}, "next": {"../../victim/a.txt": VERSION}}},
        "an image outside": {"coco": {"files": {}, "pictures": {"../../victim/a.txt": [1, 1]}}},
        "a version that is none": {"coco": {"files": {"a.txt": 5}}},
        "losses that are none": {"coco": {"files": {}, "losses": {"x": "y"}}},
        "an origin outside": {
            "coco": {"files": {}, "origin": {"end": 1, "records": "", "images": ["../a"], "categories": []}}
        },
        "an origin that is none": {"coco": {"files": {}, "origin": {"end": "x"}}},
    }

    @pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
    def test_what_it_says_of_its_outputs_is_checked(
        self, annotate: Run, tmp_path: Path, content: Any, theirs: Path
    ) -> None:
        annotate()
        out = tmp_path / "out"
        victims = [tmp_path / "victim", tmp_path / "victim.old", out / ".samlabel-a" / "x", out / "a"]
        for folder in victims:
            folder.mkdir(parents=True)
            (folder / "a.txt").write_text("theirs")
        (out / ".samlabel" / "outputs.json").write_text(json.dumps(content))
        for overwrite in (False, True):
            with pytest.raises(FormatError, match=r"outputs\.json: .*samlabel did not write this") as caught:
                annotate(output=OutputOptions(overwrite=overwrite))
            assert "\n" not in str(caught.value)
        assert all((folder / "a.txt").read_text() == "theirs" for folder in victims)

    @pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\xff"], ids=["empty", "broken", "deep", "no UTF-8"])
    def test_what_it_says_of_its_outputs_may_be_no_json(self, annotate: Run, tmp_path: Path, text: str) -> None:
        annotate()
        (tmp_path / "out" / ".samlabel" / "outputs.json").write_text(text, encoding="latin-1")
        with pytest.raises(FormatError, match="samlabel did not write this"):
            annotate()

    @pytest.mark.parametrize("words", [["convert", "--to", "voc"], ["filter"], ["split"], ["view"]], ids=lambda w: w[0])
    def test_other_commands_check_the_formats_that_it_names(
        self, annotate: Run, photos: Path, tmp_path: Path, theirs: Path, words: list[str]
    ) -> None:
        annotate()
        content = {"../theirs": {"files": {}}}
        (tmp_path / "out" / ".samlabel" / "outputs.json").write_text(json.dumps(content))
        target = ["--out", tmp_path / "new"] if words[0] == "view" else [tmp_path / "new"]
        assert command(words[0], tmp_path / "out", *target, *words[1:]) == 1
        assert not (tmp_path / "new").exists()

    def sealed(self, head: Any, record: Any) -> bytes:
        body = (json.dumps(head) + "\t" + json.dumps(record)).encode()
        return f"{zlib.crc32(body):08x} ".encode() + body + b"\n"

    def lines(self, out: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        content = (out / ".samlabel" / "journal.jsonl").read_bytes().splitlines()
        pairs = [line[9:].split(b"\t") for line in content]
        return [(json.loads(head), json.loads(record)) for head, record in pairs]

    RECORDS: ClassVar[Any] = {
        "another image": {"path": "deep/b c.png"},
        "outside": {"path": "../../theirs/a.txt"},
        "at its own place": {"path": "/etc/passwd"},
        "no size": {"size": [0, 0]},
        "a size of words": {"size": ["a", "b"]},
        "a field more": {"surprise": 1},
        "objects that are none": {"annotations": 5},
        "an object without a box": {"annotations": [{"category_id": 1}]},
        "a class of words": {"annotations": [{"category_id": "x", "box": [1, 2, 3, 4]}]},
        "a score of words": {"annotations": [{"category_id": 1, "box": [1, 2, 3, 4], "score": "x"}]},
        "a mask larger than its image": {
            "annotations": [{"category_id": 1, "box": [1, 2, 3, 4], "mask": {"size": [40, 60], "counts": "PPPPPPP4"}}]
        },
        "a mask that is none": {
            "annotations": [{"category_id": 1, "box": [1, 2, 3, 4], "mask": {"size": [40, 60], "counts": "é"}}]
        },
    }

    @pytest.mark.parametrize("change", RECORDS.values(), ids=RECORDS)
    def test_a_record_that_it_holds_is_checked(
        self, annotate: Run, photos: Path, tmp_path: Path, theirs: Path, fakes: ModuleType, change: dict[str, Any]
    ) -> None:
        annotate()
        out = tmp_path / "out"
        (head, record), *others = self.lines(out)
        lines = [self.sealed(head, {**record, **change}), *(self.sealed(*one) for one in others)]
        (out / ".samlabel" / "journal.jsonl").write_bytes(b"".join(lines))
        fakes.draw(photos / "new.png")
        with pytest.raises(FormatError, match="is not one that samlabel wrote") as caught:
            annotate()
        assert "\n" not in str(caught.value)

    HEADS: ClassVar[Any] = {
        "a list": [],
        "nothing": {},
        "a path of numbers": {"path": 5},
        "a time of words": {"stat": ["a", "b"]},
        "counts of words": {"dropped": {"x": "y"}},
        "classes without numbers": {"categories": {"x": 1}},
        "names that are none": {"names": {"1": 5}},
    }

    @pytest.mark.parametrize("change", HEADS.values(), ids=HEADS)
    def test_a_line_that_is_none_of_ours_is_redone(
        self, annotate: Run, photos: Path, tmp_path: Path, change: Any
    ) -> None:
        whole = annotate()
        (head, record), *others = self.lines(tmp_path / "out")
        broken = {**head, **change} if change else change
        lines = [self.sealed(broken, record), *(self.sealed(*one) for one in others)]
        (tmp_path / "out" / ".samlabel" / "journal.jsonl").write_bytes(b"".join(lines))
        again = annotate()
        assert (again.annotated, again.objects) == (1, whole.objects)

    @pytest.mark.parametrize("change", [{"settings": {}}, {"settings": {"thresholds": 5}}, {"categories": 5}, {}])
    def test_what_it_recalls_counts_only_where_it_follows_from_the_arguments(
        self, photos: Path, tmp_path: Path, change: dict[str, Any]
    ) -> None:
        auto_annotate(photos, output_dir=tmp_path / "out", device="cpu")
        file = tmp_path / "out" / ".samlabel" / "recall.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
        assert auto_annotate(photos, output_dir=tmp_path / "out", device="cpu").annotated == 0

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names")
    def test_a_pipe_in_the_place_of_what_it_recalls_ends_in_one_line(self, photos: Path, tmp_path: Path) -> None:
        (tmp_path / "out" / ".samlabel").mkdir(parents=True)
        os.mkfifo(tmp_path / "out" / ".samlabel" / "recall.json")
        with pytest.raises(UsageError, match="is no regular file"):
            auto_annotate(photos, output_dir=tmp_path / "out", device="cpu")


def test_labels_are_written_beside_linked_images_that_stay_as_they_are(
    labels: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "images").symlink_to(photos)
    before = sorted(photos.rglob("*"))
    words = ["convert", labels, tmp_path / "new", "--to", "yolo", "--images", "none", "--allow-lossy"]
    assert command(*words) == 0
    assert (tmp_path / "new" / "labels" / "a.txt").exists() and sorted(photos.rglob("*")) == before


def test_the_parent_of_the_output_may_be_a_link(labels: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "parent").symlink_to(tmp_path / "real")
    out = tmp_path / "parent" / "new"
    assert command("convert", labels, out, "--to", "yolo", "--image-root", photos, "--allow-lossy") == 0
    assert (tmp_path / "real" / "new" / "data.yaml").exists()


def test_records_cannot_name_a_place_outside(tmp_path: Path, theirs: Path) -> None:
    from samlabel.types import Category, ImageRecord

    for name in ("../theirs/a.png", "/theirs/a.png"):
        with pytest.raises(ValueError, match="leaves the dataset"):
            converters.write(Dataset((Category(1, "x"),), [ImageRecord(name, (4, 4))]), tmp_path / "new", "labelme")
