"""What a checkpoint claims, looked at before torch allocates anything for it; each fault is a ValueError."""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections.abc import Iterable
from typing import IO

from torch import Tensor

_AS_SAVED = "expected one as torch.save writes it"
_PICKLES = 5  # in a file from before torch 1.6: the fourth holds the objects
# What tensors by name are made of. torch allows more, such as a bytearray of any length, or bytes made over and over.
_MADE_OF = re.compile(
    r"collections OrderedDict|torch (\w*Storage|[a-z]+\d\w*|device)|torch\.storage \w+Storage"
    r"|torch\._utils _rebuild_(tensor(_v2|_v3)?|parameter)|torch\.nn\.parameter Parameter"
)


def check_file(file: IO[bytes], size: int) -> None:
    """Refuses packed archives, which may unfold for ever, and pickles of more than tensors; `size` is the file's."""
    if not zipfile.is_zipfile(file):
        file.seek(0)
        for _ in range(_PICKLES):
            _check_pickle(file)
        return
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
        if packed or sum(member.file_size for member in members) > size:
            raise ValueError(f"an archive that is larger when unpacked; {_AS_SAVED}")
        for member in members:
            if member.filename.lower().endswith("data.pkl"):
                with archive.open(member) as inner:
                    _check_pickle(inner)


def _check_pickle(file: IO[bytes]) -> None:
    try:
        names = {str(name) for code, name, _ in pickletools.genops(file) if code.name == "GLOBAL"}
    except (ValueError, MemoryError):
        raise ValueError("damaged or not a checkpoint; download it again") from None
    if odd := [name for name in sorted(names) if not _MADE_OF.fullmatch(name)]:
        raise ValueError(
            f"holds Python objects beside tensors ({odd[0][:60]}), which could run code when opened, or take any "
            "memory; save its state dict alone, or as safetensors"
        )


def check_tensors(tensors: Iterable[Tensor], size: int) -> None:
    """Refuses tensors that claim more than a file of `size` bytes holds, before they are copied.

    A stride of 0 makes a tensor of any size from one number. Twice the file leaves room for tensors that share theirs.
    """
    declared = sum(value.numel() * value.element_size() for value in tensors)
    if declared > 2 * size:
        raise ValueError(f"tensors of {declared} bytes in a file of {size}; {_AS_SAVED}")
