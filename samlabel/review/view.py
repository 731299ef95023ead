"""Labels to look at: a picture of every image with its objects, and one static page of them."""

from __future__ import annotations

import io
import shutil
from collections import Counter
from dataclasses import dataclass
from html import escape
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from ..errors import ImageError, OutputExists, UsageError
from ..files import OutputFolder, encoded, nameless
from ..image_files import ImageFiles
from ..lock import Lock
from ..sources.images import decode
from ..text import printable
from ..types import Annotation, Category, Dataset, ImageRecord
from .overlay import Colour, category_colour, draw
from .page import FOOT, HEAD, STYLE

if TYPE_CHECKING:
    from .overlay import Drawn

GENERATOR = '<meta name="generator" content="samlabel view">'
INDEX, PICTURES = "index.html", "pictures"
JPEG_QUALITY = 88
NAMED = 20  # images without a picture that the report names; it counts all


@dataclass(frozen=True, slots=True)
class ViewReport:
    """What was drawn, and why some images were not."""

    index: Path
    images: int
    objects: int
    negatives: int
    failed: int
    failures: tuple[str, ...]  # the first ones, "path: reason"


def write_view(dataset: Dataset, out: Path, *, image_root: Path | None = None, limit: int | None = None) -> ViewReport:
    """Overlays of `dataset` in `out/pictures`, mirrored by path, and `out/index.html` to look through them.

    Images are looked for in `image_root`, else where the dataset says. `limit` is the most images shown. One
    image is in memory at a time. The page needs no network, no script and no server. An image that cannot be
    read is listed with its reason. Raises OutputExists where `out/index.html` is not a page of ours, and UsageError
    where a link below `out` would lead a picture elsewhere, or another command writes there.
    """
    files = dataset.images_in(image_root)
    root = files.root
    if root is None:
        raise UsageError("where are the images? these labels do not say; name their folder with --images")
    if not Path(root).is_dir():
        raise UsageError(f"{root}: no such folder of images")
    with Lock(out):
        return _write(dataset, OutputFolder(out), files, limit)


def _write(dataset: Dataset, out: OutputFolder, files: ImageFiles, limit: int | None) -> ViewReport:
    _refuse_foreign(out)
    out.mkdir(PICTURES)
    counts: Counter[int] = Counter()
    failures: list[str] = []
    images = negatives = failed = 0
    with nameless(out.path) as body:
        for record in islice(dataset.records, limit):
            images += 1
            negatives += not record.annotations
            counts.update(annotation.category_id for annotation in record.annotations)
            picture, drawn, reason = None, None, ""
            try:
                picture, drawn = _write_picture(record, files, out, dataset.categories)
            except (ImageError, OSError) as error:
                reason = " ".join(str(error).split())
                failed += 1
                failures += [reason] if len(failures) < NAMED else []
            body.write(encoded(_card(record, picture, drawn, dataset.categories, reason), INDEX))
        head = _head(dataset.categories, counts, images=images, negatives=negatives, failed=failed)
        body.seek(0)
        with out.replacing(INDEX, durable=True) as page:
            page.write(encoded(head, INDEX))
            shutil.copyfileobj(body, page)
            page.write(FOOT.encode("utf-8"))
    return ViewReport(out.named / INDEX, images, sum(counts.values()), negatives, failed, tuple(failures))


def _refuse_foreign(out: OutputFolder) -> None:
    kind = out.kind(INDEX)
    if kind in (None, "link"):  # a link is replaced
        return
    if kind == "file":
        with out.open(INDEX) as page:
            if GENERATOR.encode() in page.read(4096):
                return
    raise OutputExists(f"{out.named / INDEX} is a page of something else and stays as it is; choose another folder")


def _write_picture(
    record: ImageRecord, files: ImageFiles, out: OutputFolder, categories: tuple[Category, ...]
) -> tuple[str, Drawn]:
    """Path of the overlay relative to `out`, and what was drawn."""
    files.find(record.path)
    assert files.root is not None
    image = decode(files.root, record.path).image
    if image.size != tuple(record.size):
        wanted, got = (f"{width}x{height}" for height, width in (record.size, image.size))
        raise ImageError(f"{record.path}: the labels are for {wanted} pixels, the image has {got}")
    drawn = draw(image.pixels, record.annotations, categories)
    relative = f"{PICTURES}/{record.path}.jpg"  # the whole name, so that a.png and a.jpg do not collide
    buffer = io.BytesIO()
    drawn.picture.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    out.write(relative, buffer.getvalue())
    return relative, drawn


