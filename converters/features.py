"""What formats may keep of a dataset, and the codes of what they lose."""

from __future__ import annotations

# Words of `Capabilities.keeps`: what a round trip through a format gives back.
FEATURES: dict[str, str] = {
    "exact_masks": "every mask comes back bit for bit",
    "holes": "holes stay holes",
    "parts": "an object of several parts stays one object",
    "empty_masks": "objects whose mask has no pixel",
    "crowd": "iscrowd",
    "scores": "the detector's score",
    "mask_scores": "predicted_iou and stability_score",
    "source": "which model or person made an object",
    "prompts": "the points and the crop that a mask was predicted from",
    "boxes": "boxes of their own, not only the tight box of the mask",
    "boxes_without_mask": "objects that are a box and nothing more",
    "empty_images": "images without objects",
    "category_names": "names of classes",
    "category_ids": "numbers of classes, gaps included",
    "supercategories": "the group that a class belongs to",
    "image_ids": "numbers of images",
    "annotation_ids": "numbers of objects",
    "extra_fields": "fields that samlabel does not read",
    "dataset_fields": "such fields of the whole file and of classes: info, licences, skeletons",
}

# Code -> what it says. REFUSED codes stop a conversion unless losses are allowed; NOTED ones are only reported.
REFUSED: dict[str, str] = {
    "object-lost": "objects that the format cannot write",
    "empty-mask-lost": "objects whose mask has no pixel",
    "no-mask-lost": "boxes without a mask",
    "holes-lost": "objects whose holes are filled",
    "parts-lost": "objects whose parts are split or dropped",
    "mask-changed": "masks that do not come back bit for bit",
    "box-became-mask": "boxes without a mask, written as a filled rectangle",
    "crowd-lost": "crowd flags",
    "score-lost": "detector scores",
    "mask-score-lost": "predicted IoU and stability scores",
    "empty-image-lost": "images without objects",
    "category-name-lost": "objects whose class name is gone",
    "keypoints-lost": "objects whose keypoints are gone",
    "shape-lost": "shapes that are no objects: points, lines, cuboids, tags",
    "annotator-lost": "objects of further annotators of an image, of whom one is taken",
}
NOTED: dict[str, str] = {
    "over-budget": "polygons that need more points than asked for, to keep their holes and parts",
    "reader-differs": "masks that the usual reader of the format fills differently, of those that were measured",
    "category-ids-changed": "classes with another number",
    "image-ids-changed": "images whose number is not kept",
    "annotation-ids-changed": "objects whose number is not kept",
    "supercategory-lost": "classes whose group is gone",
    "source-lost": "objects whose maker is not kept",
    "prompt-lost": "objects whose prompt points or crop are not kept",
    "box-tightened": "boxes replaced by the tight box of their mask",
    "fields-lost": "images and objects with further fields that are not kept",
    "dataset-fields-lost": "further fields of the whole file, and classes with some, that are not kept",
    "parts-bridged": "objects whose parts the format's usual reader joins by lines one pixel wide",
    "image-renamed": "images renamed, since another of the same stem came before",
    "score-filled": "masks that nothing predicted, given the scores 1.0 that the format insists on",
    "left-over-label": "label files of an earlier run that are still there",
    "sidecar-only": "objects with class, scores or flags that only samlabel reads back, from a file beside the labels",
}
CODES: dict[str, str] = {**REFUSED, **NOTED}
