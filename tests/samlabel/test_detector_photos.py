"""A real pretrained YOLO on a real photo."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from samlabel.detectors import load
from samlabel.protocols import Image


@pytest.mark.photos
def test_a_pretrained_yolo_finds_four_people_and_the_bus(photos_data: Path) -> None:
    ultralytics = pytest.importorskip("ultralytics")
    pytest.importorskip("ai_edge_litert", reason="pip install 'samlabel[litert]' runs .tflite models")
    from PIL import Image as Pillow

    photo = Path(ultralytics.__file__).parent / "assets/bus.jpg"
    detector = load(str(photos_data / "weights/yolov8n_int8.tflite"), device="cpu")
    assert len(detector.info.categories) == 80
    (found,) = detector.detect([Image("bus.jpg", np.asarray(Pillow.open(photo).convert("RGB")))])
    names = {category.id: category.name for category in detector.info.categories}
    assert Counter(names[int(i)] for i in found.category_ids) == {"person": 4, "bus": 1}
