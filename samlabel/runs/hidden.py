"""What the hidden folder of a run says of the run: written by us or by a stranger, and so checked like other input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..errors import FormatError
from ..files import OutputFolder
from ..walk import leads_out

HIDDEN, KEPT = ".samlabel", "kept"  # folders of an output that are no format's
OUTPUTS = f"{HIDDEN}/outputs.json"


def read_json(folder: OutputFolder, name: str) -> dict[str, Any]:
    """The object in a JSON file; empty where there is none."""
    try:
        found = json.loads(folder.read(name) or b"{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def known_outputs(folder: OutputFolder) -> dict[str, dict[str, Any]]:
    """What the folder of a run says of the label files in it, by format; FormatError where samlabel did not write it.

    The folder may be a stranger's: names of formats and files are checked before any of them is opened or moved.
    """
    content = folder.read(OUTPUTS)
    try:
        known = json.loads(content) if content is not None else {}
        if not isinstance(known, dict):
            raise ValueError("it is no table of formats")
        for name, one in known.items():
            if leads_out(name) or set("/\\") & set(name) or name.startswith(".") or name == KEPT:
                raise ValueError(f"{name!r} is no name of a format")
            _check_known(name, one)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise FormatError(
            f"{folder.named / OUTPUTS}: {reason}; samlabel did not write this, nothing was changed: choose another "
            f"--out, or remove the file"
        ) from error
    return known


def _check_known(name: str, one: Mapping[str, Any]) -> None:
    """An error unless the entry of a format is as `Outputs.replace` makes it."""
    versions = {**one.get("files", {}), **one.get("next", {})}
    pictures = one.get("pictures", {})
    for file in (*versions, *pictures):
        if leads_out(file):
            raise ValueError(f"the file {file!r} of {name!r} leads outside")
    for *state, sha256 in versions.values():
        _check(name, _is_state(state), "versions of files")
        _check(name, sha256 is None or isinstance(sha256, str), "hashes of files")
    _check(name, all(isinstance(one, list) and _are_numbers(one) for one in pictures.values()), "versions of images")
    _check(name, all(isinstance(count, int) for count in one.get("losses", {}).values()), "losses")
    made = one.get("images", {}).values()
    _check(
        name, all(isinstance(digest, str) and isinstance(place, int) and place >= 0 for digest, place in made), "images"
    )
    origin = one.get("origin")
    if origin is not None:
        classes, images = origin["categories"], origin["images"]
        _check(name, isinstance(origin["end"], int) and isinstance(origin["records"], str), "origin")
        _check(name, all(isinstance(key, int) and isinstance(text, str) for key, text, _ in classes), "classes")
        _check(name, all(isinstance(image, str) and not leads_out(image) for image in images), "images")


def _is_state(state: list[Any]) -> bool:
    """Whether this is what `Outputs` notes of a file beside its hash: a link, a hard link, or size, times and inode."""
    if state[:1] == ["link"]:
        return len(state) == 2 and isinstance(state[1], str)
    if state[:1] == ["hardlink"]:
        return len(state) == 2 and _are_numbers(state[1:])
    return len(state) in (2, 4) and _are_numbers(state)


def _are_numbers(values: list[Any]) -> bool:
    return all(isinstance(value, int) for value in values)


def _check(name: str, good: bool, what: str) -> None:
    if not good:
        raise ValueError(f"the {what} of {name!r} are none")
