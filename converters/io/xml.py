"""XML label files: read without entities and DTDs, written with every character accounted for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from samlabel.errors import FormatError, UsageError, brief, reason, shown

from .files import opened

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_ANNOTATION = re.compile(rb"<annotation[\s>]")
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


@contextmanager
def _named(file: Path) -> Iterator[None]:
    from xml.etree.ElementTree import ParseError

    from defusedxml.common import DefusedXmlException

    try:
        yield
    except DefusedXmlException as error:
        raise FormatError(f"{file}: declares a document type or entities, which label files never need") from error
    except ParseError as error:
        line, column = error.position
        raise FormatError(f"{file}:{line}: broken XML: {error} (column {column})") from error
    except OSError as error:
        raise FormatError(f"{file}: {reason(error)}") from error
    except (ValueError, LookupError) as error:  # encodings that are unknown, or that Python takes and expat does not
        raise FormatError(f"{file}: broken XML: {brief(error)}") from error


def is_annotation(head: bytes) -> bool:
    """Whether a file that begins so has the root <annotation>, with attributes or without."""
    return _ANNOTATION.search(head) is not None


def read_xml(file: Path) -> Element:
    """The root of an XML file; FormatError when it is broken or declares entities."""
    from defusedxml import ElementTree

    with _named(file), opened(file) as handle:
        root = ElementTree.parse(handle, forbid_dtd=True).getroot()
    assert root is not None  # a file without an element is a ParseError
    return root


def stream_xml(file: Path, *tags: str) -> Iterator[Element]:
    """The root's children of these tags one by one, each dropped from memory before the next is read."""
    from defusedxml import ElementTree

    depth = 0
    with opened(file) as handle:
        events = iter(ElementTree.iterparse(handle, ("start", "end"), forbid_dtd=True))
        root = None
        while True:
            with _named(file):
                found = next(events, None)
            if found is None:
                return
            event, element = found
            if root is None:
                root = element
            depth += 1 if event == "start" else -1
            if event == "end" and depth == 1:
                if element.tag in tags:
                    yield element
                root.clear()


def text(value: str) -> str:
    """`value` as the content of an element or of an attribute in double quotes.

    UsageError for a character that XML 1.0 has no way to write: control characters, halves of a surrogate pair.
    """
    if _ILLEGAL.search(value):
        raise UsageError(f"{shown(value)} holds a character that XML cannot write; rename it")
    value = value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    return value.replace("\t", "&#9;").replace("\n", "&#10;").replace("\r", "&#13;")
