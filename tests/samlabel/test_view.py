"""Overlays and their page show every object, hide nothing, and touch nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image as Pillow

from samlabel.errors import OutputExists, UsageError
from samlabel.review.overlay import category_colour, draw, luminance, object_colours
from samlabel.review.view import write_view
from samlabel.types import Annotation, Category, Dataset, ImageRecord, Mask

CATEGORIES = (Category(1, "cat"), Category(7, '<b>"dog" & co'))


class Page(HTMLParser):
    """Tags, links and text of a page."""

    def __init__(self, index: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(index.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def square(x: int, y: int, side: int, *, size: tuple[int, int] = (60, 80)) -> Mask:
    pixels = np.zeros(size, bool)
    pixels[y : y + side, x : x + side] = True
    return Mask.from_pixels(pixels)


def found(mask: Mask, category_id: int = 1, **more) -> Annotation:
    return Annotation(category_id, more.pop("box", mask.box), mask, **more)


def photo(folder: Path, path: str, *, size: tuple[int, int] = (60, 80), grey: int = 128) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    Pillow.new("RGB", (size[1], size[0]), (grey, grey, grey)).save(folder / path)


def test_a_mask_is_tinted_inside_and_untouched_outside() -> None:
    pixels = np.full((600, 800, 3), 128, np.uint8)
    drawn = draw(pixels, [found(square(200, 200, 200, size=(600, 800)))], CATEGORIES)
    shown = np.asarray(drawn.picture).astype(int)
    assert shown.shape == (600, 800, 3), "a picture between 640 and 1280 pixels keeps its size"
    blend = 0.58 * 128 + 0.42 * np.array(drawn.colours[0])
    assert abs(shown[300, 300] - blend).max() <= 2
    assert (shown[:170] == 128).all() and (shown[420:] == 128).all() and (shown[:, 420:] == 128).all()
    edge = shown[300, 199:204]
    assert abs(edge - np.array(drawn.colours[0])).max(axis=1).min() <= 12, "the contour has the full colour"


def test_a_hole_is_left_clear() -> None:
    inside = square(100, 100, 400, size=(600, 800)).to_pixels() & ~square(200, 200, 200, size=(600, 800)).to_pixels()
    drawn = draw(np.full((600, 800, 3), 90, np.uint8), [found(Mask.from_pixels(inside))], CATEGORIES)
    assert (np.asarray(drawn.picture)[300, 300] == 90).all()


def test_a_box_is_drawn_where_a_detector_made_it_and_not_where_a_mask_says_the_same() -> None:
    pixels, mask = np.full((600, 800, 3), 90, np.uint8), square(300, 300, 100, size=(600, 800))
    detector, person = (
        np.asarray(draw(pixels, [found(mask, box=(200, 200, 600, 500), score=score)], CATEGORIES).picture)
        for score in (0.9, None)
    )
    tight = np.asarray(draw(pixels, [found(mask)], CATEGORIES).picture)
    assert (detector[499, 400] != 90).any() and (person[499, 400] != 90).any()
    assert (tight[499, 400] == 90).all()


@pytest.mark.parametrize(
    ("size", "longest"),
    [((10, 14), 640), ((700, 500), 700), ((3000, 2000), 1280), ((1, 5000), 1280), ((5000, 1), 1280)],
    ids=str,
)
def test_the_longer_side_stays_legible_and_small(size: tuple[int, int], longest: int) -> None:
    mask = square(0, 0, 5, size=size)
    picture = draw(np.zeros((*size, 3), np.uint8), [found(mask, score=0.5)], CATEGORIES).picture
    assert max(picture.size) == longest and min(picture.size) >= 1


def test_odd_objects_can_be_drawn() -> None:
    empty = Mask.from_pixels(np.zeros((60, 80), bool))
    objects = [
        found(empty, box=(5, 5, 5, 5)),
        found(square(0, 0, 1)),
        found(square(0, 0, 80)),
        found(square(10, 10, 5), category_id=99, iscrowd=True),
        Annotation(1, (-10, -10, 300, 300)),
        Annotation(1, (20, 20, 10, 10)),
    ]
    assert len(draw(np.zeros((60, 80, 3), np.uint8), objects, CATEGORIES).colours) == 6


def test_colours_are_stable_by_category_and_tell_objects_apart() -> None:
    mask = square(0, 0, 5)
    objects = [found(mask, 1), found(mask, 7), found(mask, 1)]
    colours = object_colours(objects, one_category=False)
    assert len(set(colours)) == 3
    assert colours[:2] == (category_colour(1), category_colour(7))
    assert len(set(object_colours([found(mask)] * 24, one_category=True))) == 24
    assert len({category_colour(number) for number in range(1, 81)}) > 70
    assert all(luminance(category_colour(number)) > 0.18 for number in range(1, 81)), "black ink stays legible"


def test_the_page_lists_every_object_with_its_scores(tmp_path: Path) -> None:
    photo(tmp_path / "in", "sub/a b#?.png")
    photo(tmp_path / "in", "sub/a b#?.jpg")
    first = ImageRecord(
        "sub/a b#?.png",
        (60, 80),
        (found(square(5, 5, 10), score=0.91, predicted_iou=0.82, stability_score=0.73), found(square(30, 30, 6), 7)),
    )
    dataset = Dataset(CATEGORIES, [first, ImageRecord("sub/a b#?.jpg", (60, 80))], image_root=tmp_path / "in")
    report = write_view(dataset, tmp_path / "out")
    assert (report.images, report.objects, report.negatives, report.failed) == (2, 2, 1, 0)
    page = Page(report.index)
    for text in ("0.910", "0.820", "0.730", "100", "2.1%", '<b>"dog" & co', "sub/a b#?.png", "no objects", "2 images"):
        assert text in page.text, text
    pictures = {unquote(link) for link in page.links}
    assert pictures == {"pictures/sub/a b#?.png.jpg", "pictures/sub/a b#?.jpg.jpg"}
    assert all((tmp_path / "out" / picture).is_file() for picture in pictures)


def test_the_page_runs_no_script_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    photo(tmp_path, "a.png")
    evil = Category(1, "</style><script>alert(1)</script><img src=https://example.org/x>")
    dataset = Dataset((evil,), [ImageRecord("a.png", (60, 80), (found(square(5, 5, 10)),))], image_root=tmp_path)
    index = write_view(dataset, tmp_path / "out").index
    page = Page(index)
    assert "script" not in page.tags and page.tags.count("img") == 1
    assert all(link.startswith("pictures/") for link in page.links)
    assert "url(" not in index.read_text(encoding="utf-8")


def test_images_that_cannot_be_shown_are_listed_with_the_reason(tmp_path: Path) -> None:
    photo(tmp_path / "in", "turned.png", size=(80, 60))
    (tmp_path / "in/broken.png").write_bytes(b"no picture")
    names = ["gone.png", "broken.png", "turned.png"]
    dataset = Dataset(CATEGORIES, [ImageRecord(name, (60, 80), (found(square(5, 5, 10)),)) for name in names])
    report = write_view(dataset, tmp_path / "out", image_root=tmp_path / "in")
    assert report.failed == 3 and [line.split(":")[0] for line in report.failures] == names
    text = Page(report.index).text
    assert "the labels are for 80x60 pixels, the image has 60x80" in text and "3 not shown" in text
    assert report.objects == 3, "their objects are counted and listed all the same"


def test_one_record_is_taken_at_a_time_and_no_more_than_the_limit(tmp_path: Path) -> None:
    taken = []

    def records() -> Iterator[ImageRecord]:
        for number in range(100):
            taken.append(number)
            photo(tmp_path / "in", f"{number}.png")
            yield ImageRecord(f"{number}.png", (60, 80))

    (tmp_path / "in").mkdir()
    report = write_view(Dataset(CATEGORIES, records(), image_root=tmp_path / "in"), tmp_path / "out", limit=3)
    assert report.images == 3 and taken == [0, 1, 2]


def test_the_same_labels_give_the_same_bytes(tmp_path: Path) -> None:
    photo(tmp_path / "in", "a.png")
    records = [ImageRecord("a.png", (60, 80), (found(square(5, 5, 10), score=0.5),))]
    for out in ("one", "two", "two"):
        write_view(Dataset(CATEGORIES, records, image_root=tmp_path / "in"), tmp_path / out)
    one, two = (
        {path.relative_to(tmp_path / out): path.read_bytes() for path in (tmp_path / out).rglob("*.*")}
        for out in ("one", "two")
    )
    assert one == two and len(one) == 2


def test_a_page_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/index.html").write_text("<h1>mine</h1>")
    with pytest.raises(OutputExists, match="stays as it is"):
        write_view(Dataset(CATEGORIES, [], image_root=tmp_path), tmp_path / "out")
    assert (tmp_path / "out/index.html").read_text() == "<h1>mine</h1>"


def test_a_link_inside_the_output_leads_nowhere_else(tmp_path: Path) -> None:
    photo(tmp_path / "in", "sub/a.png")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out/pictures").mkdir(parents=True)
    try:
        (tmp_path / "out/pictures/sub").symlink_to(tmp_path / "elsewhere")
    except OSError:
        pytest.skip("no symlinks here")
    records = [ImageRecord("sub/a.png", (60, 80))]
    with pytest.raises(UsageError, match="is a link to .*: remove the link"):
        write_view(Dataset(CATEGORIES, records, image_root=tmp_path / "in"), tmp_path / "out")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_labels_without_a_folder_of_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name their folder with --images"):
        write_view(Dataset(CATEGORIES, []), tmp_path / "out")
    with pytest.raises(UsageError, match="no such folder of images"):
        write_view(Dataset(CATEGORIES, [], image_root=tmp_path / "nowhere"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
