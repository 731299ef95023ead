"""The SAM variants by name, found in `sam/variants/`: one module a family of image encoders.

A new family is one new file with `VARIANTS: tuple[Variant, ...]`; nothing else needs to know of it. Another package
adds its own by `register`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from torch import nn

from .errors import UnknownVariant
from .modeling.mask_decoder import MaskDecoder
from .modeling.prompt_encoder import PromptEncoder
from .modeling.transformer import TwoWayTransformer

IMAGENET_MEAN = (123.675, 116.28, 103.53)  # of RGB values 0 to 255
IMAGENET_STD = (58.395, 57.12, 57.375)


class Parts(NamedTuple):
    """The three modules of a model.

    `image_encoder` takes normalised, padded images (B, 3, S, S) and gives a tuple of tensors: the
    embedding (B, D, S/16, S/16), then high-resolution features from fine to coarse, if it has any.
    """

    image_encoder: nn.Module
    prompt_encoder: PromptEncoder
    mask_decoder: MaskDecoder


@dataclass(frozen=True)
class Variant:
    """One model that can be built, and what is known of its weights."""

    name: str
    family: str  # the encoder's kind, e.g. "vit"
    build: Callable[[], Parts]
    image_size: int = 1024  # S: side of the padded square that the encoder reads
    transformer_dim: int = 256  # D: channels of the embedding
    mask_input_size: tuple[int, int] = (256, 256)  # of `mask_input` prompts
    pixel_mean: tuple[float, float, float] = IMAGENET_MEAN
    pixel_std: tuple[float, float, float] = IMAGENET_STD
    aliases: tuple[str, ...] = ()
    params: int | None = None
    url: str | None = None  # where its makers publish the weights
    sha256: str | None = None  # of that file
    file_size: int | None = None  # of that file, in bytes
    licence: str | None = None  # of those weights
    pred_iou_thresh: float = 0.88  # of automatic masks; Segment Anything's own, too high for a small model
    stability_score_thresh: float = 0.95  # likewise
    min_region_fraction: float = 0.0  # smaller parts of a mask's area are noise, see `sam.masks.small_regions`
    bundled: str | None = None  # file in `sam/weights/` that ships with the package


def standard_parts(image_encoder: nn.Module) -> Parts:
    """`image_encoder` with the prompt encoder and mask decoder of Segment Anything: 1024 px, 256 channels."""
    prompt_encoder = PromptEncoder(embed_dim=256, image_size=1024, grid_size=64)
    mask_decoder = MaskDecoder(dim=256, transformer=TwoWayTransformer(depth=2, dim=256, heads=8, hidden=2048))
    return Parts(image_encoder, prompt_encoder, mask_decoder)


def collect(modules: dict[str, tuple[Variant, ...]]) -> dict[str, Variant]:
    """Variants by name and alias; the same word twice is a mistake in the code, so a `ValueError`."""
    found: dict[str, Variant] = {}
    owner: dict[str, str] = {}
    for module, variants in sorted(modules.items()):
        for variant in variants:
            for word in (variant.name, *variant.aliases):
                if word in found:
                    raise ValueError(f"SAM variant {word!r} is defined in both {owner[word]} and {module}")
                found[word] = variant
                owner[word] = module
    return found


@cache
def _all() -> dict[str, Variant]:
    package = importlib.import_module(".variants", __package__)
    modules = {}
    for info in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        modules[info.name] = importlib.import_module(info.name).VARIANTS
    return collect({**modules, **_OTHERS})


_OTHERS: dict[str, tuple[Variant, ...]] = {}


def register(family: str, family_variants: tuple[Variant, ...]) -> None:
    """Add variants of another package, so that `load` builds them; `family` says where they come from.

    Raises ValueError where a name or alias is taken. The same family may be registered again, and is
    gone with an empty tuple.
    """
    taken = {word: variant for word, variant in _all().items() if variant not in _OTHERS.get(family, ())}
    for variant in family_variants:
        for word in (variant.name, *variant.aliases):
            if word in taken:
                raise ValueError(f"SAM variant {word!r} of {family} is there already")
    _OTHERS[family] = family_variants
    _all.cache_clear()


def variants() -> tuple[Variant, ...]:
    """Every variant, sorted by name."""
    return tuple(sorted(set(_all().values()), key=lambda variant: variant.name))


def get(name: str) -> Variant:
    """The variant called `name`, or by that alias; raises `UnknownVariant`."""
    try:
        return _all()[name]
    except KeyError:
        known = ", ".join(variant.name for variant in variants())
        raise UnknownVariant(f"unknown SAM variant {name!r}; known: {known}") from None
