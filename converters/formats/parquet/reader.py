"""Reading Parquet in the layout of Hugging Face object detection sets, a few rows at a time; see parquet.py."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from converters.fields.annotation import READ, annotation_of, bounded
from converters.fields.values import further_of, numbers, read_categories, read_mask, size_of, whole
from converters.io.files import EXTRACTED, find_image_root, opened, parse_json, relative_name
from converters.io.folders import Once, files_below, head_of, size_from_image
from converters.lenient import Lenient, broken, coded, passing_over, unbroken
from converters.options import ReadOptions
from converters.records import RecordStream
from samlabel.decoders import measure
from samlabel.errors import FormatError, ImageError, MissingDependency, SamlabelError, brief, shown
from samlabel.files import Scratch
from samlabel.geometry import box_from_xywh
from samlabel.reach import Reach
from samlabel.types import Annotation, Category, Dataset, ImageRecord, Size

from .bounds import ROWS, check, check_texts

OURS = b"samlabel"  # key of the schema's metadata that holds the table of classes
OBJECTS = 1 << 20  # of one image
MUCH = 1 << 25  # bytes of so many rows above which they are made one at a time
PASSING = 8  # pictures on disk at once, for a reader that looks at a record or two after the next


def arrow() -> Any:
    """pyarrow with its parquet module; MissingDependency with the command that installs it."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise MissingDependency('format "parquet" needs pyarrow: pip install "samlabel[parquet]"') from error
    return pyarrow


def recognize(path: Path) -> str | None:
    """Why `path` is Parquet, None when it is not."""
    file = path if path.is_file() else next(iter(_files(path)), None)
    if file is None or file.suffix.lower() != ".parquet" or head_of(file, 4) != b"PAR1":
        return None
    with opened(file) as handle:
        return f"{file.name} begins as Parquet files do" if handle.read(4) == b"PAR1" else None


def _files(path: Path) -> tuple[Path, ...]:
    if path.is_file():
        return (path,)
    return tuple(files_below(path / "data" if (path / "data").is_dir() else path, ".parquet"))


def read(path: Path, options: ReadOptions) -> Dataset:
    """The dataset of a Parquet file or of a folder of them; records in the order of files and rows.

    Wants a column `image` and a column `objects` with `bbox` (XYWH) and `category`; `segmentation` is COCO RLE.
    Pictures inside the file are measured where there is no width and height; with `pictures`, and where no folder
    holds the images, each is put into a temporary folder, the dataset's `image_root`, while its record passes by.
    Raises FormatError with file, row and rule; with `lenient`, broken rows and objects are left out and counted there.
    """
    image_root, lenient, reach = options.image_root, options.lenient, options.reach_of(path)
    files = tuple(reach.check(file) for file in _files(path))
    if not files:
        raise FormatError(f"{path}: no .parquet file here")
    categories, extra = _categories(files, lenient)
    base = path if path.is_dir() else path.parent
    parents = [base, base.parent]
    names = list(islice(unbroken(_names(files, image_root), lenient), 50))
    usual = [p for parent in parents for p in (parent / "images", parent)]
    root = image_root or find_image_root(names, usual, reach)
    extracted = (
        _Extracted() if options.pictures and root is None and any(_holds_bytes(file) for file in files) else None
    )
    if extracted is not None:
        reach = reach.plus(extracted.root)
    records = _Records(files, categories, root, lenient, extracted, reach, image_root)
    return Dataset(categories, records, extracted.root if extracted else root, extra, reach)


def _names(files: tuple[Path, ...], image_root: Path | None) -> Iterator[Callable[[], str]]:
    for file in files:
        for place, row in _rows(file, pictures=False):
            yield partial(_name, row, place, file, image_root)


def _holds_bytes(file: Path) -> bool:
    image = {field.name: field.type for field in _open(file).schema_arrow}.get("image")
    if image is None or not arrow().types.is_struct(image):
        return False
    return "bytes" in {image.field(n).name for n in range(image.num_fields)}


