"""Writing Parquet in the layout of Hugging Face object detection sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from converters.fields.annotation import SCORES, fields_of, scores_of
from converters.fields.values import category_table, check_listed, further
from converters.format import WriteReport
from converters.io.files import dump_json, opened, place_image, refuse_existing
from converters.options import FormatOptions, option
from samlabel.errors import FormatError, ImageChanged, UsageError, brief
from samlabel.files import OutputFolder
from samlabel.geometry import box_to_xywh
from samlabel.image_files import ImageFiles
from samlabel.types import Annotation, Dataset, ImageRecord

from .reader import OURS, arrow

FILE = "data/train-00000-of-00001.parquet"
ROWS = 256  # rows of a group, fewer when pictures make it larger than
BYTES = 64 << 20

_COLUMNS = frozenset(("id", "bbox", "iscrowd", "source", *SCORES))


@dataclass(frozen=True, kw_only=True)
class ParquetOptions(FormatOptions):
    pictures: Literal["path", "embed"] = option("path", "the latter puts the image files into the column image")


def write(dataset: Dataset, path: Path, options: ParquetOptions) -> WriteReport:
    """Write `path` itself when it ends in .parquet, else `path/data/train-00000-of-00001.parquet`.

    `pictures` is "path", or "embed" to put the image files into the column `image`, so that the file is all a reader
    needs. `images` places them in `images/` as well. Rows go to disk in groups, so memory does not grow with them.
    """
    images, files = options.images, dataset.images_in()
    pyarrow = arrow()
    file = _file(path)
    refuse_existing(existing(path), options.overwrite)
    table = category_table(dataset.categories)
    index = {entry["id"]: place for place, entry in enumerate(table)}
    features = _features([entry["name"] for entry in table])
    metadata = {b"huggingface": dump_json({"info": {"features": features}}).encode()}
    metadata[OURS] = dump_json({"categories": table, **further(dataset)}).encode()
    schema = _schema(pyarrow).with_metadata(metadata)
    report = WriteReport("parquet", str(file))
    waiting: list[dict[str, Any]] = []
    size = 0
    folder, target = OutputFolder(path.parent if file == path else path), path.name if file == path else FILE
    with folder.replacing(target) as out, pyarrow.parquet.ParquetWriter(out, schema, compression="zstd") as writer:
        for record in dataset.records:
            check_listed(record, index)
            place = record.path
            if images != "none":
                place = f"images/{record.path}"
                place_image(files, record.path, folder, place, images)
            data = _bytes(files, record) if options.pictures == "embed" else None
            waiting.append(_row(record, index, place, data))
            size += len(data or b"")
            if len(waiting) == ROWS or size > BYTES:
                writer.write_table(pyarrow.Table.from_pylist(waiting, schema=schema))
                waiting, size = [], 0
            report.images += 1
            report.objects += len(record.annotations)
        if waiting:
            writer.write_table(pyarrow.Table.from_pylist(waiting, schema=schema))
    return report


def existing(path: Path) -> Path | None:
    """The label file that `write` would replace; None where there is none."""
    file = _file(path)
    return file if file.exists() else None


def _file(path: Path) -> Path:
    return path if path.suffix.lower() == ".parquet" else path / FILE


def _bytes(files: ImageFiles, record: ImageRecord) -> bytes:
    if files.root is None:
        raise UsageError(
            f"the images of this dataset are unknown: name their folder to embed them (image {record.path})"
        )
    file = files.find(record.path)
    try:
        with opened(file) as handle:
            data = handle.read()
    except (FormatError, OSError) as error:
        if record.path in files.expected:
            raise ImageChanged(record.path, f"cannot be read any more: {brief(error)}") from error
        raise UsageError(f"{error}; embedding needs every image") from error
    files.confirm(record.path, data)
    return data


def _row(record: ImageRecord, index: Mapping[int, int], place: str, data: bytes | None) -> dict[str, Any]:
    entries = [_entry(annotation, index[annotation.category_id]) for annotation in record.annotations]
    return {
        "image": {"bytes": data, "path": place},
        "image_id": record.id,
        "width": int(record.size[1]),
        "height": int(record.size[0]),
        "file_name": record.path,
        "objects": {key: [entry[key] for entry in entries] for key in _OBJECT},
        "extra": dump_json(dict(record.extra)) if record.extra else None,
    }


def _entry(annotation: Annotation, place: int) -> dict[str, Any]:
    mask = annotation.mask
    fields = fields_of(annotation)
    box = annotation.box if mask is None or annotation.id is not None else mask.box
    rest = {
        key: value for key, value in fields.items() if key not in _COLUMNS or (key == "id" and isinstance(value, str))
    }
    x, y, width, height = box_to_xywh(box)
    area = annotation.area
    if area is None:
        area = mask.area if mask is not None else width * height
    entry: dict[str, Any] = {
        "id": annotation.id,
        "bbox": [x, y, width, height],
        "area": area,
        "category": place,
        "category_id": annotation.category_id,
        "iscrowd": int(annotation.iscrowd),
        "segmentation": None if mask is None else {"size": list(mask.size), "counts": mask.counts.decode("ascii")},
        "source": annotation.source,
        "extra": dump_json(rest) if rest else None,
    }
    return {**entry, **dict.fromkeys(SCORES), **scores_of(annotation)}


# Name -> the word that datasets and pyarrow share for the type of one object's value.
_OBJECT: dict[str, Any] = {
    "id": "int64",
    "bbox": ["float64"],
    "area": "float64",
    "category": "int64",
    "category_id": "int64",
    "iscrowd": "int8",
    "segmentation": {"size": ["int32"], "counts": "string"},
    "score": "float64",
    "predicted_iou": "float64",
    "stability_score": "float64",
    "source": "string",
    "extra": "string",
}
_ROW: dict[str, Any] = {
    "image": {"bytes": "binary", "path": "string"},
    "image_id": "int64",
    "width": "int32",
    "height": "int32",
    "file_name": "string",
    "objects": {key: [value] for key, value in _OBJECT.items()},
    "extra": "string",
}


def _schema(pyarrow: Any) -> Any:
    def type_of(word: Any) -> Any:
        if isinstance(word, list):
            return pyarrow.list_(type_of(word[0]))
        if isinstance(word, dict):
            return pyarrow.struct([(key, type_of(value)) for key, value in word.items()])
        return getattr(pyarrow, word)()

    return pyarrow.schema([(key, type_of(value)) for key, value in _ROW.items()])


def _features(names: list[str]) -> dict[str, Any]:
    """What `datasets` keeps in the metadata of a file to know its columns by."""

    def feature_of(word: Any) -> Any:
        if isinstance(word, list):
            return [feature_of(word[0])]
        if isinstance(word, dict):
            return {key: feature_of(value) for key, value in word.items()}
        return {"dtype": word, "_type": "Value"}

    features = {key: feature_of(value) for key, value in _ROW.items()}
    features["image"] = {"_type": "Image"}
    features["objects"]["category"] = [{"names": names, "_type": "ClassLabel"}]
    return features
