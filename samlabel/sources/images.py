"""Find pictures in a folder and decode them: upright, RGB, 8 bit."""

from __future__ import annotations

import glob
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..decoders import measure, open_header
from ..errors import ImageError, UsageError, brief, reason
from ..file_state import State, hash_file, state_of
from ..files import OutputFolder
from ..protocols import Image

if TYPE_CHECKING:
    import numpy as np

SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".bmp",
        ".dib",
        ".gif",
        ".webp",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".jp2",
        ".j2k",
        ".avif",
        ".mpo",
    ]
)
MAX_PIXELS = 2**27  # 134 megapixels: a 12000 x 9000 photo passes, a bomb does not
MAX_BYTES = 2**31
STRIP = 2**20  # pixels that are turned into RGB at a time


@dataclass(frozen=True, slots=True)
class Failed:
    """One picture that could not be labelled, where that was noticed, and why."""

    path: str
    stage: str  # "scan", "decode", "detect" or "segment"
    reason: str


@dataclass(frozen=True, slots=True)
class Source:
    """The pictures of one run: `root` and sorted POSIX paths relative to it."""

    root: Path
    paths: tuple[str, ...]
    failed: tuple[Failed, ...] = ()


def _nothing() -> None:
    """What there is to do when nobody waits for the room of an image."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """One picture with hash and state of the file that it came from."""

    image: Image
    sha256: str
    stat: State  # of the file before it was read
    release: Callable[[], None] = field(default=_nothing, compare=False)  # to be called when it is done with


Data = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def scan(data: Data, *, exclude: Iterable[Path] = ()) -> Source:
    """Every picture of a folder (recursive), a glob pattern, one file or a list of these, sorted.

    Hidden files and folders and those of `exclude` are left out. Links are followed, each folder
    once, so a loop ends. What looks like a picture by its name and is none (a FIFO, a dead link)
    comes back in `failed`. Raises UsageError when nothing is there.
    """
    items = [data] if isinstance(data, (str, os.PathLike)) else list(data)
    if not items:
        raise UsageError("no pictures given: the list of paths is empty")
    roots: list[Path] = []
    files: list[Path] = []
    folders: list[Path] = []
    for item in items:
        root, found = _expand(item)
        roots.append(root)
        for path in found:
            (folders if path.is_dir() else files).append(path)
    root = Path(os.path.commonpath(roots)) if len(roots) > 1 else roots[0]

    found_paths: set[str] = set()
    failed: dict[str, Failed] = {}
    skip = {_identity(path) for path in exclude if path.is_dir()}
    candidates: list[tuple[Path, str | None]] = [(path, None) for path in files]
    for folder in folders:
        candidates.extend(_walk(folder, skip))
    for path, fault in candidates:
        name = path.relative_to(root).as_posix()
        fault = fault or _why_not_a_file(path)
        if fault is None:
            found_paths.add(name)
        else:
            shown = name.encode("utf-8", "backslashreplace").decode()
            failed[shown] = Failed(shown, "scan", fault)
    if not found_paths and not failed:
        raise UsageError(f"no pictures in {_show(data)}; wanted files ending in {', '.join(sorted(SUFFIXES))}")
    return Source(root, tuple(sorted(found_paths)), tuple(failed[name] for name in sorted(failed)))


@dataclass(frozen=True, slots=True)
class Encoded:
    """An image file in memory with its head read, small enough to be decoded."""

    path: str
    pixels: int
    _opened: Any
    _sha256: str
    _stat: State

    def decode(self, release: Callable[[], None] = _nothing) -> Decoded:
        """The upright RGB pixels; `release` is what whoever is done with them calls. ImageError says why not."""
        try:
            pixels = _to_rgb(self._opened)
        except Exception as error:  # Pillow leaks struct.error, SyntaxError, zlib.error and more on broken bytes
            raise ImageError(f"{self.path}: cannot be decoded: {brief(error)}") from error
        return Decoded(Image(self.path, pixels), self._sha256, self._stat, release)


def encoded(root: Path, path: str, *, max_pixels: int = MAX_PIXELS) -> Encoded:
    """The image `root/path` before it is decoded; ImageError for one of more than `max_pixels`, or that is none."""
    data, state = _read(root / path, path)
    sha256 = hashlib.sha256(data).hexdigest()
    if not data:
        raise ImageError(f"{path}: the file is empty")
    try:
        opened = open_header(data)
    except Exception as error:
        raise ImageError(f"{path}: cannot be decoded: {brief(error)}") from error
    if opened is None:
        raise ImageError(f"{path}: not a picture in a known format (it starts with {data[:8]!r})")
    width, height = opened.size
    if width * height > max_pixels:
        raise ImageError(f"{path}: {width} x {height} pixels; raise max_pixels ({max_pixels}) if you trust it")
    return Encoded(path, width * height, opened, sha256, state)


def decode(root: Path, path: str, *, max_pixels: int = MAX_PIXELS) -> Decoded:
    """The picture `root/path` as upright RGB, first frame; ImageError says why not.

    Transparent parts become white, 16-bit values keep their high byte, EXIF orientation is applied
    once. The pixels are checked against `max_pixels` before they are decoded.
    """
    return encoded(root, path, max_pixels=max_pixels).decode()


def header_size(root: Path, path: str) -> tuple[int, int]:
    """(height, width) of the upright picture `root/path`, from its head; FileNotFoundError, or ImageError."""
    if not (root / path).exists():
        raise FileNotFoundError(root / path)
    return measure(root / path, path)


def hash_tree(path: Path, *, into: OutputFolder | None = None, name: str = "") -> str:
    """SHA-256 of a file's bytes, or of the names and bytes of all files in a folder, in hex.

    The very bytes that were read are copied to `name` in the folder `into`.
    """
    if not path.is_dir():
        return _hashed(path, into, name)
    if into is not None:
        into.mkdir(name)
    digest = hashlib.sha256()
    for file in sorted(one for one in path.rglob("*") if one.is_file()):
        inner = file.relative_to(path).as_posix()
        # The length of the name keeps names with line feeds from passing for several files.
        raw = os.fsencode(inner)
        digest.update(f"{len(raw)} ".encode() + raw + f" {_hashed(file, into, f'{name}/{inner}')}\n".encode())
    return digest.hexdigest()


def _hashed(file: Path, into: OutputFolder | None, name: str) -> str:
    if into is None:
        return hash_file(file)
    with into.replacing(name) as copy:
        return hash_file(file, copy=copy)


def _expand(item: str | os.PathLike[str]) -> tuple[Path, list[Path]]:
    """Where relative paths start, and the files and folders that one argument names."""
    text = os.fspath(item)
    if "://" in text:
        raise UsageError(f"{text} is an address; samlabel reads local files only, download it first")
    path = Path(os.path.abspath(text))
    try:
        if path.is_dir():
            os.scandir(path).close()
            return path, [path]
        if path.exists():
            return path.parent, [path]
    except OSError as error:
        raise UsageError(f"cannot read {text}: {error.strerror}; check its permissions") from error
    if not glob.has_magic(text):
        raise UsageError(f"there is no folder or picture at {text}{_neighbour(path)}")
    fixed = []
    for part in path.parts:
        if glob.has_magic(part):
            break
        fixed.append(part)
    found = [Path(name) for name in glob.glob(str(path), recursive=True)]
    found = [name for name in found if name.is_dir() or name.suffix.lower() in SUFFIXES]
    if not found:
        raise UsageError(f"no picture matches {text}")
    return Path(*fixed), found


def _neighbour(path: Path) -> str:
    """`; did you mean ...?` for a misspelt last part of a path."""
    import difflib

    try:
        names = sorted(os.listdir(path.parent))
    except OSError:
        return f" (nor is there {path.parent})"
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {path.parent / close[0]}?" if close else ""


def _walk(top: Path, skip: set[tuple[int, int]]) -> Iterator[tuple[Path, str | None]]:
    """Picture candidates below `top`, each with a reason when its folder cannot be read.

    Real folders come before linked ones, so a picture keeps the path that holds it. Folders above
    `top` count as seen: a link to `..` must not pull in what lies beside the folder that was asked for.
    """
    seen = skip - {_identity(top)} | {_identity(parent) for parent in top.resolve().parents}
    folders, links = [top], list[Path]()
    while folders or links:
        folder = folders.pop() if folders else links.pop()
        try:
            identity = _identity(folder)
            if identity in seen:
                continue
            seen.add(identity)
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            yield folder, f"this folder cannot be read: {error.strerror}"
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = folder / entry.name
            if _is_folder(entry):
                (links if entry.is_symlink() else folders).append(path)
            elif path.suffix.lower() in SUFFIXES:
                yield path, None
        folders.sort(reverse=True)
        links.sort(reverse=True)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that points at itself
        return False


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _why_not_a_file(path: Path) -> str | None:
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not valid UTF-8, which no label format can hold; rename it"
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return f"cannot be opened: {error.strerror}" + (" (a link)" if path.is_symlink() else "")
    return None if stat.S_ISREG(mode) else "not a regular file"


def _read(file: Path, path: str) -> tuple[bytes, State]:
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ImageError(f"{path}: not a regular file")
        if found.st_size > MAX_BYTES:
            raise ImageError(f"{path}: {found.st_size} bytes; a picture file over {MAX_BYTES} is not read")
        with file.open("rb") as stream:
            state = state_of(stream.fileno())  # before the bytes, so that a change while they are read shows later
            return stream.read(), state
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {reason(error)}") from error


def _to_rgb(opened: Any) -> np.ndarray:
    """The upright pixels (H, W, 3); beside Pillow's own there is never more than these and a strip of them."""
    import numpy as np
    from PIL import Image as pillow

    opened.load()
    try:
        orientation = opened.getexif().get(0x0112, 1)
    except Exception:  # a damaged EXIF block says nothing about the orientation; the pixels are fine
        orientation = 1
    width, height = opened.size
    method, swaps, reverses = _TURNS.get(orientation, (None, False, False))
    pixels = np.empty((width, height, 3) if swaps else (height, width, 3), dtype=np.uint8)
    scale = _scale(opened)
    for box in _strips(opened.size):
        strip = _strip_to_rgb(opened, box, scale)
        if method is not None:
            strip = np.asarray(pillow.fromarray(strip).transpose(pillow.Transpose(method)))
        place = slice(height - box[3], height - box[1]) if reverses else slice(box[1], box[3])
        pixels[(slice(None), place) if swaps else place] = strip
    opened.close()  # Pillow's pixels go with it
    return pixels