def _head(categories: tuple[Category, ...], counts: Counter[int], *, images: int, negatives: int, failed: int) -> str:
    """The page down to the gallery: totals, and a chip a class that shows only its images."""
    names = {category.id: category.name for category in categories}
    listed = sorted(counts, key=lambda key: (-counts[key], key))
    # Cards carry the ids of their categories as classes, so that a chip needs no script to hide the others.
    rules = "".join(f"body:has(#c{key}:checked) .card:not(.k{key}){{display:none}}\n" for key in listed)
    chips = "".join(
        f'<input type="radio" name="class" id="c{key}"><label for="c{key}" style="{_style(category_colour(key))}">'
        f"<i></i>{_text(names.get(key, f'category {key}'))} <b>{counts[key]:,}</b></label>\n"
        for key in listed
    )
    absent = sorted(category.name for category in categories if not counts[category.id])
    unused = f'<p class="unused">Without objects: {_text(", ".join(absent))}</p>\n' if absent else ""
    totals = [_count(images, "image"), _count(sum(counts.values()), "object"), _count(len(listed), "class", "classes")]
    totals += [f"{negatives:,} without objects"] if negatives else []
    totals += [f"{failed:,} not shown"] if failed else []
    return HEAD.format(
        generator=GENERATOR,
        style=STYLE + rules,
        totals=" · ".join(totals),
        chips=chips,
        unused=unused,
        images=f"{images:,}",
    )


def _text(text: str) -> str:
    return escape(printable(text))


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _style(colour: Colour) -> str:
    return "--c:rgb({},{},{})".format(*colour)


def _card(
    record: ImageRecord, picture: str | None, drawn: Drawn | None, categories: tuple[Category, ...], reason: str
) -> str:
    """One image: its overlay, its path, and a table of its objects."""
    classes = " ".join(f"k{key}" for key in sorted({annotation.category_id for annotation in record.annotations}))
    path = _text(record.path)
    if picture is None or drawn is None:
        shown = f'<div class="broken">{_text(reason)}</div>'
    else:
        width, height = drawn.picture.size
        link = escape(quote(picture))
        shown = f'<a href="{link}"><img src="{link}" width="{width}" height="{height}" loading="lazy" alt="{path}"></a>'
    height, width = record.size
    count = _count(len(record.annotations), "object") if record.annotations else "no objects"
    return (
        f'<article class="card {classes}">{shown}<h2>{path}</h2><p>{width}×{height} · {count}</p>'
        f"{_table(record, drawn, categories)}</article>\n"
    )


def _table(record: ImageRecord, drawn: Drawn | None, categories: tuple[Category, ...]) -> str:
    if not record.annotations:
        return ""
    names = {category.id: category.name for category in categories}
    annotations = record.annotations
    colours = drawn.colours if drawn else tuple(category_colour(one.category_id) for one in annotations)
    rows = "".join(
        _row(number, annotation, names, colour, record)
        for number, (annotation, colour) in enumerate(zip(annotations, colours, strict=True), start=1)
    )
    return (
        "<details><summary>Objects</summary><table><thead><tr><th>#<th>class<th>score<th>predicted IoU<th>stability"
        f"<th>area, px<th>of image</tr></thead><tbody>{rows}</tbody></table></details>"
    )


def _row(number: int, annotation: Annotation, names: dict[int, str], colour: Colour, record: ImageRecord) -> str:
    name = names.get(annotation.category_id, f"category {annotation.category_id}")
    area = annotation.mask.area if annotation.mask is not None else None
    share = area / (record.size[0] * record.size[1]) if area is not None else None
    scores = (annotation.score, annotation.predicted_iou, annotation.stability_score)
    cells = [
        f'<td style="{_style(colour)}"><i></i>{number}',
        f"<td>{_text(name)}{' (crowd)' if annotation.iscrowd else ''}",
        *(f"<td>{'' if value is None else f'{value:.3f}'}" for value in scores),
        f"<td>{'no mask' if area is None else f'{area:,}'}",
        f"<td>{'' if share is None else f'{share:.1%}'}",
    ]
    return f"<tr>{''.join(cells)}</tr>"
