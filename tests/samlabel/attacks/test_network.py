"""No unasked network: what the commands and the libraries below them try to reach, native code included."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
Watched = Callable[[Sequence[object]], tuple[int, list[str], str]]

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="preloading and namespaces of Linux")

# Where nothing is watched, ultralytics and OpenVINO keep quiet by themselves.
HUSHING = ("CI", "PYTEST_CURRENT_TEST", "YOLO_OFFLINE", "YOLO_AUTOINSTALL", "ORT_DISABLE_TELEMETRY", "HF_HUB_OFFLINE")


@pytest.fixture(scope="module")
def watcher(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """The library that writes down attempts; None without a C compiler, where a network namespace has to do."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    made = tmp_path_factory.mktemp("watcher") / "watcher.so"
    source = Path(__file__).with_name("network.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", made, source, "-ldl"], check=True)
    return made


@pytest.fixture
def watched(watcher: Path | None, tmp_path: Path) -> Watched:
    """Runs a command of Python in a new home folder: its exit code, its attempts to reach something, its output.

    Without a watcher it runs in a namespace without a network, where an attempt shows in what it prints, if at all;
    where neither works the test fails, since it would claim what nobody looked at.
    """
    log, home = tmp_path / "network.log", tmp_path / "home"
    home.mkdir()

    def run(words: Sequence[object]) -> tuple[int, list[str], str]:
        environment = {name: value for name, value in os.environ.items() if name not in HUSHING}
        environment |= {
            "HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "NETWORK_LOG": str(log),
            "YOLO_CONFIG_DIR": str(home),
            "XDG_DATA_HOME": str(home / "data"),
            "XDG_CACHE_HOME": str(home / "cache"),
        }
        command = [sys.executable, *map(str, words)]
        if watcher is not None:
            environment["LD_PRELOAD"] = str(watcher)
        else:
            command = [*_namespace(), *command]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=600)
        attempts = log.read_text().splitlines() if log.exists() else []
        return done.returncode, attempts, done.stdout + done.stderr

    return run


def _namespace() -> list[str]:
    for flags in ("-n", "-rn"):  # as root, and as anybody where the system lets users have namespaces
        if shutil.which("unshare") and subprocess.run(["unshare", flags, "true"], capture_output=True).returncode == 0:
            return ["unshare", flags]
    pytest.fail("needs a C compiler (cc), or a system that allows `unshare -n`, to watch the network")


def test_the_watcher_sees_python_and_native_code(watched: Watched, watcher: Path | None) -> None:
    code = (
        "import ctypes, socket\n"
        "for call in (lambda: socket.getaddrinfo('one.invalid', 80),\n"
        "             lambda: socket.create_connection(('192.0.2.1', 9)),\n"
        "             lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'', ('192.0.2.2', 53))):\n"
        "    try:\n        call()\n    except OSError:\n        continue\n    raise SystemExit('a way out')\n"
        "found = ctypes.c_void_p()\n"
        "ctypes.CDLL(None).getaddrinfo(b'two.invalid', None, None, ctypes.byref(found))\n"
    )
    ended, attempts, said = watched(["-c", code])
    assert ended == 0, said
    if watcher is not None:
        assert attempts[0] == "getaddrinfo one.invalid" and attempts[-1] == "getaddrinfo two.invalid"
        assert "sendto 192.0.2.2" in attempts


def test_the_reports_that_are_switched_off_are_seen_where_they_are_not(watched: Watched, watcher: Path | None) -> None:
    pytest.importorskip("openvino")
    _, attempts, _ = watched(["-c", "import openvino, time; openvino.convert_model; time.sleep(1)"])
    assert watcher is None or attempts, "OpenVINO reports nothing any more: what sam.telemetry does has lost its reason"


