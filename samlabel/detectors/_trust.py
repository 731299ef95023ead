"""Which model files can run code when they are opened, and whether the caller said that this one may.

A `.pt` is a Python pickle: opening it calls what its maker wrote into it.
https://docs.python.org/3/library/pickle.html (the warning at its top)
"""

from __future__ import annotations

from pathlib import Path

from ..errors import UntrustedWeights, UsageError
from ..images import hash_tree

# Exports that hold numbers and a graph of known operators. What is not listed counts as able to run code.
PLAIN_SUFFIXES = (".onnx", ".tflite", ".mnn", "_openvino_model", "_ncnn_model")


def check_trust(path: Path, trust: bool | str) -> None:
    """UntrustedWeights when `path` can run code and `trust` is neither True nor its SHA-256.

    A file that `samlabel fetch` brought is trusted as long as it is the one that arrived then.
    """
    if trust is True or path.name.lower().endswith(PLAIN_SUFFIXES):
        return
    found = hash_tree(path)
    if isinstance(trust, str):
        wanted = trust.lower().removeprefix("sha256:")
        if len(wanted) != 64 or set(wanted) - set("0123456789abcdef"):
            raise UsageError(f"{trust!r} is no SHA-256; wanted 64 hexadecimal digits")
        if found != wanted:
            raise UntrustedWeights(f"{path}: its SHA-256 is {found}, trusted is {wanted}; it was not opened")
        return
    note = note_of(path)
    if note.is_file() and note.read_text(encoding="utf-8").strip() == found:
        return
    raise UntrustedWeights(
        f"{path} was not opened: such a file can run code (a .pt is a Python pickle), so whoever made it decides what "
        f"happens on this machine. If you trust them: --trust-weights (trust_weights=True), or for this very file "
        f"only --trust-sha256 {found} (trust_weights=<the same>). Exports to .onnx or .tflite need no trust"
    )


def note_of(path: Path) -> Path:
    """Where `samlabel fetch` notes the SHA-256 of what it brought."""
    return path.with_name(f"{path.name}.sha256")