class _Extracted:
    """A temporary folder of the pictures of the last few records; it goes with the last that refers to it."""

    def __init__(self) -> None:
        self._folder = Scratch(EXTRACTED)
        self.root = self._folder.path
        self._there: deque[str] = deque()

    def put(self, name: str, data: bytes, where: str) -> None:
        if len(self._there) == PASSING:
            self._folder.remove(self._there.popleft())
        try:
            self._folder.write(name, data)
        except SamlabelError as error:
            raise broken("bad-image", f"{where}: the picture cannot be put on disk: {brief(error)}") from error
        self._there.append(name)


def _open(file: Path) -> Any:
    """The file, found to claim no more than a table of labels needs."""
    repeating = check(file)
    try:
        found = arrow().parquet.ParquetFile(file)
        if repeating:
            check_texts(arrow(), file, [found.schema.column(place).path for place in repeating])
        return found
    except (FormatError, MissingDependency):
        raise
    except Exception as error:  # pyarrow's own errors, and those of the codecs below it
        raise FormatError(f"{file}: not readable as Parquet: {brief(error)}") from error


def _rows(file: Path, *, pictures: bool) -> Iterator[tuple[int, dict[str, Any]]]:
    table = _open(file)
    names = table.schema_arrow.names
    if "objects" not in names:
        raise FormatError(f"{file}: no column objects; there are {', '.join(map(shown, names))[:200]}")
    columns = list(names)
    if not pictures and "image" in names:
        columns = [name for name in names if name != "image"] + ["image.path"]
    place = 0
    try:
        for batch in table.iter_batches(batch_size=ROWS, columns=columns):
            for number in range(0, batch.num_rows, ROWS if batch.nbytes < MUCH else 1):
                for row in batch.slice(number, ROWS if batch.nbytes < MUCH else 1).to_pylist():
                    yield place, row
                    place += 1
    except FormatError:
        raise
    except Exception as error:
        raise FormatError(f"{file}: damaged after row {place}: {brief(error)}") from error


def _categories(files: tuple[Path, ...], lenient: Lenient | None) -> tuple[tuple[Category, ...], dict[str, Any]]:
    """Our own table, or the names of the feature `category`, or as many classes as are used; the dataset's fields."""
    metadata = _open(files[0]).schema_arrow.metadata or {}
    try:
        if OURS in metadata:
            table = parse_json(metadata[OURS], f"{files[0]}: its metadata")
            return read_categories(table["categories"], files[0]), further_of(table, files[0])
        told = parse_json(metadata.get(b"huggingface", b"{}"), f"{files[0]}: its metadata")
        features = told.get("info", {}).get("features", {})
        names = _class_names(features.get("objects"), 0)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"{files[0]}: the metadata of its schema is damaged: {brief(error)}") from error
    if names is None:
        used = max(unbroken(_classes(files, lenient), lenient), default=-1)
        names = [f"class_{number}" for number in range(used + 1)]
    return tuple(Category(number, name) for number, name in enumerate(names)), {}


def _classes(files: tuple[Path, ...], lenient: Lenient | None) -> Iterator[Callable[[], int]]:
    for file in files:
        for place, row in _rows(file, pictures=False):
            where = f"{file}: row {place}"
            for entries in unbroken([partial(_entries, row, where)], lenient):
                yield from (partial(_class, entry, where) for entry in entries)


def _class_names(feature: Any, depth: int) -> list[str] | None:
    """The names of the first ClassLabel among the features of `objects`."""
    if isinstance(feature, list):
        feature = feature[0] if feature else None
    if not isinstance(feature, dict) or depth > 8:
        return None
    if feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list):
        return [str(name) for name in feature["names"]]
    for key in ("category", "categories", "label", "labels", "feature"):
        if key in feature and (found := _class_names(feature[key], depth + 1)) is not None:
            return found
    return None


def _class(entry: dict[str, Any], where: str) -> int:
    found = next((entry[key] for key in ("category", "categories", "label", "labels") if key in entry), None)
    number = whole(found)
    if number is None or not 0 <= number <= 100_000:
        raise broken("bad-category", f"{where}: category {shown(found)} is not the number of a class")
    return number


