from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as pillow

from samlabel.errors import ImageError, UsageError
from samlabel.hub.hashing import hash_tree
from samlabel.sources.folder import scan
from samlabel.sources.images import decode, header_size


def picture(path: Path, colour: Any = (10, 20, 30), *, mode: str = "RGB", size: tuple[int, int] = (4, 3)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pillow.new(mode, size, colour).save(path)
    return path


def test_a_folder_is_scanned_deep_sorted_with_posix_paths(tmp_path: Path) -> None:
    for name in ("b.png", "a/z.JPG", "a/ü x.png", ".hidden/c.png", ".d.png"):
        picture(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    assert scan(tmp_path).paths == ("a/z.JPG", "a/ü x.png", "b.png")


def test_a_file_a_pattern_and_a_list_are_scanned_too(tmp_path: Path) -> None:
    one, two = picture(tmp_path / "x" / "1.png"), picture(tmp_path / "y" / "2.png")
    assert (scan(one).root, scan(one).paths) == (one.parent, ("1.png",))
    assert scan(str(tmp_path / "*" / "*.png")).paths == ("x/1.png", "y/2.png")
    assert (scan([two, str(one)]).root, scan([two, str(one)]).paths) == (tmp_path, ("x/1.png", "y/2.png"))


def test_a_name_with_brackets_is_a_file_not_a_pattern(tmp_path: Path) -> None:
    assert scan(picture(tmp_path / "a[1].png")).paths == ("a[1].png",)


def test_links_that_loop_end_and_name_each_picture_once(tmp_path: Path) -> None:
    outside = picture(tmp_path / "outside" / "o.png").parent
    photos = picture(tmp_path / "photos" / "sub" / "p.png").parent.parent
    links = {"self": "self", "up": "..", "sub/loop": "..", "linked": str(outside), "a_link": "sub"}
    for link, target in links.items():
        (photos / link).symlink_to(target)
    assert scan(photos).paths == ("linked/o.png", "sub/p.png")


def test_what_looks_like_a_picture_and_is_none_is_reported_not_opened(tmp_path: Path) -> None:
    picture(tmp_path / "good.png")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "dead.png").symlink_to("nowhere.png")
    source = scan(tmp_path)
    assert source.paths == ("good.png",)
    assert [(one.path, one.stage) for one in source.failed] == [("dead.png", "scan"), ("pipe.jpg", "scan")]


def test_an_excluded_folder_is_no_input(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "out" / "yolo" / "images" / "a.png")
    assert scan(tmp_path, exclude=[tmp_path / "out"]).paths == ("a.png",)
    assert scan(tmp_path / "out" / "yolo", exclude=[tmp_path / "out" / "yolo"]).paths == ("images/a.png",)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty", "no pictures in"),
        ("phtos", "did you mean"),
        ("photos/*.gif", "no picture matches"),
        ("https://a/b.jpg", "download"),
    ],
    ids=["nothing inside", "misspelt", "pattern", "address"],
)
def test_nothing_to_label_is_one_clear_line(tmp_path: Path, name: str, message: str) -> None:
    picture(tmp_path / "photos" / "a.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=message):
        scan(name if "://" in name else str(tmp_path / name))


MODES = {
    "grey": ("L", 77, (77, 77, 77)),
    "palette": ("P", 0, None),
    "bilevel": ("1", 1, (255, 255, 255)),
    "16 bit": ("I;16", 0x8040, (128, 128, 128)),
    "clear": ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
    "opaque": ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
    "grey with alpha": ("LA", (50, 255), (50, 50, 50)),
}


@pytest.mark.parametrize(("mode", "colour", "wanted"), MODES.values(), ids=MODES)
def test_every_pixel_mode_becomes_rgb(tmp_path: Path, mode: str, colour: Any, wanted: tuple[int, ...] | None) -> None:
    pixels = decode(tmp_path, picture(tmp_path / "a.png", colour, mode=mode).name).image.pixels
    assert (pixels.shape, pixels.dtype) == ((3, 4, 3), np.uint8)
    if wanted is not None:
        assert (pixels == wanted).all()


@pytest.mark.parametrize(
    ("mode", "suffix"), [("CMYK", ".jpg"), ("F", ".tif"), ("I", ".tif"), ("RGB", ".webp"), ("RGB", ".bmp")]
)
def test_print_and_science_files_decode(tmp_path: Path, mode: str, suffix: str) -> None:
    colour = {"CMYK": (0, 0, 0, 0), "F": 1.0, "I": 65535, "RGB": (255, 255, 255)}[mode]
    picture(tmp_path / f"a{suffix}", colour, mode=mode)
    assert decode(tmp_path, f"a{suffix}").image.pixels.min() > 250


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(tmp_path: Path, suffix: str, orientation: int) -> None:
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :8] = 255  # a white corner at the upper left
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # FLIP_LEFT_RIGHT=0 FLIP_TOP_BOTTOM=1 ROTATE_90=2 180=3 270=4
    stored = pillow.fromarray(upright)
    if orientation != 1:
        stored = stored.transpose(pillow.Transpose(undo[orientation]))
    exif = pillow.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / f"a{suffix}", exif=exif)
    image = decode(tmp_path, f"a{suffix}").image
    assert image.size == (16, 32)
    assert image.pixels[1:7, 1:7].min() > 200 and image.pixels[9:, 9:].max() < 60


