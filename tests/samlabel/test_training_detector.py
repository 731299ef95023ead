"""The recipe of the detector: the published file, labels, samples, losses, resume, export, figures."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from samlabel.detectors._nano_classes import COCO_CLASSES
from samlabel.detectors._nanodet import BINS, Cells, NanoDet, normalized
from samlabel.errors import WeightsError
from samlabel.training.detector import quality
from samlabel.training.detector.classes import CLASS_NAMES, STARTS_FROM, group_of
from samlabel.training.detector.initial import in_file_order, initial, is_output, published, read_ncnn
from samlabel.training.detector.labels import Labels, labels, read, write
from samlabel.training.detector.loop import export, train
from samlabel.training.detector.losses import assigned, detection_loss, distribution_loss
from samlabel.training.detector.quality import Box, Photo, Truth
from samlabel.training.detector.recipe import DetectorRecipe
from samlabel.training.detector.samples import Sample, Supply, augmented

DATA = Path(os.environ.get("SAMLABEL_DATA", "absent"))
PERSON, CAR = COCO_CLASSES.index("person"), COCO_CLASSES.index("car")


@pytest.fixture(scope="module")
def stem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of random weights in ncnn's two files, as the published one is stored."""
    torch.manual_seed(0)
    network, stem = NanoDet(len(COCO_CLASSES)), tmp_path_factory.mktemp("ncnn") / "random"
    for head in network.heads:
        torch.nn.init.constant_(head[2].bias[: len(COCO_CLASSES)], -4.0)
    lines, data = ["7767517", "2 2", "Input data 0 1 data"], b""
    for index, layer in enumerate(in_file_order(network)):
        kind = "ConvolutionDepthWise" if layer.groups > 1 else "Convolution"
        lines.append(f"{kind} c{index} 1 1 in{index} out{index} 0={layer.out_channels} 1=1 6={layer.weight.numel()}")
        weight = layer.weight.flip(1) if index == 0 else layer.weight  # of BGR
        halves = weight.detach().numpy().astype("<f2").tobytes()
        assert layer.bias is not None
        data += (0x01306B47).to_bytes(4, "little") + halves + b"\0" * (-len(halves) % 4)
        data += layer.bias.detach().numpy().astype("<f4").tobytes()
    stem.with_name("random.param").write_text("\n".join(lines) + "\n")
    stem.with_name("random.bin").write_bytes(data)
    return stem


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images of a red block (a person) and a blue disc (a car) as train.json and val.json, one of each source."""
    folder = tmp_path_factory.mktemp("drawn")
    images, annotations = [], []
    for n, source in enumerate(("coco2017", "animals", "clothing", "nuclei")):
        picture = Image.new("RGB", (160, 120), (90, 90, 90))
        pen = ImageDraw.Draw(picture)
        boxes = {1: (20, 30, 70, 90), 2: (90, 30, 140, 80)}
        pen.rectangle(boxes[1], fill=(220, 30, 30))
        pen.ellipse(boxes[2], fill=(30, 30, 220))
        picture.save(folder / f"{n}.png")
        images.append({"id": n, "file_name": f"{n}.png", "width": 160, "height": 120, "source": source})
        for category, (x0, y0, x1, y1) in boxes.items():
            bbox = [x0, y0, x1 - x0, y1 - y0]
            annotations.append({"image_id": n, "category_id": category, "bbox": bbox, "iscrowd": 0})
    categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "car"}]
    table = {"images": images, "annotations": annotations, "categories": categories}
    for name in ("train.json", "val.json"):
        (folder / name).write_text(json.dumps(table))
    return folder


SHORT = replace(
    DetectorRecipe(), steps=3, batch=2, warmup=1, sizes=((128, 128),), shares=(("coco2017", 1.0), ("nuclei", 0.5))
)


# The published file


def test_the_published_file_is_read_into_the_same_network(stem: Path) -> None:
    network = published(stem)
    torch.manual_seed(0)
    same = NanoDet(len(COCO_CLASSES))
    for head in same.heads:
        torch.nn.init.constant_(head[2].bias[: len(COCO_CLASSES)], -4.0)
    for (name, value), expected in zip(network.state_dict().items(), same.state_dict().values(), strict=True):
        assert torch.equal(value, expected.half().float() if value.ndim > 1 else expected), name


def test_an_added_class_starts_as_a_quiet_copy_and_nothing_else_changes(stem: Path) -> None:
    pixels = normalized(torch.randint(0, 255, (1, 3, 64, 64)))
    with torch.no_grad():
        old, new = published(stem)(pixels), initial(stem)(pixels)
    torch.testing.assert_close(new.logits[..., :80], old.logits)
    torch.testing.assert_close(new.sides, old.sides)
    for index, origin_name in enumerate(STARTS_FROM.values(), start=80):
        origin = old.logits[..., COCO_CLASSES.index(origin_name)]
        torch.testing.assert_close(new.logits[..., index], origin - 3.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda param, data: (param.replace("0=24 ", "0=25 "), data), "expected|not NanoDet"),
        (lambda param, data: (param, data + b"\0\0\0\0"), r"holds \d+ bytes; expected"),
        (lambda param, data: (param, b"\0" + data[1:]), "expected weights in float16"),
        (lambda param, data: ("7767517\n0 0\n", b""), "not NanoDet-Plus-m"),
    ],
    ids=["another layer", "too long", "another type", "another network"],
)
def test_a_file_of_another_network_is_refused(change: object, message: str, stem: Path, tmp_path: Path) -> None:
    assert callable(change)
    param, data = change(stem.with_name("random.param").read_text(), stem.with_name("random.bin").read_bytes())
    (tmp_path / "n.param").write_text(param)
    (tmp_path / "n.bin").write_bytes(data)
    with pytest.raises(WeightsError, match=message):
        published(tmp_path / "n")


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"absent\.param: no such file"):
        list(read_ncnn(tmp_path / "absent"))


# Labels


class Sees(NanoDet):
    """Two cells: the first sees `classes[0]` over the block, the second `classes[1]` in an empty corner."""

    def __init__(self, classes: tuple[int, int], scores: tuple[float, float]) -> None:
        super().__init__(1)
        self.classes, self._kinds, self._scores = len(COCO_CLASSES), classes, scores

    def forward(self, pixels: torch.Tensor) -> Cells:
        width = {448: 416}.get(pixels.shape[-1], pixels.shape[-1])  # padded to a multiple of 64
        red = pixels[0, 0, :, :width].mean(0)
        mirrored = red[: width // 2].mean() < red[width // 2 :].mean()  # the red block lies on the left
        logits = torch.full((1, 2, self.classes), -9.0)
        for cell, (kind, score) in enumerate(zip(self._kinds, self._scores, strict=True)):
            logits[0, cell, kind] = float(np.log(score / (1 - score)))
        sides = torch.full((1, 2, 4, BINS), -1e4)
        sides[..., 1] = 0.0
        points = torch.tensor([[115.0, 60.0], [30.0, 100.0]] if mirrored else [[45.0, 60.0], [130.0, 100.0]])
        return Cells(logits, sides, points * width / 160, torch.tensor([25.0, 12.0]) * width / 160)


@pytest.mark.parametrize(
    ("source", "corner", "score", "there", "ignored"),
    [
        ("clothing", "dog", 0.9, ["person", "car", "dog"], []),
        ("clothing", "dog", 0.2, ["person", "car"], ["dog"]),
        ("clothing", "dog", 0.05, ["person", "car"], []),
        ("animals", "dog", 0.9, ["person", "car"], ["dog"]),
        ("animals", "chair", 0.9, ["person", "car", "chair"], []),
        ("coco2017", "dog", 0.9, ["person", "car"], []),
    ],
    ids=["sure", "unsure", "nothing", "an animal where all are labeled", "a chair there", "all is labeled"],
)
def test_the_teacher_labels_only_what_a_photo_s_own_labels_leave_out(
    source: str, corner: str, score: float, there: list[str], ignored: list[str], drawn: Path
) -> None:
    kinds = (COCO_CLASSES.index("bird"), COCO_CLASSES.index(corner))  # the block is labeled: the teacher is not asked
    teacher = Sees(kinds, (0.9, score))
    (found,) = (one for one in labels(drawn, teacher) if one.source == source)
    assert [CLASS_NAMES[kind] for kind in found.classes] == there
    assert [CLASS_NAMES[kind] for kind in found.ignored_classes] == ignored


def test_labels_are_read_as_they_were_written(tmp_path: Path) -> None:
    made = [Labels("a.png", "cats", [[0.0, 1.5, 2, 3]], [15], [], []), Labels("b.png", "nuclei", [], [], [], [])]
    assert list(write(iter(made), tmp_path / "labels.jsonl")) == made
    assert read(tmp_path / "labels.jsonl") == made and not (tmp_path / "labels.part").exists()


def test_labeling_that_was_cut_off_leaves_no_file(tmp_path: Path) -> None:
    made = write(iter([Labels("a.png", "cats", [], [], [], [])] * 2), tmp_path / "labels.jsonl")
    next(made)
    made.close()
    assert not (tmp_path / "labels.jsonl").exists()


# Samples


def test_a_sample_moves_pixels_and_boxes_alike() -> None:
    photo = Image.new("RGB", (160, 120), (90, 90, 90))
    ImageDraw.Draw(photo).rectangle((60, 40, 99, 79), fill=(250, 250, 250))
    known = Labels("", "", [[60, 40, 100, 80]], [PERSON], [], [])
    checked = 0
    for seed in range(12):
        sample = augmented(photo, known, (128, 192), np.random.default_rng(seed))
        if not len(sample.boxes):
            continue
        checked += 1
        bright = sample.pixels[0] > (sample.pixels[0].max() + sample.pixels[0].median()) / 2
        ys, xs = np.nonzero(bright.numpy())
        x0, y0, x1, y1 = sample.boxes[0].tolist()
        assert np.abs(np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) - [x0, y0, x1, y1]).max() < 3
    assert checked >= 8


def test_what_is_cut_off_at_the_edge_is_neither_there_nor_absent() -> None:
    photo, ignored, found = Image.new("RGB", (100, 100)), 0, 0
    for seed in range(60):
        known = Labels("", "", [[0, 0, 15, 15]], [CAR], [[80, 80, 95, 95]], [PERSON])
        sample = augmented(photo, known, (64, 64), np.random.default_rng(seed))
        ignored += sample.ignored_classes.tolist() == [PERSON, CAR]
        found += sample.ignored_classes.tolist() == [PERSON] and sample.classes.tolist() == [CAR]
    assert ignored > 5 and found > 5 and ignored + found == 60


def test_the_same_index_is_the_same_sample_whoever_asks(drawn: Path) -> None:
    known = [Labels("0.png", "coco2017", [[20, 30, 70, 90]], [PERSON], [], [])]
    supplies = [Supply(drawn, known, shares={"coco2017": 1.0}, seed=3) for _ in range(2)]
    first, second = (supply.sample(7, (64, 96)) for supply in supplies)
    assert torch.equal(first.pixels, second.pixels) and torch.equal(first.boxes, second.boxes)
    assert not torch.equal(first.pixels, supplies[0].sample(8, (64, 96)).pixels)


def test_a_source_without_photos_is_named(drawn: Path) -> None:
    with pytest.raises(ValueError, match="no photo of the source cats"):
        Supply(drawn, [], shares={"cats": 1.0}, seed=0)


# Losses


def sample_of(boxes: list[list[float]], classes: list[int], ignored: list[tuple[list[float], int]] = []) -> Sample:  # noqa: B006
    rows = [box for box, _ in ignored]
    return Sample(
        torch.zeros(3, 64, 64),
        torch.tensor(boxes).view(-1, 4),
        torch.tensor(classes, dtype=torch.long),
        torch.tensor(rows).view(-1, 4),
        torch.tensor([kind for _, kind in ignored], dtype=torch.long),
    )


def cells_of(logits: torch.Tensor) -> Cells:
    """Four cells at (8, 8), (24, 8), (8, 24), (24, 24) of stride 8, each with a box of 16 pixels around it."""
    sides = torch.full((1, 4, 4, BINS), -20.0)
    sides[..., 1] = 20.0
    points = torch.tensor([[8.0, 8], [24, 8], [8, 24], [24, 24]])
    return Cells(logits, sides.requires_grad_(), points, torch.full((4,), 8.0))


def test_an_object_gets_the_cell_whose_box_fits_it() -> None:
    cells = cells_of(torch.zeros(1, 4, 3))
    found = assigned(cells.logits[0], cells.boxes()[0].detach(), cells.points, sample_of([[1, 1, 15, 15]], [2]))
    assert found.cells.tolist() == [0] and found.objects.tolist() == [0]
    assert found.ious[0] == pytest.approx(14 * 14 / 256)


def test_what_is_labeled_is_raised_what_is_not_is_lowered_and_ignored_places_are_left() -> None:
    logits = torch.zeros(1, 4, 3, requires_grad=True)
    sample = sample_of([[0, 0, 16, 16]], [2], [([17.0, 0, 32, 32], 1)])
    sum(detection_loss(cells_of(logits), [sample]).values()).backward()
    assert logits.grad is not None
    up, zero, down = logits.grad[0] < 0, logits.grad[0] == 0, logits.grad[0] > 0
    assert up.nonzero().tolist() == [[0, 2]]
    assert zero.nonzero().tolist() == [[1, 1], [3, 1]]
    assert down.sum() == 9


def test_a_batch_that_shows_nothing_still_teaches_absence() -> None:
    logits = torch.zeros(1, 4, 3, requires_grad=True)
    losses = detection_loss(cells_of(logits), [sample_of([], [])])
    assert list(losses) == ["classes"]
    losses["classes"].backward()
    assert logits.grad is not None and (logits.grad > 0).all()


@pytest.mark.parametrize(("distance", "bins"), [(2.0, [2]), (2.25, [2, 3]), (40.0, [7])])
def test_a_distance_is_taught_as_the_two_bins_beside_it(distance: float, bins: list[int]) -> None:
    logits = torch.zeros(1, 4, BINS, requires_grad=True)
    distribution_loss(logits, torch.full((1, 4), distance)).sum().backward()
    assert logits.grad is not None
    assert (logits.grad[0, 0] < 0).nonzero()[:, 0].tolist() == bins


# The run


@pytest.fixture(scope="module")
def run(drawn: Path, stem: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short run."""
    folder = tmp_path_factory.mktemp("run")
    assert len(list(write(labels(drawn, Sees((0, 0), (0.01, 0.01))), folder / "labels.jsonl"))) == 4
    assert [entry["step"] for entry in train(drawn, stem, folder, SHORT)] == [1, 2, 3]
    return folder


