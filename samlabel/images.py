"""Find pictures in a folder and decode them: upright, RGB, 8 bit."""

from __future__ import annotations

import glob
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .decoders import measure, open_header
from .errors import ImageError, UsageError
from .file_state import State, state_of
from .file_state import hash_file as hash_file
from .protocols import Image

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


@dataclass(frozen=True, slots=True)
class Decoded:
    """One picture with hash and state of the file that it came from."""

    image: Image
    sha256: str
    stat: State  # of the file before it was read


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
    for path, reason in candidates:
        name = path.relative_to(root).as_posix()
        reason = reason or _why_not_a_file(path)
        if reason is None:
            found_paths.add(name)
        else:
            shown = name.encode("utf-8", "backslashreplace").decode()
            failed[shown] = Failed(shown, "scan", reason)
    if not found_paths and not failed:
        raise UsageError(f"no pictures in {_show(data)}; wanted files ending in {', '.join(sorted(SUFFIXES))}")
    return Source(root, tuple(sorted(found_paths)), tuple(failed[name] for name in sorted(failed)))


def decode(root: Path, path: str, *, max_pixels: int = MAX_PIXELS) -> Decoded:
    """The picture `root/path` as upright RGB, first frame; ImageError says why not.

    Transparent parts become white, 16-bit values keep their high byte, EXIF orientation is applied
    once. The pixels are checked against `max_pixels` before they are decoded.
    """
    data, state = _read(root / path, path)
    sha256 = hashlib.sha256(data).hexdigest()
    if not data:
        raise ImageError(f"{path}: the file is empty")
    try:
        opened = open_header(data)
        if opened is None:
            raise ImageError(f"{path}: not a picture in a known format (it starts with {data[:8]!r})")
        width, height = opened.size
        if width * height > max_pixels:
            raise ImageError(f"{path}: {width} x {height} pixels; raise max_pixels ({max_pixels}) if you trust it")
        pixels = _to_rgb(_upright(opened))
    except ImageError:
        raise
    except Exception as error:  # Pillow leaks struct.error, SyntaxError, zlib.error and more on broken bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{path}: cannot be decoded: {reason}") from error
    return Decoded(Image(path, pixels), sha256, state)


def header_size(root: Path, path: str) -> tuple[int, int]:
    """(height, width) of the upright picture `root/path`, from its head; FileNotFoundError, or ImageError."""
    if not (root / path).exists():
        raise FileNotFoundError(root / path)
    return measure(root / path, path)


def hash_tree(path: Path, *, copy_to: Path | None = None) -> str:
    """SHA-256 of a file's bytes, or of the names and bytes of all files in a folder, in hex.

    `copy_to`, which is new, gets the very bytes that were read.
    """
    if not path.is_dir():
        return hash_file(path, copy_to=copy_to)
    if copy_to is not None:
        copy_to.mkdir()
    digest = hashlib.sha256()
    for file in sorted(one for one in path.rglob("*") if one.is_file()):
        name = file.relative_to(path)
        target = None if copy_to is None else copy_to / name
        if target is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
        # The length of the name keeps names with line feeds from passing for several files.
        raw = os.fsencode(name.as_posix())
        digest.update(f"{len(raw)} ".encode() + raw + f" {hash_file(file, copy_to=target)}\n".encode())
    return digest.hexdigest()


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
        raise ImageError(f"{path}: cannot be read: {error.strerror}") from error


def _upright(opened: Any) -> Any:
    from PIL import ImageOps

    opened.load()
    try:
        return ImageOps.exif_transpose(opened)
    except Exception:  # a damaged EXIF block says nothing about the orientation; the pixels are fine
        return opened


def _to_rgb(opened: Any) -> np.ndarray:
    import numpy as np
    from PIL import Image as pillow

    if opened.mode.startswith("I"):
        values = np.asarray(opened).astype(np.int64)
        return _grey_to_rgb(values >> 8 if values.max() > 255 else values)
    if opened.mode == "F":
        values = np.nan_to_num(np.asarray(opened), nan=0.0, posinf=255.0, neginf=0.0)
        return _grey_to_rgb(values * 255 if values.max() <= 1 else values)
    if "A" in opened.getbands() or "transparency" in opened.info:
        layer = opened.convert("RGBA")
        opened = pillow.alpha_composite(pillow.new("RGBA", layer.size, "white"), layer)
    return np.array(opened.convert("RGB"), dtype=np.uint8)


def _grey_to_rgb(values: np.ndarray) -> np.ndarray:
    import numpy as np

    grey = np.clip(values, 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _show(data: Any) -> str:
    return str(data) if isinstance(data, (str, os.PathLike)) else "the paths given"
