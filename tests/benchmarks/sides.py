"""Both sides of each stage, prepared: a call to time and a call that warms it up.

A side is what a user of that library would write, with the weights, pixels, boxes and logits of `material`. Ours
runs under `samlabel.hub.memory.kept_pages`, as it does in `samlabel annotate`.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.benchmarks import material

Call = Callable[[], Any]
_KEPT = ExitStack()  # as long as the process lives: a context manager that nobody holds ends at once
MASKS = {"masks-small": (50, material.SMALL), "masks-large": (12, material.LARGE)}  # how many, of which size


def prepare(side: dict[str, Any]) -> tuple[Call, Call]:
    """The call that is timed and the one that warms it up, in most stages the same."""
    stage, who, folder = side["stage"], side["who"], Path(side["folder"])
    if who == "ours":
        from samlabel.hub.memory import kept_pages

        _KEPT.enter_context(kept_pages())
    kind = stage.partition("-")[0]
    made = _PREPARE[kind, "ours" if who == "ours" else "peer"](side, folder)
    call, warm = made if isinstance(made, tuple) else (made, made)
    grad = torch.no_grad()
    return grad(call), grad(warm)


def ours(variant: str, folder: Path, side: dict[str, Any]) -> Any:
    """Our model with the seeded weights, in the precision and on the backend of `side`."""
    import sam

    weights = material.seeded(variant, folder)
    return sam.load(variant, checkpoint=weights, dtype=side["dtype"], backend=side["backend"])


def _state(variant: str, folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(material.seeded(variant, folder))


def _fill(model: torch.nn.Module, state: dict[str, torch.Tensor]) -> Any:
    """`model` with these weights; heads for classes and tables of indices, which no mask depends on, may lack."""
    found = model.load_state_dict(state, strict=False)
    left = [key for key in found.missing_keys if not key.endswith("_idxs") and "head" not in key]
    left = [key for key in left if not key.startswith("pixel_")]
    assert not left and not found.unexpected_keys, (left, found.unexpected_keys)
    return model.eval()


def _original(who: str, variant: str, state: dict[str, torch.Tensor]) -> Any:
    """The model of Segment Anything's or MobileSAM's own repository, and its package."""
    import importlib

    package = importlib.import_module(who)
    name = {"vit_b": "vit_b", "tiny": "vit_t"}[variant]
    return _fill(package.sam_model_registry[name](), state), package


def _ultralytics(variant: str, folder: Path) -> Any:
    from ultralytics.models.sam import Predictor
    from ultralytics.models.sam.build import build_mobile_sam, build_sam_vit_b

    model = {"vit_b": build_sam_vit_b, "tiny": build_mobile_sam}[variant]()
    predictor = Predictor(
        overrides={
            "task": "segment",
            "mode": "predict",
            "imgsz": 1024,
            "save": False,
            "verbose": False,
            "device": "cpu",
            "model": "mobile_sam.pt",
        }
    )
    predictor.setup_model(_fill(model, _state(variant, folder)), verbose=False)
    return predictor


def _transformers(state: dict[str, torch.Tensor], **vision: Any) -> Any:
    from transformers import SamConfig, SamModel

    from sam.layouts import from_transformers

    model = SamModel(SamConfig(vision_config=vision))
    official = from_transformers({key: key for key in model.state_dict()})
    renamed = {theirs: state[name] for name, theirs in official.items() if name in state}
    shared = renamed["shared_image_embedding.positional_embedding"]
    renamed["prompt_encoder.shared_embedding.positional_embedding"] = shared
    model.load_state_dict(renamed, strict=False)
    return model.eval()


# ---- the image encoder, from pixels to embedding


def _our_encoder(side: dict[str, Any], folder: Path) -> Call:
    model, pixels = ours(side["variant"], folder, side), material.picture(material.SMALL)
    return lambda: _saved(model.embed(pixels).features, folder, side)


def _saved(features: torch.Tensor, folder: Path, side: dict[str, Any]) -> str:
    file = folder / f"features-{side['stage']}-{side['who']}-{side['dtype']}.npy"
    if not file.exists():
        np.save(file, features.float().cpu().numpy())
    return str(file)


def _their_encoder(side: dict[str, Any], folder: Path) -> Call:
    variant, who, pixels = side["variant"], side["who"], material.picture(material.SMALL)
    if who == "ultralytics":
        predictor = _ultralytics(variant, folder)
        turned = np.ascontiguousarray(pixels[:, :, ::-1])

        def encode() -> str:
            predictor.set_image(turned)
            return _saved(predictor.features, folder, side)

    elif who == "transformers":
        from transformers import SamImageProcessor

        model, processor = _transformers(_state(variant, folder)), SamImageProcessor()

        def encode() -> str:
            values = processor(pixels, return_tensors="pt")["pixel_values"]
            return _saved(model.get_image_embeddings(values), folder, side)

    else:
        model, package = _original(who, variant, _state(variant, folder))
        predictor = package.SamPredictor(model)

        def encode() -> str:
            predictor.set_image(pixels)
            return _saved(predictor.features, folder, side)

    return encode


# ---- 50 boxes on one embedding, to run lengths

BOXES = 50


def _embedding(folder: Path) -> torch.Tensor:
    return torch.from_numpy(np.load(material.embedding(folder)))


def _our_boxes(side: dict[str, Any], folder: Path) -> Call:
    import sam

    model = ours("tiny", folder, side)
    held = sam.Embedding(_embedding(folder), (), material.SMALL, (768, 1024), "tiny")
    asked = material.boxes(BOXES, material.SMALL)
    return lambda: [one.counts.decode() for one in model.predict(held, boxes=asked).rles()]


def _their_boxes(side: dict[str, Any], folder: Path) -> Call:
    who, asked, features = side["who"], torch.from_numpy(material.boxes(BOXES, material.SMALL)), _embedding(folder)
    state = _state("tiny", folder)
    if who == "ultralytics":
        predictor = _ultralytics("tiny", folder)
        predictor.set_image(np.ascontiguousarray(material.picture(material.SMALL)[:, :, ::-1]))
        predictor.features = features
        return lambda: _encoded(predictor(bboxes=asked)[0].masks.data)
    if who == "transformers":
        from transformers import SamImageProcessor

        small = {key: value for key, value in state.items() if not key.startswith("image_encoder.")}
        model, processor = _transformers(small, num_hidden_layers=1, global_attn_indexes=[0]), SamImageProcessor()
        placed = asked[None] * 1024 / max(material.SMALL)

        def predict() -> list[str]:
            found = model(image_embeddings=features, input_boxes=placed, multimask_output=False)
            sizes = [list(material.SMALL)], [[768, 1024]]
            return _encoded(processor.post_process_masks([found.pred_masks[0]], *sizes)[0][:, 0])

        return predict
    variant = {"segment_anything": "vit_b", "mobile_sam": "tiny"}[who]
    model, package = _original_decoder(who, variant, state)
    predictor = package.SamPredictor(model)
    predictor.original_size, predictor.input_size = material.SMALL, (768, 1024)
    predictor.features, predictor.is_image_set = features, True

    def prompted() -> list[str]:
        placed = predictor.transform.apply_boxes_torch(asked, material.SMALL)
        return _encoded(predictor.predict_torch(None, None, placed, multimask_output=False)[0][:, 0])

    return prompted


def _original_decoder(who: str, variant: str, state: dict[str, torch.Tensor]) -> Any:
    """The same with an encoder of its own making, which the stage does not run."""
    if variant == "tiny":
        return _original(who, variant, state)
    import importlib

    package = importlib.import_module(who)
    model = package.sam_model_registry[variant]()
    own = {key: value for key, value in model.state_dict().items() if key.startswith("image_encoder.")}
    return _fill(model, own | {k: v for k, v in state.items() if not k.startswith("image_encoder.")}), package


def _encoded(masks: torch.Tensor) -> list[str]:
    """COCO run lengths of (N, H, W) masks by pycocotools, the quickest that these libraries' users have."""
    from pycocotools import mask as coco

    return [coco.encode(np.asfortranarray(one.numpy(), dtype=np.uint8))["counts"].decode() for one in masks]