def averaged(folder: Path) -> dict[str, torch.Tensor]:
    state = torch.load(folder / "last.pt", weights_only=True)
    assert state["step"] == 3
    average: dict[str, torch.Tensor] = state["average"]
    return average


@pytest.mark.slow
def test_a_run_stopped_and_continued_ends_like_one_never_stopped(
    run: Path, drawn: Path, stem: Path, tmp_path: Path
) -> None:
    (tmp_path / "labels.jsonl").write_bytes((run / "labels.jsonl").read_bytes())
    for entry in train(drawn, stem, tmp_path, SHORT, save_every=1):
        if entry["step"] == 1:
            break
    list(train(drawn, stem, tmp_path, SHORT))
    for name, value in averaged(run).items():
        torch.testing.assert_close(value, averaged(tmp_path)[name], rtol=1e-4, atol=1e-5, msg=name)


def test_what_is_exported_is_the_mean_without_rows_that_have_no_name(run: Path, stem: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from samlabel import detectors

    export(stem, run / "last.pt", tmp_path / "nano.safetensors", share=0.5, person_bias=0.25)
    state, start, trained = load_file(tmp_path / "nano.safetensors"), initial(stem).state_dict(), averaged(run)
    assert state.keys() == start.keys()
    for name, value in state.items():
        mean = (start[name] + trained[name]) / 2
        if is_output(name):
            mean = torch.cat([mean[: len(COCO_CLASSES)], mean[len(CLASS_NAMES) :]])
            mean[PERSON] += 0.25 if mean.ndim == 1 else 0.0
        torch.testing.assert_close(value.float(), mean, rtol=1e-3, atol=1e-4, msg=name)
    assert detectors.load(f"nano:{tmp_path / 'nano.safetensors'}").info.name == "nano"


def test_the_learning_rate_rises_and_stays() -> None:
    recipe = replace(SHORT, steps=100, warmup=10, lr=1.0)
    assert [round(recipe.lr_at(step), 2) for step in (0, 4, 9, 50)] == [0.1, 0.5, 1.0, 1.0]


# Figures


def photo_of(
    truths: list[tuple[str, tuple[float, ...], bool]], found: list[tuple[str, tuple[float, ...], float]]
) -> Photo:
    return Photo(
        "a.png",
        (100, 100),
        tuple(Truth(name, box, crowd) for name, box, crowd in truths),  # type: ignore[arg-type]  # of four numbers
        tuple(Box(name, box, score) for name, box, score in found),  # type: ignore[arg-type]
    )


LEFT, RIGHT = (0.0, 0.0, 40.0, 40.0), (60.0, 0.0, 100.0, 40.0)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([("cat", LEFT, 0.9), ("dog", RIGHT, 0.8)], (2, 0, 0)),
        ([("cat", LEFT, 0.9), ("cat", LEFT, 0.8)], (1, 1, 1)),
        ([("dog", LEFT, 0.9)], (0, 1, 2)),
        ([("cat", LEFT, 0.3)], (0, 0, 2)),
        ([("person", (0.0, 60.0, 10.0, 70.0), 0.9)], (0, 0, 2)),
    ],
    ids=["both", "one twice", "another class", "not sure enough", "in a crowd"],
)
def test_boxes_are_counted_right_wrong_and_missed(
    found: list[tuple[str, tuple[float, ...], float]], expected: tuple[int, int, int]
) -> None:
    crowd = ("person", (0.0, 50.0, 100.0, 100.0), True)
    photo = photo_of([("cat", LEFT, False), ("dog", RIGHT, False), crowd], found)
    counts = quality.counts([photo], 0.5)
    assert (counts.right, counts.wrong, counts.missed) == expected


