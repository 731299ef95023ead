"""One file a segmenter: a promptable model with `load(variant, *, checkpoint, device, grid) -> Segmenter`."""
