"""Checkpoints in a cache folder: fetched only when asked for by name, checked before they count.

A download goes to `FILE.part` and becomes `FILE` by renaming once its SHA-256 is right, so a file
without that suffix is whole. A download that breaks off is continued with an HTTP range request
(https://www.rfc-editor.org/rfc/rfc9110#name-range-requests).
"""

from __future__ import annotations

import http.client
import logging
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError, WeightsError, naming
from ..errors import reason as words_of
from ..file_state import hash_file
from ..files import OutputFolder
from ..lock import Lock

CACHE_VARIABLE, MIRROR_VARIABLE = "SAMLABEL_CACHE", "SAMLABEL_MIRROR"
SECONDS_OF_SILENCE = 30.0  # after which a connection counts as broken
_ATTEMPTS = 5  # in a row that bring no byte
_CHUNK = 2**20

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One file that can be fetched, and what is known of it."""

    name: str  # of the variant that it holds
    url: str
    sha256: str
    size: int  # bytes
    licence: str

    @property
    def file(self) -> str:
        """The last part of the address."""
        return self.url.rpartition("/")[2]


def cache_folder() -> Path:
    """Where checkpoints are kept: SAMLABEL_CACHE, or the user's cache folder of this system."""
    import platformdirs

    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("samlabel", False)) / "checkpoints"


def where(checkpoint: Checkpoint) -> Path:
    """The file that a pull of `checkpoint` makes, whether it is there or not."""
    return cache_folder() / checkpoint.file


def state(checkpoint: Checkpoint) -> str:
    """ "absent", "partial", "pulled", or "damaged" when its size is wrong; `verify` reads all of it."""
    path = where(checkpoint)
    if path.is_file():
        return "pulled" if path.stat().st_size == checkpoint.size else "damaged"
    return "partial" if path.with_name(f"{path.name}.part").is_file() else "absent"


def verify(checkpoint: Checkpoint) -> Path:
    """The pulled file, every byte of it checked; raises WeightsError when it is absent or damaged."""
    path = where(checkpoint)
    if not path.is_file():
        raise WeightsError(
            f"{checkpoint.name} is not in {path.parent}: samlabel models pull {checkpoint.name} "
            f"({_megabytes(checkpoint.size)}), or name a file with --sam-checkpoint (sam_checkpoint=)"
        )
    if path.stat().st_size != checkpoint.size or hash_file(path) != checkpoint.sha256:
        raise WeightsError(
            f"{path} is damaged and is not used: samlabel models pull {checkpoint.name} fetches it again"
        )
    return path


def pull(
    checkpoint: Checkpoint,
    *,
    mirror: str | None = None,
    offline: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """The file of `checkpoint`, fetched unless it is there and sound; `progress` hears bytes so far and in all.

    `mirror` (or SAMLABEL_MIRROR) is the address of a folder that holds the file under the same name.
    A pull of the same file by another process is waited for, and its file taken.
    Raises WeightsError; what had arrived by then is kept and continued by the next pull.
    """
    path = where(checkpoint)
    try:
        return verify(checkpoint)
    except WeightsError:
        if offline:
            raise
    url = _address(checkpoint, mirror)
    part = _Part(_made(path.parent), path.name)
    with Lock(path, wait=True):
        with suppress(WeightsError):  # another process has fetched it meanwhile
            return verify(checkpoint)
        _need_room(path.parent, checkpoint.size - part.arrived())
        _download(url, part, checkpoint.size, progress)
        digest = hash_file(part.path)
        if digest != checkpoint.sha256:
            part.remove()
            raise WeightsError(f"{url}: its SHA-256 is {digest}, wanted {checkpoint.sha256}; nothing of it was kept")
        part.finish()
    return path


@dataclass(frozen=True)
class _Part:
    """What has arrived of the file `whole` in a folder."""

    folder: OutputFolder
    whole: str

    @property
    def name(self) -> str:
        return f"{self.whole}.part"

    @property
    def path(self) -> Path:
        return self.folder.path / self.name

    def arrived(self) -> int:
        """Bytes, 0 where there is none; what is no file of ours, such as a link, is removed."""
        if self.folder.kind(self.name) == "file":
            return self.path.stat().st_size
        self.folder.remove(self.name)
        return 0

    def remove(self) -> None:
        self.folder.remove(self.name)

    def finish(self) -> None:
        self.folder.rename(self.name, self.whole)


def _address(checkpoint: Checkpoint, mirror: str | None) -> str:
    base = mirror or os.environ.get(MIRROR_VARIABLE)
    if not base:
        return checkpoint.url
    if not base.startswith(("http://", "https://")):
        raise UsageError(f"the mirror {base!r} is not an address; wanted http://... or https://...")
    return f"{base.rstrip('/')}/{checkpoint.file}"


def _made(folder: Path) -> OutputFolder:
    try:
        return OutputFolder(folder).make()
    except UsageError as error:
        reason = error.__cause__.strerror if isinstance(error.__cause__, OSError) else error
        raise WeightsError(f"the cache folder {folder} cannot be made: {reason}; set {CACHE_VARIABLE}") from error


def _need_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise WeightsError(
            f"{folder} has {_megabytes(free)} free, {_megabytes(needed)} are needed; set {CACHE_VARIABLE}"
        )


def _download(url: str, part: _Part, size: int, progress: Callable[[int, int], None] | None) -> None:
    """Fills `part` up to `size` bytes, going on after breaks while each attempt brings something."""
    in_vain = most = 0
    while True:
        have = part.arrived()
        if have == size:
            return
        if have > size:  # of another file
            part.remove()
            have = 0
        try:
            _attempt(url, part, have, size, progress)
            reason = "the connection closed"
        except urllib.error.HTTPError as error:
            if error.code == 416 and have:  # it knows no such range: what we have is not its beginning
                part.remove()
            elif error.code < 500:
                raise WeightsError(f"{url}: the server answers {error.code} {error.reason}") from error
            reason = f"the server answers {error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.filename is not None:  # our file, not the connection
                raise WeightsError(f"{part.path}: {words_of(error)}; the same command continues there") from error
            said = error.reason if isinstance(error, urllib.error.URLError) else error
            reason = str(said) or type(error).__name__
        now = part.arrived()
        in_vain = 0 if now > max(have, most) else in_vain + 1
        most = max(most, have, now)
        if in_vain >= _ATTEMPTS or (in_vain and not now):
            raise WeightsError(
                f"{url}: stopped after {now} of {size} bytes ({reason}); the same command continues there"
            )


def _attempt(url: str, part: _Part, have: int, size: int, progress: Callable[[int, int], None] | None) -> None:
    headers = {"User-Agent": "samlabel", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=SECONDS_OF_SILENCE) as answer:
        if answer.status == 206 and not str(answer.headers.get("Content-Range", "")).startswith(f"bytes {have}-"):
            raise WeightsError(f"{url}: the server sends another part than the one asked for; try a mirror")
        if answer.status != 206:
            have = 0  # a server without ranges sends it all again
            part.remove()
        with part.folder.append(part.name) as file:
            while chunk := answer.read(_CHUNK):
                have += len(chunk)
                if have > size:
                    file.close()
                    part.remove()
                    raise WeightsError(f"{url}: sends more than the {size} bytes of this file; nothing of it was kept")
                with naming(part.path):
                    file.write(chunk)
                    file.flush()
                if progress is not None:
                    progress(have, size)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