ANNOTATE = ("annotate", "{images}", "--out", "{out}", "--device", "cpu", "--imgsz", "64", "--conf", "0.01")
COMMANDS: dict[str, tuple[str, ...]] = {
    "annotate": (*ANNOTATE, "--format", "coco", "--format", "yolo"),
    "annotate --backend openvino": (*ANNOTATE, "--backend", "openvino"),
    "annotate with a .pt": (*ANNOTATE, "--detector", "{pt}", "--trust-weights"),
    "annotate with an .onnx": (*ANNOTATE, "--detector", "{onnx}"),
    "annotate with OpenVINO's export": (*ANNOTATE, "--detector", "{openvino}"),
    "annotate with torchvision": (*ANNOTATE, "--detector", "torchvision:ssdlite320_mobilenet_v3_large@{torchvision}"),
    "export": ("export", "nano", "--out", "{out}"),
    "bench": ("bench", "--model", "nano", "--model", "YOLOv8n-seg", "--device", "cpu", "--rounds", "1"),
    "bench --backend openvino": (
        "bench",
        "--model",
        "nano",
        "--device",
        "cpu",
        "--backend",
        "openvino",
        "--rounds",
        "1",
    ),
}


QUICK = ("annotate", "annotate with a .pt")  # of the others `.ci/run` sees to


@pytest.mark.parametrize(
    "command", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in COMMANDS]
)
def test_a_command_reaches_for_nothing_and_queues_no_report(
    watched: Watched,
    command: str,
    images: Path,
    tmp_path: Path,
    seeded_yolo: Path,
    exported_yolo: dict[str, Path],
    seeded_torchvision: Path,
) -> None:
    named = {
        "images": images,
        "out": tmp_path / "out",
        "pt": seeded_yolo,
        "onnx": exported_yolo[".onnx"],
        "openvino": exported_yolo["_openvino_model"],
        "torchvision": seeded_torchvision,
    }
    code, attempts, said = watched(["-m", "samlabel", *(word.format(**named) for word in COMMANDS[command])])
    assert code == 0, said
    assert attempts == []
    # What would be sent later: ONNX Runtime's queue and identifier, OpenVINO's.
    kept = [file.relative_to(tmp_path).as_posix() for file in (tmp_path / "home").rglob("*") if file.is_file()]
    assert [file for file in kept if "Microsoft" in file or "intel" in file.lower()] == []


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with one image."""
    from PIL import Image

    from tests.tiny_yolo import draw_shapes

    (tmp_path / "images").mkdir()
    Image.fromarray(draw_shapes(0)[0]).save(tmp_path / "images" / "a.png")
    return tmp_path / "images"


@pytest.fixture(scope="module")
def seeded_torchvision(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a seeded, untrained model of two classes."""
    import torch
    from torchvision.models import get_model

    file = tmp_path_factory.mktemp("torchvision") / "seeded.pth"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = get_model("ssdlite320_mobilenet_v3_large", weights=None, weights_backbone=None, num_classes=3)
    torch.save({"model": model.state_dict(), "names": ["square", "circle"]}, file)
    return file


# Not ONNX Runtime: it tries again and again to send what it queued when the caller imported it.
AFTER_THE_CALLER = {"ultralytics": "import ultralytics", "OpenVINO": "import openvino.tools.ovc"}


@pytest.mark.slow
@pytest.mark.parametrize("first", AFTER_THE_CALLER)
def test_a_library_that_the_caller_imported_first_reports_nothing_of_our_use(
    watched: Watched, first: str, images: Path, exported_yolo: dict[str, Path], seeded_yolo: Path, tmp_path: Path
) -> None:
    before = dict.fromkeys(("YOLO_OFFLINE", "HF_HUB_OFFLINE", "ORT_DISABLE_TELEMETRY"))
    code = (
        f"import os, time\n{AFTER_THE_CALLER[first]}\ntime.sleep(1)\n"
        "log = os.environ['NETWORK_LOG']\n"
        "open(log, 'w').close()\n"
        "from samlabel import ModelOptions, TrustOptions, auto_annotate\n"
        "options = {'models': ModelOptions(backend='openvino'), 'trust': TrustOptions(trust_weights=True)}\n"
        f"for number, model in enumerate(({str(seeded_yolo)!r}, {str(exported_yolo['.onnx'])!r})):\n"
        f"    auto_annotate({str(images)!r}, model, device='cpu', imgsz=64, **options,\n"
        f"                  output_dir={str(tmp_path / 'out')!r} + str(number))\n"
        "time.sleep(1)\n"
        f"assert {{name: os.environ.get(name) for name in {list(before)!r}}} == {before!r}\n"
    )
    ended, attempts, said = watched(["-c", code])
    assert ended == 0, said
    assert attempts == []
