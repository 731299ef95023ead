"""Label a folder of photos from Python: python auto_annotate.py PHOTOS LABELS [DETECTOR]"""

from __future__ import annotations

import sys

from samlabel import auto_annotate


def main(photos: str, labels: str, detector: str = "nano") -> None:
    summary = auto_annotate(photos, detector, output_dir=labels, formats=("coco", "yolo", "sa1b"))
    print(f"{summary.objects} objects in {summary.annotated + summary.resumed} of {summary.images} photos")
    for name, count in summary.categories.items():
        print(f"  {name}: {count}")
    for name, path in summary.outputs.items():
        print(f"{name}: {path}")
    for failure in summary.failures:
        print(f"{failure.path}: {failure.reason}", file=sys.stderr)
    sys.exit(summary.exit_code)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: python auto_annotate.py PHOTOS LABELS [DETECTOR]")
    main(*sys.argv[1:])
