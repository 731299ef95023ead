"""Label formats, one file each: read them, write them, convert between them with a receipt.

A format module has KEEPS (words of FEATURES that survive a round trip), `recognise(path)` (why the files are of
this format, or None), `read(path) -> Dataset`, `write(dataset, path) -> WriteReport` and `existing(path)` (the label
file that a write would replace, or None); further options of `read` and `write` are keyword-only; OPTIONS says in a
line what those of `write` do. Others bring formats through the entry point group `samlabel.formats`.
"""

from __future__ import annotations

from .convert import begun, convert, note_images, read, transfer, wants_pictures, write
from .lenient import SKIPPED, Lenient
from .receipt import CODES, FEATURES, NOTED, REFUSED, Receipt, WriteReport
from .registry import FormatInfo, OptionInfo, detect_format, get, list_formats, names, options_of, parsed_options
from .round_trip import MaskIou

__all__ = [
    "CODES",
    "FEATURES",
    "NOTED",
    "REFUSED",
    "SKIPPED",
    "FormatInfo",
    "Lenient",
    "MaskIou",
    "OptionInfo",
    "Receipt",
    "WriteReport",
    "begun",
    "convert",
    "detect_format",
    "get",
    "list_formats",
    "names",
    "note_images",
    "options_of",
    "parsed_options",
    "read",
    "transfer",
    "wants_pictures",
    "write",
]