def test_average_precision_is_judged_by_group_or_by_class() -> None:
    photo = photo_of(
        [("cat", LEFT, False), ("dog", RIGHT, False)], [("dog", LEFT, 0.9), ("dog", RIGHT, 0.8), ("cup", LEFT, 0.99)]
    )
    groups, _ = quality.average_precision([photo], {name: group_of(name) for name in ("cat", "dog")})
    classes, _ = quality.average_precision([photo], {name: name for name in ("cat", "dog", "car")})
    assert groups == {"animal": pytest.approx(1.0)}
    assert classes == {"cat": pytest.approx(0.0), "dog": pytest.approx(0.5, abs=0.01)}


def test_large_objects_count_as_found_in_their_group() -> None:
    tiny = (50.0, 50.0, 60.0, 60.0)
    photo = photo_of(
        [("cat", LEFT, False), ("person", RIGHT, False), ("car", tiny, False)],
        [("dog", LEFT, 0.9), ("car", RIGHT, 0.9)],
    )
    assert quality.large_found([photo], 0.5) == {"person": (1, 0), "animal": (1, 1)}


@pytest.mark.parametrize(
    ("name", "group"),
    [("person", "person"), ("giraffe", "animal"), ("tiger", "animal"), ("boat", "vehicle"), ("tie", "other")],
)
def test_every_class_has_a_group(name: str, group: str) -> None:
    assert group_of(name) == group