# ---- low-res logits to run lengths, boxes and areas


def _our_masks(side: dict[str, Any], folder: Path) -> Call:
    import sam

    low, size, inside = _logits(side["stage"])
    prediction = sam.Prediction(low, torch.ones(len(low), 1), size, inside, 1024)

    def convert() -> list[str]:
        found = list(prediction.rles())
        assert all(one.area >= 0 and len(one.box) == 4 for one in found)
        return [one.counts.decode() for one in found]

    return convert


def _logits(stage: str) -> tuple[torch.Tensor, tuple[int, int], tuple[int, int]]:
    from sam.transforms import resized

    count, size = MASKS[stage]
    return torch.from_numpy(material.low_res_logits(count, size)), size, resized(size, 1024)


def _their_masks(side: dict[str, Any], folder: Path) -> Call:
    from torch.nn import functional as F

    low, size, inside = _logits(side["stage"])

    def enlarged() -> torch.Tensor:  # Sam.postprocess_masks, the same two steps everywhere
        square = F.interpolate(low, (1024, 1024), mode="bilinear", align_corners=False)
        square = square[..., : inside[0], : inside[1]]
        return F.interpolate(square, size, mode="bilinear", align_corners=False)[:, 0] > 0

    if side["who"] == "pycocotools":
        from pycocotools import mask as coco

        def convert() -> list[str]:
            rles = [coco.encode(np.asfortranarray(one.numpy(), dtype=np.uint8)) for one in enlarged()]
            coco.area(rles), coco.toBbox(rles)
            return [one["counts"].decode() for one in rles]

        return convert
    from segment_anything.utils import amg

    def generated() -> list[str]:
        masks = enlarged()
        amg.batched_mask_to_box(masks)
        rles = amg.mask_to_rle_pytorch(masks)
        [amg.area_from_rle(one) for one in rles]
        return [amg.coco_encode_rle(one)["counts"] for one in rles]

    return generated


