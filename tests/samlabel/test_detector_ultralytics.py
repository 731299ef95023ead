"""A real YOLO, trained in seconds, behind the ultralytics detector."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from samlabel.detectors import fetch, load
from samlabel.errors import MissingDependency, SamlabelError, UnknownName, UntrustedWeights, UsageError, WeightsError
from samlabel.protocols import Detector, Image
from tests.tiny_yolo import SIDE, draw_shapes

pytest.importorskip("ultralytics")


def image(seed: int) -> Image:
    return Image(f"{seed}.png", draw_shapes(seed)[0])


def iou(a, b) -> float:
    x0, y0, x1, y1 = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    inter = max(0, x1 - x0) * max(0, y1 - y0)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def test_a_trained_yolo_finds_each_shape_with_its_own_name(tiny_yolo: Path) -> None:
    detector = load(f"ultralytics:{tiny_yolo}", trust_weights=True, imgsz=SIDE, device="cpu")
    assert isinstance(detector, Detector)
    assert [(c.id, c.name) for c in detector.info.categories] == [(1, "square"), (2, "circle")]
    right = wanted = 0
    for seed in range(100, 116):
        (found,) = detector.detect([image(seed)])
        for kind, box in draw_shapes(seed)[1]:
            wanted += 1
            right += any(
                int(c) == kind + 1 and iou(b, box) > 0.6 for b, c in zip(found.boxes, found.category_ids, strict=True)
            )
    assert right >= 0.85 * wanted, f"{right} of {wanted} drawn shapes found"


def test_a_bare_path_is_the_same_detector(tiny_yolo: Path) -> None:
    bare, named = (
        load(spec, trust_weights=True, imgsz=SIDE, device="cpu")
        for spec in (str(tiny_yolo), f"ultralytics:{tiny_yolo}")
    )
    a, b = bare.detect([image(100)])[0], named.detect([image(100)])[0]
    assert np.array_equal(a.boxes, b.boxes) and len(a) > 0


def test_a_batch_of_mixed_sizes_gives_what_each_image_gives_alone(tiny_yolo: Path) -> None:
    detector = load(str(tiny_yolo), trust_weights=True, imgsz=SIDE, device="cpu")
    images = [image(101), Image("wide.png", np.pad(draw_shapes(102)[0], ((0, 0), (0, 40), (0, 0)))), image(103)]
    together = detector.detect(images)
    for one, found in zip(images, together, strict=True):
        alone = detector.detect([one])[0]
        assert np.array_equal(found.boxes, alone.boxes)
        assert np.array_equal(found.category_ids, alone.category_ids)
        height, width = one.size
        assert (found.boxes >= 0).all() and (found.boxes <= [width, height, width, height]).all()


def test_no_image_gives_no_detections(tiny_yolo: Path) -> None:
    assert load(str(tiny_yolo), trust_weights=True, device="cpu").detect([]) == []


@pytest.mark.parametrize(
    ("classes", "names"),
    [(["circle"], ["circle"]), ([1], ["circle"]), (["1"], ["circle"]), (["Square", 1], ["square", "circle"])],
    ids=["name", "index of ultralytics", "index as text", "any case"],
)
def test_classes_choose_by_name_or_index_and_keep_their_ids(tiny_yolo: Path, classes, names) -> None:
    detector = load(str(tiny_yolo), trust_weights=True, imgsz=SIDE, device="cpu", classes=classes)
    assert [c.name for c in detector.info.categories] == names
    assert {c.name: c.id for c in detector.info.categories}.items() <= {"square": 1, "circle": 2}.items()
    ids = {int(i) for seed in range(100, 108) for i in detector.detect([image(seed)])[0].category_ids}
    assert ids == {c.id for c in detector.info.categories}


def test_max_det_and_conf_reach_the_model(tiny_yolo: Path) -> None:
    loose = load(str(tiny_yolo), trust_weights=True, imgsz=SIDE, device="cpu", conf=0.001, iou=0.99)
    capped = load(str(tiny_yolo), trust_weights=True, imgsz=SIDE, device="cpu", conf=0.001, iou=0.99, max_det=1)
    strict = load(str(tiny_yolo), trust_weights=True, imgsz=SIDE, device="cpu", conf=0.5)
    many, one, sure = (d.detect([image(101)])[0] for d in (loose, capped, strict))
    assert len(many) > 2 and len(one) == 1
    assert len(sure) < len(many) and (sure.scores >= 0.5).all()


def test_an_unknown_class_is_refused_with_close_names(tiny_yolo: Path) -> None:
    with pytest.raises(UnknownName, match="unknown class 'cirle'.*Did you mean circle"):
        load(str(tiny_yolo), trust_weights=True, classes=["cirle"])


def test_new_words_for_an_open_vocabulary_become_its_classes() -> None:
    from samlabel.detectors.ultralytics import _set_vocabulary

    class Model:
        def set_classes(self, names: list[str]) -> None:
            self.given = names

    class WithoutText:
        def set_classes(self, names: list[str]) -> None:
            raise ModuleNotFoundError("No module named 'clip'")

    model = Model()
    assert _set_vocabulary(model, ["red bag", "dog"]) == {0: "red bag", 1: "dog"} and model.given == ["red bag", "dog"]
    with pytest.raises(MissingDependency, match="text encoder.*clip"):
        _set_vocabulary(WithoutText(), ["red bag"])


@pytest.mark.parametrize(
    ("what", "error", "says"),
    [
        ("ultralytics", UsageError, "needs a model"),
        ("ultralytics:nowhere/model.pt", WeightsError, "nowhere/model.pt: no such model file"),
        ("ultralytics:yolo11nn.pt", WeightsError, "no such model file; published weights of a like name: yolo11n.pt"),
        ("ultralytics:yolov8n.yaml", WeightsError, "holds no weights"),
        ("ultralytics:https://example.org/m.pt", UsageError, "download it first"),
        ("ultralytics:{tmp}/text.pt", WeightsError, "text.pt: ultralytics cannot load it"),
        ("ultralytics:{tmp}/text.xyz", WeightsError, "text.xyz: ultralytics cannot load it"),
    ],
    ids=["no model", "no file", "typing error", "definition only", "url", "no pickle", "no model format"],
)
def test_what_is_no_model_gives_one_line(what: str, error, says: str, tmp_path: Path) -> None:
    for name in ("text.pt", "text.xyz"):
        (tmp_path / name).write_text("not a model")
    with pytest.raises(error, match=says.replace("/", "[/\\\\]")) as caught:
        load(what.format(tmp=tmp_path), trust_weights=True)
    assert "\n" not in str(caught.value)


def test_published_weights_are_never_downloaded_unasked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import ultralytics.utils.downloads

    def forbidden(*args, **kwargs):
        raise AssertionError("loading reached for the network")

    monkeypatch.setattr(ultralytics.utils.downloads, "attempt_download_asset", forbidden)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *a, **k: tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match="not here and nothing is downloaded unasked: samlabel fetch"):
        load("ultralytics:yolo11x.pt", trust_weights=True)


def test_a_failed_download_says_what_and_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog) -> None:
    import ultralytics.utils.downloads

    caplog.set_level("WARNING", logger="samlabel")  # ONNX libraries raise the level of the root logger

    def offline(*args, **kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr(ultralytics.utils.downloads, "attempt_download_asset", offline)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *a, **k: tmp_path)
    with pytest.raises(SamlabelError, match="yolo11x.pt could not be downloaded .no network."):
        fetch("ultralytics:yolo11x.pt")
    assert "from github.com" in caplog.text


def test_a_fetched_file_is_trusted_until_it_changes(
    tiny_yolo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import ultralytics.utils.downloads

    monkeypatch.setattr(ultralytics.utils.downloads, "attempt_download_asset", lambda to: shutil.copy(tiny_yolo, to))
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *a, **k: tmp_path)
    monkeypatch.chdir(tmp_path)
    path, _ = fetch("ultralytics:yolo11x.pt")
    assert load("ultralytics:yolo11x", device="cpu").info.categories
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(UntrustedWeights):
        load("ultralytics:yolo11x", device="cpu")


def test_importing_the_detector_keeps_threads_and_stdout(tmp_path: Path) -> None:
    code = (
        "import os, torch; before = torch.get_num_threads()\n"
        "from samlabel.detectors._offline import quiet_import\n"
        "with quiet_import():\n    import ultralytics\n"
        "assert 'OMP_NUM_THREADS' not in os.environ and torch.get_num_threads() == before"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment |= {"YOLO_CONFIG_DIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout == ""
