"""Writing Pascal VOC."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from converters.fields.categories import RenumberedAudit, names_of
from converters.fields.values import check_listed, plain
from converters.format import WriteReport
from converters.imagewise import Made, Update, over_images
from converters.io.files import place_image, refuse_existing
from converters.io.folders import files_below
from converters.io.painting import Painting, painted, save
from converters.io.xml import text
from converters.options import FormatOptions, ImageMode
from samlabel.errors import UsageError, shown
from samlabel.files import OutputFolder
from samlabel.types import Annotation, Category, Dataset, ImageRecord, Size

from .reader import MAP, VOID, palette

_FLAGS = ("difficult", "truncated", "occluded")


class VocAudit(RenumberedAudit):
    """Losses that only the records show: masks cut by others in front of them, objects beyond the 254th."""

    def __init__(self, categories: Iterable[Category]) -> None:
        super().__init__(categories)
        self._cut = 0

    def add(self, record: ImageRecord) -> None:
        kept = [a for a in record.annotations if a.mask is None or a.mask.area]
        self._cut += sum(_cut(kept, record))

    def join(self, other: Any) -> None:
        self._cut += other._cut

    def losses(self) -> Mapping[str, int]:
        return {**super().losses(), "mask-changed": self._cut}


def _cut(annotations: Sequence[Annotation], record: ImageRecord) -> list[bool]:
    """For each object, whether its pixels in the picture differ from its mask."""
    seen = _painted(annotations, record.size).visible()
    return [a.mask is not None and seen.get(n, 0) != a.mask.area for n, a in enumerate(annotations, start=1)]


def rendered_ious(annotations: Sequence[Annotation], size: Size) -> list[float]:
    """IoU of every mask with the pixels that the picture leaves it."""
    masked = [a for a in annotations if a.mask is not None and a.mask.area]
    seen = _painted(masked, size).visible()
    ious = iter([seen.get(n, 0) / a.mask.area for n, a in enumerate(masked, start=1) if a.mask])
    return [next(ious) if a.mask is not None and a.mask.area else 0.0 for a in annotations]


def _painted(annotations: Sequence[Annotation], size: Size) -> Painting:
    """The numbers of the objects from 1, as far as one byte has room for them."""
    numbered = enumerate(annotations[: VOID - 1], start=1)
    return painted([(number, a.mask) for number, a in numbered if a.mask is not None], size)


@dataclass(frozen=True, kw_only=True)
class VocOptions(FormatOptions):
    images: ImageMode = "copy"


def write(dataset: Dataset, path: Path, options: VocOptions, update: Update) -> WriteReport:
    """Write a VOC dataset below the folder `path`: Annotations/, JPEGImages/, the two pictures, ImageSets/.

    Images keep their kind (.png stays .png); sub-folders are mirrored. Pictures are written for images with masks.
    """
    images, files = options.images, dataset.images_in()
    refuse_existing(existing(path), options.overwrite)
    names = names_of(dataset.categories, "voc")
    if len(names) >= VOID:
        raise UsageError(f"{len(names)} categories; the pictures of Pascal VOC have room for {VOID - 1}")
    for name in names.values():
        if name != name.strip() or not name or name.splitlines() != [name]:
            raise UsageError(
                f"category {shown(name)} is empty, or has spaces or line breaks at its ends; voc has no place for it"
            )
    index = {number: place for place, number in enumerate(names, start=1)}
    folder = OutputFolder(path)
    folder.mkdir("Annotations")
    report = WriteReport("voc", str(path))
    written: set[str] = set()

    def make(record: ImageRecord, name: str) -> Made:
        check_listed(record, names)
        stem = str(PurePosixPath(name).with_suffix(""))
        place_image(files, record.path, folder, place := f"JPEGImages/{name}", images)
        kept = [a for a in record.annotations if a.mask is None or a.mask.area]
        pictures = _pictures(folder, stem, kept, record, index)
        label = f"Annotations/{stem}.xml"
        folder.write(label, _xml(record, name, kept, names, bool(pictures)))
        lost = len(record.annotations) - len(kept)
        losses = {
            "image-renamed": name != record.path,
            "empty-mask-lost": lost,
            "mask-changed": sum(_cut(kept, record)),
        }
        return Made(record.path, name, (label, *pictures), len(kept), None if images == "none" else place, losses)

    sets = [f"ImageSets/{kind}/trainval.txt" for kind in ("Main", "Segmentation")]
    with folder.replacing(sets[0]) as every, folder.replacing(sets[1]) as segmented:
        for made in over_images(update, report, make):
            stem = str(PurePosixPath(made.name).with_suffix(""))
            written.update(made.files)
            _list(every, stem)
            if len(made.files) > 1:
                _list(segmented, stem)
    colours = [",".join(map(str, colour)) for colour in palette().tolist()]
    lines = [f"{name}:{colours[place]}::" for place, name in enumerate(["background", *names.values()])]
    folder.write(MAP, "# label:color_rgb:parts:actions\n" + "".join(f"{line}\n" for line in lines))
    for kind, suffix in (("Annotations", ".xml"), ("SegmentationObject", ".png"), ("SegmentationClass", ".png")):
        found = (file.relative_to(path).as_posix() for file in files_below(path / kind, suffix))
        report.losses["left-over-label"] += sum(name not in written for name in found)
    report.losses.update(RenumberedAudit(dataset.categories).losses())
    report.losses = +report.losses
    return report


def existing(path: Path) -> Path | None:
    """A label file that `write` would replace or leave beside its own; None where there is none."""
    found = next(files_below(path / "Annotations", ".xml"), None)
    return found or (path / MAP if (path / MAP).exists() else None)


def _list(file: IO[bytes], stem: str) -> None:
    file.write(f"{stem}\n".encode("utf-8", "surrogateescape"))


def _pictures(
    out: OutputFolder, stem: str, annotations: list[Annotation], record: ImageRecord, index: Mapping[int, int]
) -> tuple[str, ...]:
    """Write the pictures of objects and of classes; none for an image without masks."""
    if not any(annotation.mask is not None for annotation in annotations):
        return ()
    classes = np.zeros(256, dtype=np.uint8)
    for number, annotation in enumerate(annotations[: VOID - 1], start=1):
        classes[number] = index[annotation.category_id]
    colors = palette().tobytes()
    picture = _painted(annotations, record.size)
    made = (f"SegmentationObject/{stem}.png", f"SegmentationClass/{stem}.png")
    for name, table in zip(made, (None, classes), strict=True):
        with out.replacing(name) as file:
            save(picture, file, bits=8, palette=colors, table=table)
    return made


def _xml(
    record: ImageRecord, name: str, annotations: list[Annotation], names: Mapping[int, str], pictured: bool
) -> str:
    height, width = record.size
    lines = [
        "<annotation>",
        f"  <folder>JPEGImages</folder>\n  <filename>{text(name)}</filename>",
        f"  <size><width>{int(width)}</width><height>{int(height)}</height><depth>3</depth></size>",
        f"  <segmented>{int(pictured)}</segmented>",
    ]
    for annotation in annotations:
        x0, y0, x1, y1 = annotation.box if annotation.mask is None or annotation.id is not None else annotation.mask.box
        sides: dict[str, Any] = {"xmin": x0 + 1, "ymin": y0 + 1, "xmax": x1, "ymax": y1}
        corners = "".join(f"<{side}>{plain(value)}</{side}>" for side, value in sides.items())
        pose = annotation.extra.get("pose")
        pose = pose if isinstance(pose, str) else "Unspecified"
        flags = {flag: int(str(annotation.extra.get(flag, 0)) in ("1", "True")) for flag in _FLAGS}
        further = "".join(f"<{flag}>{value}</{flag}>" for flag, value in flags.items())
        label = text(names[annotation.category_id])
        lines.append(
            f"  <object>\n    <name>{label}</name>\n    <pose>{text(pose)}</pose>\n    {further}\n"
            f"    <bndbox>{corners}</bndbox>\n  </object>"
        )
    return "\n".join(lines) + "\n</annotation>\n"
