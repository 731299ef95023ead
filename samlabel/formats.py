"""Label formats as the rest of samlabel uses them: the one module that imports `converters`."""

from __future__ import annotations

from converters import (
    Format,
    FormatOptions,
    Lenient,
    OptionInfo,
    Policy,
    Receipt,
    Unsized,
    begun,
    detect_format,
    get,
    list_formats,
    names,
    note_images,
    read,
    read_unsized,
    transfer,
    write,
)
from converters.parallel import Part

__all__ = [
    "Format",
    "FormatOptions",
    "Lenient",
    "OptionInfo",
    "Part",
    "Policy",
    "Receipt",
    "Unsized",
    "begun",
    "detect_format",
    "get",
    "list_formats",
    "names",
    "note_images",
    "read",
    "read_unsized",
    "transfer",
    "write",
]
