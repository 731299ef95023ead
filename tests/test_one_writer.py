"""Everything is written, moved and removed by `samlabel/files.py`: read with ast, as imports are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WRITERS = {"samlabel/files.py", "samlabel/walk.py", "samlabel/compare.py"}
TOOLS = "samlabel/training/"  # makes the bundled weights, by hand and in folders of its own; no command reaches it

# Functions that change the disk by a name, or open a file to do so.
OS = {
    "open",
    "replace",
    "rename",
    "renames",
    "unlink",
    "remove",
    "removedirs",
    "rmdir",
    "mkdir",
    "makedirs",
    "link",
    "symlink",
    "truncate",
    "chmod",
    "lchmod",
    "chown",
    "lchown",
    "utime",
    "mkfifo",
    "mknod",
    "setxattr",
    "removexattr",
}
SHUTIL_READS = {"copyfileobj", "disk_usage", "get_terminal_size", "which"}
TEMPFILE_READS = {"SpooledTemporaryFile", "gettempdir"}  # the former in memory, or nameless on the temporary disk
METHODS = {
    "write_text",
    "write_bytes",
    "touch",
    "unlink",
    "symlink_to",
    "hardlink_to",
    "link_to",
    "lchmod",
    "tofile",
    "savefig",
}
LIBRARIES = {
    "torch.save",
    "onnx.save",
    "torch.onnx.export",
    "quantize_dynamic",
    "save_file",
    "np.save",
    "np.savez",
    "numpy.save",
    "imwrite",
    "cv2.imwrite",
    "urlretrieve",
    "torch.hub.download_url_to_file",
    "attempt_download_asset",
}
# What libraries write by path lies in a fresh private folder that `OutputFolder` made and takes the files from.
BY_LIBRARIES = {
    "sam/export/onnx.py: torch.onnx.export",
    "sam/export/onnx.py: onnx.save",
    "sam/export/onnx.py: quantize_dynamic",
    "samlabel/detectors/torchvision.py: torch.hub.download_url_to_file",
    "samlabel/detectors/ultralytics.py: attempt_download_asset",
}
TO_PIPES = {"converters/parallel.py: os.fdopen"}  # the answers of a process of ours, over its standard output


def mode_of(call: ast.Call, place: int) -> ast.expr | None:
    named = [keyword.value for keyword in call.keywords if keyword.arg == "mode"]
    return named[0] if named else call.args[place] if len(call.args) > place else None


def opens_to_write(call: ast.Call, place: int) -> bool:
    """Whether the argument that says how a file is opened lets it be written; one that is no text counts."""
    mode = mode_of(call, place)
    if mode is None:
        return False
    return not isinstance(mode, ast.Constant) or bool(set(str(mode.value)) & set("wax+"))


def writes(call: ast.Call) -> bool:
    """Whether a call changes the disk by a name, as far as its text tells."""
    name = ast.unparse(call.func)
    module, _, function = name.rpartition(".")
    if name in ("open", "io.open", "os.fdopen", "codecs.open", "gzip.open"):
        return opens_to_write(call, 1)
    if name == "os.open":
        return not (len(call.args) > 1 and "os.O_RDONLY" in ast.unparse(call.args[1]))
    if module == "os":
        return function in OS
    if module == "shutil":
        return function not in SHUTIL_READS
    if module == "tempfile":
        return function not in TEMPFILE_READS
    if name in LIBRARIES or function in METHODS:
        return True
    if function == "ZipFile":
        return opens_to_write(call, 1)
    if function == "open":  # of a Path; a name of ours, or of an image, is no mode
        mode = mode_of(call, 0)
        return (
            isinstance(mode, ast.Constant) and re.fullmatch("[rwaxbt+]*[wax+][rwaxbt+]*", str(mode.value)) is not None
        )
    if function in ("mkdir", "rmdir", "chmod"):  # of a Path: that of `OutputFolder` is told a name
        return not call.args or function == "chmod"
    # Of a Path: text takes two arguments, and so does `OutputFolder`; a time takes named ones.
    return function in ("replace", "rename") and bool(module) and len(call.args) == 1 and not call.keywords


def calls(source: str) -> Iterator[ast.Call]:
    return (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))


@pytest.mark.parametrize(
    "line",
    [
        "open(path, 'w')",
        "open(path, mode=how)",
        "io.open(path, 'ab')",
        "path.open('x')",
        "path.open(mode='r+')",
        "os.open(path, flags)",
        "os.fdopen(handle, 'wb')",
        "os.replace(a, b)",
        "os.makedirs(a)",
        "os.symlink(a, b)",
        "shutil.rmtree(a)",
        "shutil.copyfile(a, b)",
        "tempfile.mkstemp()",
        "tempfile.TemporaryDirectory()",
        "path.mkdir(parents=True)",
        "path.rmdir()",
        "path.unlink(missing_ok=True)",
        "path.replace(other)",
        "path.rename(other)",
        "path.write_text(words)",
        "path.touch()",
        "torch.save(state, path)",
        "onnx.save(graph, path)",
        "zipfile.ZipFile(path, 'w')",
    ],
)
def test_each_way_of_writing_is_seen(line: str) -> None:
    assert writes(next(calls(line)))


@pytest.mark.parametrize(
    "line",
    [
        "open(path)",
        "open(path, 'rb')",
        "path.open('rb')",
        "Image.open(file, formats=['PNG'])",
        "folder.open('index.html')",
        "folder.mkdir('images')",
        "folder.rename(old, new)",
        "text.replace('a', 'b')",
        "time.replace(microsecond=0)",
        "os.path.exists(path)",
        "os.open(path, os.O_RDONLY | os.O_NOFOLLOW)",
        "shutil.copyfileobj(a, b)",
    ],
)
def test_reading_and_the_writer_itself_are_let_be(line: str) -> None:
    assert not any(writes(call) for call in calls(line))


def test_nothing_but_the_one_writer_writes_moves_or_removes() -> None:
    found = set()
    for package in ("samlabel", "sam", "converters"):
        for path in sorted((ROOT / package).rglob("*.py")):
            file = path.relative_to(ROOT).as_posix()
            if file not in WRITERS and not file.startswith(TOOLS):
                source = path.read_text(encoding="utf-8")
                found |= {f"{file}: {ast.unparse(call.func)}" for call in calls(source) if writes(call)}
    assert found == BY_LIBRARIES | TO_PIPES


def test_the_writer_knows_nothing_of_the_product_but_its_errors() -> None:
    modules = {path: ast.parse((ROOT / path).read_text(encoding="utf-8")) for path in WRITERS}
    ours = {
        node.module
        for tree in modules.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
    }
    assert ours == {"errors", "walk", "compare"}