def test_the_first_frame_of_an_animation_is_taken(tmp_path: Path) -> None:
    frames = [pillow.new("RGB", (5, 5), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (decode(tmp_path, "a.gif").image.pixels[0, 0] == (255, 0, 0)).all()


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    picture(tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert decode(tmp_path, "a.jpg").image.size == (3, 4)


def broken(kind: str) -> bytes:
    stream = io.BytesIO()
    pillow.new("RGB", (64, 64), "red").save(stream, "JPEG")
    whole = stream.getvalue()
    return {"empty": b"", "text": b"hello, I am no picture", "cut": whole[: len(whole) // 2], "head": whole[:20]}[kind]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("empty", "is empty"),
        ("text", "not a picture"),
        ("cut", "(?i)truncated"),
        ("head", "cannot be decoded|known format"),
    ],
)
def test_a_broken_file_is_an_image_error_of_one_line(tmp_path: Path, kind: str, message: str) -> None:
    (tmp_path / "a.jpg").write_bytes(broken(kind))
    with pytest.raises(ImageError, match=message) as caught:
        decode(tmp_path, "a.jpg")
    assert str(caught.value).startswith("a.jpg: ") and "\n" not in str(caught.value)


def test_a_bomb_is_refused_before_it_is_decoded_and_the_limit_can_be_raised(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", size=(100, 100))
    with pytest.raises(ImageError, match="max_pixels"):
        decode(tmp_path, "a.png", max_pixels=9_999)
    assert decode(tmp_path, "a.png", max_pixels=10_000).image.size == (100, 100)


def test_a_replaced_image_open_is_not_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ultralytics replaces it by one that prints and installs packages."""
    picture(tmp_path / "a.png")
    monkeypatch.setattr(pillow, "open", lambda *_, **__: pytest.fail("called"))
    assert decode(tmp_path, "a.png").image.size == (3, 4)


def test_postscript_never_reaches_ghostscript(tmp_path: Path) -> None:
    pillow.new("RGB", (4, 4)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.jpg")
    with pytest.raises(ImageError, match="known format"):
        decode(tmp_path, "a.jpg")


def test_a_folder_has_one_hash_that_follows_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = hash_tree(tmp_path)
    assert first == hash_tree(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert hash_tree(tmp_path) != first


def test_files_that_are_no_images_are_counted_by_their_suffix(tmp_path: Path) -> None:
    for name in ("a.png", "b.HEIC", "sub/c.heic", "notes.txt", "README", ".hidden.txt"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"x")
    assert scan(tmp_path).unread == {".heic": 2, ".txt": 1, "without a suffix": 1}
    assert scan(tmp_path / "a.png").unread == {}


@pytest.mark.parametrize("settings", ["settings.json", "generate.json"])
def test_outputs_of_earlier_runs_are_no_input_but_where_they_are_named(tmp_path: Path, settings: str) -> None:
    for name in ("a.png", "out/.samlabel/" + settings, "out/yolo/images/a.png"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    found = scan(tmp_path)
    assert (found.paths, found.outputs) == (("a.png",), ("out",))
    assert scan(tmp_path / "out").paths == ("yolo/images/a.png",)


@pytest.mark.parametrize("suffix", ["tif", "png"])
@pytest.mark.parametrize(
    ("most", "grey"), [(255, 255), (1023, 255), (4080, 255), (16383, 255), (65535, 255), (32768, 128), (600, 150)]
)
def test_numbers_of_more_than_8_bits_keep_the_upper_8_of_the_bits_in_use(
    tmp_path: Path, suffix: str, most: int, grey: int
) -> None:
    pixels = np.zeros((4, 4), np.uint16)
    pixels[0, 0] = most
    pillow.fromarray(pixels).save(tmp_path / f"a.{suffix}")
    assert decode(tmp_path, f"a.{suffix}").image.pixels[0, 0].tolist() == [grey] * 3


def test_a_tiff_that_says_how_large_its_numbers_may_be_is_believed(tmp_path: Path) -> None:
    pixels = np.full((4, 4), 600, np.uint16)
    pillow.fromarray(pixels).save(tmp_path / "a.tif", tiffinfo={281: 4095})
    assert decode(tmp_path, "a.tif").image.pixels[0, 0].tolist() == [37] * 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["tif", "png", "jpg", "webp"])
def test_the_size_in_the_header_is_that_of_the_upright_pixels(tmp_path: Path, suffix: str, orientation: int) -> None:
    picture = pillow.fromarray(np.zeros((20, 30, 3), np.uint8))
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(tmp_path / f"a.{suffix}", exif=exif)
    wanted = (30, 20) if orientation > 4 else (20, 30)
    assert header_size(tmp_path, f"a.{suffix}") == wanted == decode(tmp_path, f"a.{suffix}").image.size
