"""Model files that can run code when they are opened: who said that they may, and the bytes that were meant.

A `.pt` is a Python pickle: opening it calls what its maker wrote into it.
https://docs.python.org/3/library/pickle.html (the warning at its top)

Trust is kept in samlabel's own data folder alone, by content: a note there says that bytes with that SHA-256 may be
opened, wherever they lie. Nothing that lies beside a model counts.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from ..errors import UntrustedWeights, UsageError, WeightsError, reason
from ..files import OutputFolder, Scratch
from ..hub.hashing import hash_tree

# Exports that hold numbers and a graph of known operators. What is not listed counts as able to run code.
PLAIN_SUFFIXES = (".onnx", ".tflite", ".mnn", "_openvino_model", "_ncnn_model")


@dataclass(frozen=True)
class Copy:
    """A model file or exported folder that only this user can reach; it goes when this object does."""

    path: Path
    sha256: str  # of these very bytes
    folder: Scratch  # gone with the last that holds it


def private_copy(path: Path, trust: bool | str, *, suffix: str) -> Copy:
    """`path` as `model<suffix>` in a folder of its own with mode 0700, to be opened there.

    It is opened under a name of ours because libraries read meaning into names: quotes and spaces are taken off,
    `yolov5s.pt` means `yolov5su.pt`, and a part in the middle is taken for the kind of file. Raises UntrustedWeights
    unless `trust` is True, or the SHA-256 of what was copied, or `suffix` is of plain exports, or the content was
    noted.
    """
    wanted = _digest(trust) if isinstance(trust, str) else None
    if wanted is None and trust is not True and suffix not in PLAIN_SUFFIXES:
        wanted = hash_tree(path)  # nothing is copied of what is refused anyway
        if not is_noted(wanted):
            raise UntrustedWeights(
                f"{path} was not opened: such a file can run code (a .pt is a Python pickle), so whoever made it "
                f"decides what happens on this machine. If you trust them: --trust-weights, or for this very file only "
                f"--trust-sha256 {wanted} (from Python TrustOptions). Exports to .onnx or .tflite need no trust"
            )
    folder = Scratch("samlabel-model-")
    _check_room(path, folder.path)
    name = f"model{suffix}"
    try:
        found = hash_tree(path, into=folder, name=name)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be copied to {folder.path} to be opened there: {reason(error)}") from error
    if wanted is not None:
        check_digest(path, found, wanted)
    return Copy(folder.path / name, found, folder)


def check_digest(path: Path, found: str, trusted: str) -> None:
    """UntrustedWeights unless the SHA-256 that was `found` in `path` is the `trusted` one."""
    if found != _digest(trusted):
        raise UntrustedWeights(f"{path}: its SHA-256 is {found}, trusted is {_digest(trusted)}; it was not opened")


def is_noted(sha256: str) -> bool:
    """Whether `samlabel fetch` brought a file with this content."""
    return (notes_folder() / f"{sha256}.json").is_file()


def note(arrived: Path, sha256: str) -> None:
    """Trust the content of a file that was fetched.

    The first content that arrives in a place is the one that is trusted: WeightsError where another is noted.
    """
    folder = notes_folder()
    for file in sorted(folder.glob("*.json")):
        if file.stem != sha256 and _arrived(file) == str(arrived):
            raise WeightsError(
                f"{arrived}: its SHA-256 is {sha256}, but what was fetched first and is trusted has {file.stem}; "
                f"delete the one that is wrong: this file, or the note {file}"
            )
    if not is_noted(sha256):
        OutputFolder(folder).write(f"{sha256}.json", json.dumps({"file": str(arrived)}) + "\n", durable=True)


def notes_folder() -> Path:
    """Where trust is noted: a file `<SHA-256>.json` for each content, in the user's data folder of this system."""
    import platformdirs

    return platformdirs.user_data_path("samlabel", False) / "trusted"


def _arrived(file: Path) -> object:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content.get("file") if isinstance(content, dict) else None


def _digest(text: str) -> str:
    digest = text.strip().lower().removeprefix("sha256:")
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise UsageError(f"{text!r} is no SHA-256; expected 64 hexadecimal digits")
    return digest


def _check_room(path: Path, folder: Path) -> None:
    """A file may claim terabytes that it does not take where it lies."""
    size = sum(one.stat().st_size for one in (path.rglob("*") if path.is_dir() else [path]) if one.is_file())
    free = shutil.disk_usage(folder).free
    if size > free:
        raise WeightsError(
            f"{path} takes {size / 1e6:.1f} MB, but {folder.parent}, where it would be opened, has {free / 1e6:.1f} MB "
            f"free; set TMPDIR to another folder"
        )
