"""Every feature of `segment_anything` and where it is here: `python -m sam features` prints the table.

The left side names the things of https://github.com/facebookresearch/segment-anything; the right
side is Python that can be looked up, or a command of samlabel, with a word on what differs.
"""

from __future__ import annotations

# (there, here, what differs)
FEATURES: tuple[tuple[str, str, str], ...] = (
    ("sam_model_registry", "sam.sam_model_registry", "also nano and MobileSAM; no random weights by accident"),
    ("build_sam, build_sam_vit_b, _l, _h", "sam.load", "the checkpoint alone tells its variant"),
    ("checkpoints .pth", "sam.load", "also MobileSAM's, transformers' and safetensors; a pickle is never run"),
    ("Sam.forward", "sam.Sam.forward", "same input and output"),
    ("Sam.preprocess", "sam.Sam.preprocess", ""),
    ("Sam.postprocess_masks", "sam.Prediction.logits", "a method of the result"),
    ("Sam.mask_threshold, image_format", "sam.Sam.mask_threshold", ""),
    ("SamPredictor.set_image", "sam.SamPredictor.set_image", "or sam.Sam.embed, which keeps no state"),
    ("SamPredictor.set_torch_image", "sam.SamPredictor.set_torch_image", ""),
    ("SamPredictor.predict", "sam.SamPredictor.predict", "or sam.Sam.predict; bad prompts are refused in one line"),
    ("SamPredictor.predict_torch", "sam.SamPredictor.predict_torch", ""),
    ("SamPredictor.get_image_embedding", "sam.SamPredictor.get_image_embedding", ""),
    ("SamPredictor.reset_image", "sam.SamPredictor.reset_image", ""),
    ("ResizeLongestSide", "sam.ResizeLongestSide", ""),
    ("SamAutomaticMaskGenerator", "sam.SamAutomaticMaskGenerator", "all options; bbox counts whole pixels"),
    ("  output_mode", "sam.automatic.generator.OUTPUT_MODES", "binary_mask, uncompressed_rle, coco_rle"),
    ("  crops and point grids", "sam.automatic.crops.crop_boxes", "also for images of one pixel"),
    ("  stability score", "sam.automatic.scoring.stability_score", "no overflow on very wide masks"),
    ("  mask_to_rle_pytorch, batched_mask_to_box", "sam.Prediction.rles", "from low-res logits, no full-size mask"),
    ("  small regions", "sam.automatic.generator.clean", ""),
    ("  not there: duplicates by mask", "sam.automatic.filters.without_duplicates", "mask_nms_thresh"),
    ("  not there: parts of larger masks", "sam.automatic.filters.without_parts", "containment_thresh"),
    ("  not there: background", "sam.automatic.filters.without_background", "max_image_share, max_border_share"),
    ("  not there: a cap on masks", "sam.automatic.filters.best", "max_masks"),
    ("  not there: prompts from a detector", "sam.SamAutomaticMaskGenerator.generate", "boxes="),
    ("ImageEncoderViT", "sam.variants.vit.ViTEncoder", ""),
    ("PromptEncoder", "sam.modeling.prompt_encoder.PromptEncoder", ""),
    ("MaskDecoder", "sam.modeling.mask_decoder.MaskDecoder", ""),
    ("TwoWayTransformer", "sam.modeling.transformer.TwoWayTransformer", ""),
    ("SamOnnxModel", "sam.export.graphs.DecoderGraph", "N prompts in one call"),
    ("scripts/export_onnx_model.py", "samlabel export", "the image encoder too; checked before it is written"),
    ("  not there: from Python", "sam.export", ""),
    ("  --quantize-out", "samlabel export --int8", ""),
    ("scripts/amg.py", "samlabel generate", "same flags; --crop-overlap-ratio takes fractions"),
    ("  --convert-to-rle", "samlabel generate --convert-to-rle", ""),
    ("  SA-1B records", "samlabel generate --output-form sa1b", "holes are kept"),
    ("model checkpoints to download", "samlabel models pull", "resumed, and checked by SHA-256"),
    ("demo (web page)", "", "not here"),
)


def table() -> str:
    """The features as a Markdown table."""
    lines = ["| segment_anything | here | note |", "|---|---|---|"]
    for there, here, note in FEATURES:
        indent = "&nbsp;&nbsp;" if there.startswith(" ") else ""
        lines.append(f"| {indent}{there.strip()} | {f'`{here}`' if here else ''} | {note} |")
    return "\n".join(lines)