# The real file


def resized(photo: Image.Image, size: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    ratio = size / max(photo.size)
    w, h = (round(side * ratio) for side in photo.size)
    return np.array(photo.resize((w, h), Image.Resampling.BILINEAR)), (h, w)


@pytest.mark.photos
@pytest.mark.skipif(not (DATA / "weights").is_dir(), reason="SAMLABEL_DATA holds no weights")
@pytest.mark.parametrize("size", [416, 640])
def test_our_forward_agrees_with_ncnn_s(size: int) -> None:
    ncnn = pytest.importorskip("ncnn")
    stem = DATA / "weights" / "nanodet-plus-m_416"
    net = ncnn.Net()
    for flag in ("use_fp16_storage", "use_fp16_arithmetic", "use_fp16_packed", "use_bf16_storage"):
        setattr(net.opt, flag, False)
    net.load_param(f"{stem}.param")
    net.load_model(f"{stem}.bin")
    network = published(stem)
    for file in sorted((DATA / "photos" / "val").glob("coco2017*"))[:4]:
        pixels, (h, w) = resized(Image.open(file).convert("RGB"), size)
        planes = torch.zeros(1, 3, -(-h // 64) * 64, -(-w // 64) * 64)
        planes[0, :, :h, :w] = normalized(torch.from_numpy(pixels).permute(2, 0, 1))
        with torch.no_grad():
            cells = network(planes)
        run = net.create_extractor()
        bgr = np.ascontiguousarray(planes[0].flip(0).numpy())  # a Mat borrows its memory
        run.input("data", ncnn.Mat(bgr).clone())
        scores, sides = [], []
        for stride in (8, 16, 32, 64):
            scores.append(np.array(run.extract(f"cls{stride}")[1]).copy().reshape(len(COCO_CLASSES), -1).T)
            sides.append(np.array(run.extract(f"dis{stride}")[1]).copy().reshape(-1, 4, BINS))
        other = cells._replace(sides=torch.from_numpy(np.concatenate(sides))[None])
        assert np.abs(np.concatenate(scores) - cells.logits[0].sigmoid().numpy()).max() < 1e-3
        assert (other.boxes() - cells.boxes()).abs().max() < 0.5