# ---- automatic masks


def _our_grid(side: dict[str, Any], folder: Path) -> tuple[Call, Call]:
    from sam import SamAutomaticMaskGenerator

    return _generating(SamAutomaticMaskGenerator, ours("tiny", folder, side), side)


def _their_grid(side: dict[str, Any], folder: Path) -> tuple[Call, Call]:
    model, package = _original(side["who"], "tiny", _state("tiny", folder))
    return _generating(package.SamAutomaticMaskGenerator, model, side)


def _generating(make: Any, model: Any, side: dict[str, Any]) -> tuple[Call, Call]:
    pixels = material.picture(material.SMALL)
    points = int(side["points"])

    def generate(points: int = points) -> list[str]:
        found = make(model, points_per_side=points, output_mode="coco_rle").generate(pixels)
        return sorted(_text(one["segmentation"]["counts"]) for one in found)

    return generate, lambda: generate(4)


def _text(counts: bytes | str) -> str:
    return counts.decode() if isinstance(counts, bytes) else counts


# ---- a folder, from JPEG files to label files


def _our_folder(side: dict[str, Any], folder: Path) -> tuple[Call, Call]:
    from samlabel import ModelOptions, OutputOptions, TrustOptions, auto_annotate

    weights, detector = material.seeded("tiny", folder), str(material.yolo(folder))

    def annotate(photos: Path) -> dict[str, Any]:
        out = Path(tempfile.mkdtemp(dir=folder))
        summary = auto_annotate(
            photos,
            detector,
            "tiny",
            "cpu",
            0.25,
            0.45,
            640,
            material.BOXES_EACH,
            output_dir=out,
            formats=("yolo",),
            models=ModelOptions(sam_checkpoint=weights, dtype=side["dtype"], backend=side["backend"]),
            trust=TrustOptions(trust_weights=True),
            output=OutputOptions(place_images="none"),
        )
        shutil.rmtree(out)
        return {"photos": summary.images, "objects": summary.objects}

    return _folders(annotate, side, folder)


def _their_folder(side: dict[str, Any], folder: Path) -> tuple[Call, Call]:
    import ultralytics.utils.torch_utils as their_threads
    from ultralytics.data.annotator import auto_annotate

    if side["threads"]:
        their_threads.NUM_THREADS = side["threads"]  # else it takes all cores but one
    material.seeded("tiny", folder)
    detector, segmenter = str(material.yolo(folder)), str(folder / "mobile_sam.pt")

    def annotate(photos: Path) -> dict[str, Any]:
        out = Path(tempfile.mkdtemp(dir=folder))
        auto_annotate(photos, detector, segmenter, "cpu", max_det=material.BOXES_EACH, output_dir=out)
        labels = list(out.glob("*.txt"))
        found = {"photos": len(labels), "objects": sum(len(file.read_text().splitlines()) for file in labels)}
        shutil.rmtree(out)
        return found

    return _folders(annotate, side, folder)


def _folders(annotate: Callable[[Path], Any], side: dict[str, Any], folder: Path) -> tuple[Call, Call]:
    photos = material.photos(folder / f"photos-{side['photos']}", side["photos"])
    few = material.photos(folder / "photos-1", 1)
    sys.stderr.flush()
    return lambda: annotate(photos), lambda: annotate(few)


_PREPARE: dict[tuple[str, str], Callable[..., Any]] = {
    ("encoder", "ours"): _our_encoder,
    ("encoder", "peer"): _their_encoder,
    ("boxes", "ours"): _our_boxes,
    ("boxes", "peer"): _their_boxes,
    ("masks", "ours"): _our_masks,
    ("masks", "peer"): _their_masks,
    ("grid", "ours"): _our_grid,
    ("grid", "peer"): _their_grid,
    ("folder", "ours"): _our_folder,
    ("folder", "peer"): _their_folder,
}
