"""Label formats, one file each: read them, write them, convert between them with a receipt.

A format module has KEEPS (words of FEATURES that survive a round trip), `recognise(path)` (why the files are of
this format, or None), `read(path) -> Dataset`, `write(dataset, path) -> WriteReport` and `existing(path)` (the label
file that a write would replace, or None); one whose labels say nothing about an image's size may have
`read_unsized(path, *, reach)`, see `Unsized`; further options of `read` and `write` are keyword-only; OPTIONS says in a
line what those of `write` do. Others bring formats through the entry point group `samlabel.formats`.
"""

from __future__ import annotations

from ._convert import begun, convert, note_images, read, transfer, wants_pictures, write
from ._lenient import SKIPPED, Lenient
from ._measure import MaskIou
from ._registry import FormatInfo, OptionInfo, detect_format, formats, get, names, options_of, parsed_options
from ._report import CODES, FEATURES, NOTED, REFUSED, Receipt, WriteReport
from ._unsized import Unsized, read_unsized

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
    "Unsized",
    "WriteReport",
    "begun",
    "convert",
    "detect_format",
    "formats",
    "get",
    "names",
    "note_images",
    "options_of",
    "parsed_options",
    "read",
    "read_unsized",
    "transfer",
    "wants_pictures",
    "write",
]