# https://exiftool.org/TagNames/EXIF.html, 0x0112: what makes an image upright, by Pillow's number of the turn; whether
# rows become columns, and whether the first row comes last.
_TURNS = {
    2: (0, False, False),  # FLIP_LEFT_RIGHT
    3: (3, False, True),  # ROTATE_180
    4: (1, False, True),  # FLIP_TOP_BOTTOM
    5: (5, True, False),  # TRANSPOSE
    6: (4, True, True),  # ROTATE_270
    7: (6, True, True),  # TRANSVERSE
    8: (2, True, False),  # ROTATE_90
}


def _strips(size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Boxes of a few rows each, from top to bottom."""
    width, height = size
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        yield (0, top, width, min(top + rows, height))


def _scale(opened: Any) -> float:
    """What numbers of more than 8 bits are multiplied by: 16 bits keep their high byte, shares of 1 become 255."""
    if not opened.mode.startswith(("I", "F")):
        return 1
    most = max(float(_numbers(opened, box).max()) for box in _strips(opened.size))
    if opened.mode == "F":
        return 255 if most <= 1 else 1
    return 1 / 256 if most > 255 else 1


def _numbers(opened: Any, box: tuple[int, int, int, int]) -> np.ndarray:
    import numpy as np

    return np.nan_to_num(np.asarray(opened.crop(box)).astype(np.float64), nan=0.0, posinf=255.0, neginf=0.0)


def _strip_to_rgb(opened: Any, box: tuple[int, int, int, int], scale: float) -> np.ndarray:
    import numpy as np
    from PIL import Image as pillow

    if opened.mode.startswith(("I", "F")):
        grey = np.clip(np.floor(_numbers(opened, box) * scale), 0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    part = opened.crop(box)
    if "A" in opened.getbands() or "transparency" in opened.info:
        layer = part.convert("RGBA")
        part = pillow.alpha_composite(pillow.new("RGBA", layer.size, "white"), layer)
    return np.asarray(part.convert("RGB"))


def _show(data: Any) -> str:
    return str(data) if isinstance(data, (str, os.PathLike)) else "the paths given"
