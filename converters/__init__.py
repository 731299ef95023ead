"""Label formats, one folder each: read them, write them, convert between them with a receipt.

    import converters

    dataset = converters.read("labels")  # records are read when they are iterated
    receipt = converters.convert("labels", "out", to="yolo")

A format is a subclass of `Format`. Others bring theirs through the entry point group `samlabel.formats`.
"""

from __future__ import annotations

from .convert import Policy, begun, convert, note_images, read, transfer, update, write
from .features import CODES, FEATURES, NOTED, REFUSED
from .format import Audit, Capabilities, Format, Unsized, WriteReport
from .imagewise import ImagewiseFormat, Made, Unchanged, Update
from .lenient import SKIPPED, Lenient
from .options import FormatOptions, ImageMode, OptionInfo, ReadOptions, option
from .receipt import Receipt
from .recognition import detect_format
from .registry import FormatInfo, get, list_formats, names
from .round_trip import MaskIou
from .unsized import read_unsized

__all__ = [
    "CODES",
    "FEATURES",
    "NOTED",
    "REFUSED",
    "SKIPPED",
    "Audit",
    "Capabilities",
    "Format",
    "FormatInfo",
    "FormatOptions",
    "ImageMode",
    "ImagewiseFormat",
    "Lenient",
    "Made",
    "MaskIou",
    "OptionInfo",
    "Policy",
    "ReadOptions",
    "Receipt",
    "Unchanged",
    "Unsized",
    "Update",
    "WriteReport",
    "begun",
    "convert",
    "detect_format",
    "get",
    "list_formats",
    "names",
    "note_images",
    "option",
    "read",
    "read_unsized",
    "transfer",
    "update",
    "write",
]
