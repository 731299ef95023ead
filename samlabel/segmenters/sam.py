"""Segment Anything through the bundled `sam` package; the only segmenter that imports it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..cores import MOST_AT_ONCE
from ..errors import ImageError, SamlabelError, UnknownName, UsageError, WeightsError
from ..file_state import hash_file
from ..files import OutputFolder
from ..hub.memory import is_out_of_memory, release
from ..hub.weights import Checkpoint, state, verify
from ..lock import Lock
from ..objects import FloatArray, Objects
from ..options import Grid
from ..plugins import Registry
from ..protocols import ModelInfo
from ..types import Box, Mask

if TYPE_CHECKING:
    from sam import Embedding, Sam, Variant

    from ..protocols import Image

PROMPTS_AT_ONCE = 64  # their low-res logits are 16 MB
STABILITY_OFFSET = 1.0


def _family(_: str, found: Any) -> tuple[Variant, ...]:
    from sam import Variant

    if not isinstance(found, tuple) or not all(isinstance(one, Variant) for one in found):
        raise TypeError(f"is {type(found).__name__}; wanted a tuple of sam.Variant")
    return found


# Families of variants: the files of `sam/variants`, and what entry points of the group `samlabel.variants` name.
VARIANTS = Registry("variant", "sam.variants", _family, "VARIANTS")


class SamSegmenter:
    """Masks for boxes, or for a grid of points, from one SAM variant."""

    def __init__(self, model: Sam, *, weights: str, grid: Grid) -> None:
        """`weights` is the SHA-256 of the checkpoint, or of the tensors where there is no file."""
        large = (model.variant.params or 0) > 50_000_000  # its encoder takes a gigabyte for each image
        self.info = ModelInfo(
            model.variant.name,
            weights_sha256=weights,
            license=model.variant.licence,
            dtype=str(model.dtype).removeprefix("torch."),
            backend=model.backend,
            device=model.device.type,
            thread_safe=True,  # an embedding is a value; the model keeps nothing of an image
            max_concurrency=2 if large else MOST_AT_ONCE,
            prompts=frozenset({"box", "everything"}),
        )
        self._model = model
        self.grid = grid

    def embed(self, images: Sequence[Image]) -> list[Embedding]:
        """One image embedding an image, in the same order."""
        with _our_errors():
            return [self._model.embed(image.pixels) for image in images]

    def segment(self, embedding: Embedding, objects: Objects) -> Objects:
        """The same objects with the masks that their boxes prompt, however poor."""
        step, start = PROMPTS_AT_ONCE, 0
        columns = _Columns()
        while start < len(objects):
            chunk = slice(start, start + step)
            try:
                found = self._predicted(embedding, objects.boxes[chunk])
            except (MemoryError, RuntimeError) as error:
                if step == 1 or not is_out_of_memory(error):
                    raise
                step //= 2
                found = None
            if found is None:
                release()  # here, where the error and the tensors in its traceback are gone
                continue
            columns.add(found)
            start = chunk.stop
        return replace(
            objects,
            boxes=np.array([mask.box for mask in columns.masks]),
            masks=tuple(columns.masks),
            predicted_ious=np.array(columns.predicted_ious),
            stability_scores=np.array(columns.stability_scores, dtype=np.float64),
            prompt_boxes=objects.boxes,
        )

    def _predicted(self, embedding: Embedding, boxes: FloatArray) -> _Columns:
        with _our_errors():
            prediction = self._model.predict(embedding, boxes=boxes.copy())  # torch warns about locked arrays
        masks = list(prediction.rles(stability_offset=STABILITY_OFFSET))
        return _Columns(
            [Mask(mask.size, mask.counts) for mask in masks],
            prediction.predicted_iou[:, 0].tolist(),
            [mask.stability_score for mask in masks],
        )

    def generate(self, image: Image, embedding: Embedding | None = None, *, boxes: Any = None) -> Objects:
        """Objects of category 1 for everything that a grid of points finds, or for `boxes` (N, 4) XYXY."""
        from sam import SamAutomaticMaskGenerator

        grid, found = self.grid, None
        while found is None:
            try:
                with _our_errors():
                    generator = SamAutomaticMaskGenerator(self._model, output_mode="coco_rle", **asdict(grid))
                    found = generator.generate(image.pixels, embedding, boxes)
            except (MemoryError, RuntimeError) as error:
                if grid.points_per_batch == 1 or not is_out_of_memory(error):
                    raise
                grid = replace(grid, points_per_batch=grid.points_per_batch // 2)
            if found is None:
                release()
        masks = [_mask(one["segmentation"]) for one in found]
        prompted = bool(found) and "prompt_box" in found[0]
        return Objects(
            boxes=np.array([mask.box for mask in masks]),
            category_ids=np.ones(len(found), np.int64),
            masks=tuple(masks),
            predicted_ious=np.array([float(one["predicted_iou"]) for one in found]),
            stability_scores=np.array([float(one["stability_score"]) for one in found]),
            point_coords=tuple(tuple((float(x), float(y)) for x, y in one["point_coords"]) for one in found),
            crop_boxes=np.array([_corners(one["crop_box"]) for one in found]),
            prompt_boxes=np.array([_corners(one["prompt_box"]) for one in found]) if prompted else None,
        )


@dataclass(slots=True)
class _Columns:
    """What was predicted for some boxes."""

    masks: list[Mask] = field(default_factory=list)
    predicted_ious: list[float] = field(default_factory=list)
    stability_scores: list[float | None] = field(default_factory=list)

    def add(self, other: _Columns) -> None:
        self.masks += other.masks
        self.predicted_ious += other.predicted_ious
        self.stability_scores += other.stability_scores


def load(
    variant: str | None,
    *,
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    grid: Grid | None = None,
    dtype: str = "float32",
    backend: str = "torch",
) -> SamSegmenter:
    """The variant with its own weights or those of `checkpoint`, which alone also tells the variant.

    `dtype` and `backend` as in `sam.load`. Raises UnknownName, UsageError, WeightsError.
    """
    import sam

    list_variants()  # so that `sam` knows those of others
    file = _file(variant, checkpoint)
    with _our_errors():
        model = sam.load(variant, checkpoint=file, device=device, dtype=dtype, backend=backend)
    weights = hash_file(file) if file is not None else _hash_tensors(model)
    return SamSegmenter(model, weights=weights, grid=grid or Grid())


def has_weights(variant: str) -> bool:
    """Whether the weights of `variant` ship with us or were pulled."""
    official = _official(_variant(variant))
    return official is None or state(official) == "pulled"


def number_types(device: str) -> list[str]:
    """float32, and bfloat16 where the device multiplies it itself."""
    import torch

    from sam.cpu.precision import has_bfloat16

    has = torch.cuda.is_bf16_supported() if device.startswith("cuda") else device == "cpu" and has_bfloat16()
    return ["float32", "bfloat16"] if has else ["float32"]


def load_and_describe(
    variant: str, *, device: str, dtype: str = "float32", backend: str = "torch", random: bool = False
) -> tuple[SamSegmenter, dict[str, Any]]:
    """A variant and what it is: `params`, `bundled`, and the `bytes` of its file; for measuring.

    `random` gives it seeded weights in the layout of its checkpoint, which find nothing but take the same time.
    """
    import sam
    from sam.checkpoint import WEIGHTS

    known = _variant(variant)
    if random:
        with _our_errors():
            model = sam.load(variant, seed=0, device=device, dtype=dtype, backend=backend)
        segmenter = SamSegmenter(model, weights="", grid=Grid())
    else:
        segmenter = load(variant, device=device, dtype=dtype, backend=backend)
    size = (WEIGHTS / known.bundled).stat().st_size if known.bundled else known.file_size
    params = sum(value.numel() for value in segmenter._model.parameters())
    return segmenter, {"params": params, "bytes": size, "bundled": known.bundled is not None}


def export(variant: str, folder: Path, *, checkpoint: str | Path | None = None, **options: Any) -> Any:
    """`sam.export` of a variant to a folder that is made; see there for `options` and what comes back.

    Older files there are replaced once the new ones were checked. Raises WeightsError, and then nothing was written,
    and UsageError at once where another command writes there.
    """
    import sam

    file = _file(variant, checkpoint)
    out = OutputFolder(folder)
    with _our_errors(), Lock(folder), out.private_folder(variant) as work:
        made = sam.export(sam.load(variant, checkpoint=file), out.path / work, **options)
        for name in made.files:
            out.rename(f"{work}/{name}", name)
    return replace(made, encoder=Path(folder) / made.encoder.name, decoder=Path(folder) / made.decoder.name)


def list_variants() -> tuple[Variant, ...]:
    """Every SAM variant, those of other distributions included; one that cannot be used is left out."""
    import sam

    for name, plugin in VARIANTS.found().items():
        if not plugin.module.startswith("sam.variants.") and plugin.problem is None:
            try:
                sam.register(plugin.origin, plugin.load())
            except ValueError as error:
                raise SamlabelError(f"the variants {name!r}: {error}; uninstall one of them") from error
    return sam.list_variants()


def variants() -> list[dict[str, Any]]:
    """What can be chosen: `name`, `bundled` (no download needed), `url`, `licence`, `params`, `image_size`."""
    return [
        {
            "name": one.name,
            "bundled": one.bundled is not None,
            "image_size": one.image_size,
            "params": one.params,
            "url": one.url,
            "licence": one.licence,
        }
        for one in list_variants()
    ]


def checkpoints() -> list[Checkpoint]:
    """The official file of each variant that has one."""
    return [found for one in list_variants() if (found := _official(one)) is not None]


def checkpoint(name: str) -> Checkpoint:
    """The official file of the variant `name`; raises UsageError where there is none to fetch."""
    variant = _variant(name)
    found = _official(variant)
    if found is None:
        raise UsageError(f"the weights of {variant.name} ship with samlabel; there is nothing to fetch")
    return found


def _official(variant: Variant) -> Checkpoint | None:
    if variant.url is None or variant.sha256 is None or variant.file_size is None:
        return None
    return Checkpoint(variant.name, variant.url, variant.sha256, variant.file_size, variant.licence or "unknown")


def _variant(name: str) -> Variant:

    known = {word: one for one in list_variants() for word in (one.name, *one.aliases)}
    if name not in known:
        raise UnknownName("SAM variant", name, [one.name for one in list_variants()])
    return known[name]


def _file(name: str | None, given: str | Path | None) -> Path | None:
    """The checkpoint to open: the one given, else the one that was pulled; None when the weights ship with us."""
    variant = _variant(name) if name is not None else None
    if given is not None:
        if not Path(given).is_file():
            raise WeightsError(f"there is no checkpoint at {given}; wanted a .pth, .pt or .safetensors file")
        return Path(given)
    official = _official(variant) if variant is not None and variant.bundled is None else None
    return verify(official) if official is not None else None


@contextmanager
def _our_errors() -> Iterator[None]:
    """Errors of `sam`, which knows nothing of ours, as errors of ours."""
    import sam

    try:
        yield
    except (sam.ImageError, sam.PromptError) as error:
        raise ImageError(str(error)) from error
    except sam.BackendError as error:
        raise UsageError(str(error)) from error
    except sam.SamError as error:
        raise WeightsError(str(error)) from error


def _hash_tensors(model: Sam) -> str:
    import hashlib

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        tensor = tensor.float() if tensor.is_floating_point() else tensor  # numpy has no bfloat16
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _mask(rle: dict[str, Any]) -> Mask:
    counts = rle["counts"]
    height, width = rle["size"]
    return Mask((int(height), int(width)), counts if isinstance(counts, bytes) else counts.encode("ascii"))


def _corners(box: Any) -> Box:
    x, y, width, height = (float(v) for v in box)
    return (x, y, x + width, y + height)
