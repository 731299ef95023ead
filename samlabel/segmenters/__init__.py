"""One file a segmenter: a promptable model with `load(variant, *, checkpoint, device, grid) -> Segmenter`."""

from __future__ import annotations

from ..plugins import Registry, module_with

SEGMENTERS = Registry("segmenter", __name__, module_with("load"))