def _entries(row: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """The objects of a row, from a struct of lists or a list of structs."""
    objects = row.get("objects")
    if isinstance(objects, list):
        if not all(isinstance(entry, dict) for entry in objects):
            raise FormatError(f"{where}: objects is a list of other things than structs")
        return objects
    if objects is None:
        return []
    if not isinstance(objects, dict):
        raise FormatError(f"{where}: objects is neither a struct of lists nor a list of structs")
    lists = {key: value for key, value in objects.items() if isinstance(value, list)}
    lengths = {len(value) for value in lists.values()}
    if len(lengths) > 1:
        raise FormatError(f"{where}: the lists of objects differ in length: {sorted(lengths)}")
    if max(lengths, default=0) > OBJECTS:
        raise FormatError(f"{where}: {max(lengths)} objects in one image; expected at most {OBJECTS}")
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def _name(row: dict[str, Any], place: int, file: Path, image_root: Path | None) -> str:
    image = row.get("image")
    path = image.get("path") if isinstance(image, dict) else None
    name = row.get("file_name") or path
    if not name:
        name = f"{row['image_id'] if isinstance(row.get('image_id'), int) else f'{file.stem}-{place}'}.jpg"
    return relative_name(name, f"{file}: row {place}", image_root)


@dataclass(frozen=True)
class _Records(RecordStream):
    files: tuple[Path, ...]
    categories: tuple[Category, ...]
    root: Path | None
    lenient: Lenient | None
    extracted: _Extracted | None
    reach: Reach
    named_root: Path | None  # the folder of the images, where the user named it

    def makes(self, once: Once) -> Iterator[Callable[[], ImageRecord]]:
        known = frozenset(category.id for category in self.categories)
        for file in self.files:
            sized = {"width", "height"} <= set(_open(file).schema_arrow.names)
            rows = _rows(file, pictures=not sized or self.extracted is not None)
            yield from (partial(self._record, row, place, file, known, once) for place, row in rows)

    def _record(self, row: dict[str, Any], place: int, file: Path, known: frozenset[int], once: Once) -> ImageRecord:
        where = f"{file}: row {place}"
        name = _name(row, place, file, self.named_root)
        once.check(name, where)
        size = self._size(row, name, where)
        makes = [partial(_object, entry, size, known, where) for entry in _entries(row, where)]
        objects = bounded(passing_over(makes, self.lenient), where)
        data = _bytes_of(row)
        if self.extracted is not None and data:
            self.extracted.put(name, data, where)
        return ImageRecord(name, size, objects, whole(row.get("image_id")), _json(row.get("extra"), where))

    def _size(self, row: dict[str, Any], name: str, where: str) -> Size:
        if row.get("height") is not None and row.get("width") is not None:
            return size_of(row["height"], row["width"], where)
        data = _bytes_of(row)
        return _measured(data, where) if data else size_from_image(self.root, name, where, self.reach)


def _bytes_of(row: dict[str, Any]) -> bytes | None:
    image = row.get("image")
    data = image.get("bytes") if isinstance(image, dict) else None
    return data if isinstance(data, bytes) else None


def _measured(data: bytes, where: str) -> Size:
    try:
        return measure(data, where)
    except ImageError as error:
        raise FormatError(f"{error} (the image inside)") from error


def _json(text: Any, where: str) -> dict[str, Any]:
    if text is None:
        return {}
    value = parse_json(text, f"{where}: extra") if isinstance(text, (str, bytes)) else None
    if not isinstance(value, dict):
        raise FormatError(f"{where}: extra is not a JSON object")
    return value


def _object(entry: dict[str, Any], size: Size, known: frozenset[int], where: str) -> Annotation:
    mask = read_mask(entry.get("segmentation"), size, where)
    category = whole(entry.get("category_id"))
    category = category if category in known and entry.get("category_id") is not None else _class(entry, where)
    if category not in known:
        raise broken("bad-category", f"{where}: category {category} is not among the classes of this file")
    if entry.get("bbox") is not None:
        with coded("bad-box"):
            box = box_from_xywh(numbers(entry["bbox"], where, "bbox", length=4))
    elif mask is not None:
        box = mask.box
    else:
        raise broken("bad-box", f"{where}: an object with neither bbox nor segmentation")
    fields = {key: value for key, value in entry.items() if key in READ and value is not None and key != "bbox"}
    return annotation_of({**_json(entry.get("extra"), where), **fields}, category, mask, box, where)
