"""torch is not imported where the current folder holds libraries that it would load."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sam.libraries
import samlabel.hub.libraries

ROOT = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="libraries of Linux")

PLANTED = [
    "libcuda.so.1",
    "libcuda.so",
    "libgcc_s.so.1",
    "glibc-hwcaps/x86-64-v3/libcuda.so.1",
    "tls/x86_64/libcuda.so.1",
    "x86_64/x86_64/libcuda.so.1",
    "tls/haswell/avx512_1/x86_64/libcuda.so.1",
]
HARMLESS = ["library.txt", "so.lib", "libcuda.dll", "deep/libcuda.so.1", "images/lib.jpg"]


def plant(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"")


@pytest.mark.parametrize("look", [samlabel.hub.libraries.planted, sam.libraries.planted], ids=["samlabel", "sam"])
@pytest.mark.parametrize("name", [*PLANTED, *HARMLESS])
def test_what_the_loader_could_find_is_found(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, look: object
) -> None:
    plant(tmp_path, name)
    monkeypatch.chdir(tmp_path)
    assert callable(look)
    assert look() == (f"holds {name}" if name in PLANTED else None)


@pytest.mark.parametrize("kind", ["link", "folder", "dead link"])
def test_whatever_bears_such_a_name_counts(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    plant(tmp_path / "elsewhere", "evil")
    name = tmp_path / "libcuda.so.1"
    name.mkdir() if kind == "folder" else name.symlink_to("elsewhere/evil" if kind == "link" else "nowhere")
    monkeypatch.chdir(tmp_path)
    assert samlabel.hub.libraries.planted() == "holds libcuda.so.1"


def test_folders_of_the_loader_that_are_links_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path / "elsewhere", "x86-64-v2/libcuda.so.1")
    (tmp_path / "glibc-hwcaps").symlink_to("elsewhere")
    monkeypatch.chdir(tmp_path)
    assert samlabel.hub.libraries.planted() == "holds glibc-hwcaps/x86-64-v2/libcuda.so.1"


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root lists everything")
def test_a_folder_that_cannot_be_listed_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path / "closed", "libcuda.so.1")
    monkeypatch.chdir(tmp_path / "closed")
    (tmp_path / "closed").chmod(0o111)
    try:
        assert "cannot be listed" in str(samlabel.hub.libraries.planted())
    finally:
        (tmp_path / "closed").chmod(0o700)


def run(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Python in `folder`, which says in its last line whether torch was imported."""
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )


# Ends as the command does, and says on stderr whether torch was imported on the way.
CLI = "import atexit, sys\natexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))\n"
CLI += "from samlabel.cli import main\nmain(sys.argv[1:])"

IMPORTING = {
    "annotate": ("annotate", "{photos}", "--out", "{out}", "--device", "cpu"),
    "annotate --detector none": ("annotate", "{photos}", "--out", "{out}", "--detector", "none"),
    "annotate --detector labels": ("annotate", "{photos}", "--out", "{out}", "--detector", "labels:{labels}"),
    "generate": ("generate", "{photos}", "--output", "{out}"),
    "export": ("export", "nano", "--out", "{out}"),
    "bench": ("bench", "--model", "nano"),
    "models": ("models",),
    "models list": ("models", "list"),
    "models pull": ("models", "pull", "nano"),
    "fetch ultralytics": ("fetch", "ultralytics:yolo11n.pt"),
    "fetch torchvision": ("fetch", "torchvision:ssdlite320_mobilenet_v3_large"),
}
OTHERS = {
    "version": ("--version",),
    "help": ("annotate", "--help"),
    "formats": ("formats",),
    "config": ("config", "show"),
    "stats": ("stats", "{labels}"),
    "check": ("check", "{labels}"),
    "convert": ("convert", "{labels}", "{out}", "--to", "labelme"),
    "view": ("view", "{labels}", "--out", "{out}", "--images", "{photos}"),
}


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    file = tmp_path / "labels.json"
    file.write_text('{"images": [], "annotations": [], "categories": []}')
    return file


@pytest.mark.parametrize("command", [*IMPORTING, *OTHERS])
def test_a_command_refuses_before_torch_is_imported_and_works_without_it(
    tmp_path: Path, photos: Path, labels: Path, command: str
) -> None:
    folder = tmp_path / "strange"
    plant(folder, "libcuda.so.1")
    words = (IMPORTING | OTHERS)[command]
    done = run(folder, "-c", CLI, *(word.format(photos=photos, labels=labels, out=tmp_path / "out") for word in words))
    *said, imported = done.stderr.splitlines()
    assert imported == "False"
    if command in OTHERS:
        assert done.returncode in (0, 4) and "libcuda" not in done.stderr, done.stderr  # 4: a dataset without images
        return
    assert done.returncode == 4 and len(said) == 1, done.stderr
    assert "the current folder holds libcuda.so.1" in said[0] and "run the same command from another folder" in said[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [("-m", "sam", "features"), ("-m", "samlabel", "models")], ids=["sam", "samlabel"])
def test_a_module_that_is_run_refuses_too(tmp_path: Path, words: tuple[str, ...]) -> None:
    plant(tmp_path, "libcuda.so.1")
    done = run(tmp_path, *words)
    assert done.returncode == 4 and done.stderr.count("\n") == 1
    assert "torch is not imported: the current folder holds libcuda.so.1" in done.stderr


@pytest.mark.parametrize(
    "code",
    [
        "import samlabel; samlabel.auto_annotate({photos!r}, output_dir={out!r})",
        "import samlabel; samlabel.auto_annotate({photos!r}, output_dir={out!r}, device='cpu')",
        "import sam",
        "import sam.checkpoint",
    ],
)
def test_the_libraries_raise_before_torch_is_imported(tmp_path: Path, photos: Path, code: str) -> None:
    plant(tmp_path / "strange", "libcuda.so.1")
    tried = code.format(photos=str(photos), out=str(tmp_path / "out"))
    script = (
        f"import sys\ntry:\n    {tried}\nexcept Exception as error:\n"
        "    assert type(error).__name__ == 'PlantedLibrary' and 'torch' not in sys.modules\n"
        "else:\n    raise SystemExit('imported')\n"
    )
    done = run(tmp_path / "strange", "-c", script)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "out").exists()


def test_importing_samlabel_leaves_torch_to_its_caller(tmp_path: Path) -> None:
    plant(tmp_path, "libcuda.so.1")
    done = run(
        tmp_path, "-c", "import sys\nbefore = list(sys.meta_path)\nimport samlabel\nassert sys.meta_path == before"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("cc") is None, reason="a library to plant needs a compiler")
def test_a_planted_library_does_not_run(tmp_path: Path, photos: Path) -> None:
    source = tmp_path / "evil.c"
    source.write_text(
        '#include <stdio.h>\n__attribute__((constructor)) void run(void) { fclose(fopen("pwned", "w")); }\n'
    )
    (tmp_path / "strange").mkdir()
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "strange" / "libcuda.so.1", source], check=True)
    done = run(tmp_path / "strange", "-m", "samlabel", "annotate", photos, "--out", tmp_path / "out")
    assert done.returncode == 4 and not (tmp_path / "strange" / "pwned").exists()
