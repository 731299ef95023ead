"""Small label files that claim far more than they are, of every kind and in every format that can say it."""

from __future__ import annotations

import base64
import io
import json
import os
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from PIL import Image

Make = Callable[[Path, random.Random], None]
Table = dict[str, Any]


def png(width: int, height: int, *, bits: int = 8, rows: Callable[[int], bytes] | None = None) -> bytes:
    """A PNG of one channel; `rows` gives the bytes of each row, zeros by default. It is packed as it is made."""
    line = rows or (lambda _: bytes(-(-width * bits // 8)))
    pack = zlib.compressobj(9)
    data = b"".join(pack.compress(b"\0" + line(y)) for y in range(height)) + pack.flush()
    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def far(rng: random.Random, side: int) -> list[float]:
    """A polygon whose edges cross the image from far outside, again and again."""
    reach = rng.randint(side, 10 * side)
    return [-reach, -reach, reach, reach, -reach, reach] * rng.randint(6000, 9000)


def comb(rng: random.Random, side: int) -> list[float]:
    """A polygon of many teeth, down the image or across it."""
    teeth = [(n, side * (n % 2)) for n in range(rng.randint(5000, 9000))]
    across = rng.random() < 0.5
    return [float(v) for x, y in teeth for v in ((y, x) if across else (x, y))]


def spikes(rng: random.Random, side: int) -> list[float]:
    """A polygon of random points all over the image."""
    return [round(rng.uniform(0, side), 1) for _ in range(2 * rng.randint(5000, 15000))]


def outlines(rng: random.Random, side: int) -> list[float]:
    return rng.choice((far, comb, spikes))(rng, side)


def coco(objects: list[Table], height: int, width: int, **more: Any) -> str:
    table = {"id": 1, "file_name": "a.jpg", "height": height, "width": width}
    usual = {"image_id": 1, "category_id": 1, "iscrowd": 0, "area": 1, "bbox": [0, 0, 9, 9]}
    entries = [{**usual, "id": number, **one} for number, one in enumerate(objects, start=1)]
    return json.dumps({"images": [table], "annotations": entries, "categories": [{"id": 1, "name": "a"}], **more})


def claim(rng: random.Random) -> tuple[int, int]:
    """A height and a width of an image that nobody has."""
    return rng.choice(((46340, 46340), (1, 2**31 - 1), (2**31 - 1, 1), (2**20, 2047), (2000, 2**20), (30000, 40000)))


def rle(rng: random.Random, height: int, width: int) -> Table:
    """A run-length encoding of the whole image: text or a list, of one run or with a few pixels cut off."""
    pixels = height * width
    runs = rng.choice(([0, pixels], [pixels], [5, pixels - 10, 5], [1] * 9 + [pixels - 9], [pixels // 2] * 2))
    runs[-1] += pixels - sum(runs)
    counts = runs if rng.random() < 0.5 else _packed(runs)
    return {"size": [height, width], "counts": counts}


def _packed(runs: list[int]) -> str:
    letters = ""
    for place, run in enumerate(runs):
        value = run - runs[place - 2] if place > 2 else run
        more = True
        while more:
            part = value & 31
            value >>= 5
            more = value != -1 if part & 16 else value != 0
            letters += chr(part + 48 + 32 * more)
    return letters


def _write(folder: Path, name: str, data: str | bytes) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)


def _coco_polygons(folder: Path, rng: random.Random) -> None:
    side = rng.choice((1000, 20000))
    count = rng.randint(1, 3)
    _write(folder, "a.json", coco([{"segmentation": [outlines(rng, side)]} for _ in range(count)], side, side))


def _coco_rle(folder: Path, rng: random.Random) -> None:
    height, width = claim(rng)
    objects = [{"segmentation": rle(rng, height, width)} for _ in range(rng.randint(1, 50))]
    _write(folder, "a.json", coco(objects, height, width))


def _coco_twins(folder: Path, rng: random.Random) -> None:
    """One object thousands of times."""
    object_ = {"segmentation": [[1, 1, 90, 1, 90, 90, 1, 90]], "bbox": [1, 1, 89, 89]}
    _write(folder, "a.json", coco([object_] * rng.randint(5000, 12000), 100, 100))


def _sa1b(folder: Path, rng: random.Random) -> None:
    height, width = claim(rng)
    image = {"image_id": 1, "width": width, "height": height, "file_name": "a.jpg"}
    objects = [{"id": n, "segmentation": rle(rng, height, width), "bbox": [0, 0, 1, 1]} for n in range(20)]
    _write(folder, "a.json", json.dumps({"image": image, "annotations": objects}))


def _table(folder: Path, rng: random.Random) -> None:
    height, width = claim(rng)
    objects = [{"category_id": 1, "segmentation": rle(rng, height, width)} for _ in range(20)]
    picture = {"file_name": "a.jpg", "height": height, "width": width, "objects": objects}
    _write(folder, "objects.json", json.dumps({"categories": [{"id": 1, "name": "a"}], "pictures": [picture]}))


def _labelme(folder: Path, rng: random.Random, *shapes: Table, side: int) -> None:
    content = {"version": "5", "imagePath": "a.jpg", "imageHeight": side, "imageWidth": side, "shapes": list(shapes)}
    _write(folder, "a.json", json.dumps(content))


def _pairs(flat: list[float]) -> list[list[float]]:
    return [list(pair) for pair in zip(flat[0::2], flat[1::2], strict=True)]


def _labelme_polygons(folder: Path, rng: random.Random) -> None:
    side = rng.choice((1000, 20000))
    shape = {"label": "a", "shape_type": "polygon", "points": _pairs(outlines(rng, side))}
    circle = {"label": "a", "shape_type": "circle", "points": [[side / 2, side / 2], [-5 * side, -5 * side]]}
    _labelme(folder, rng, shape, circle, side=side)


def _labelme_bitmaps(folder: Path, rng: random.Random) -> None:
    side = rng.choice((4096, 8192, 30000))
    line = rng.choice((b"\x00", b"\xff", b"\x55")) * -(-side // 8)
    other = rng.choice((line, bytes(len(line))))
    data = png(side, side, bits=1, rows=lambda y: (line, other)[y % 2])
    shape = {"label": "a", "shape_type": "mask", "points": [[0, 0], [side - 1, side - 1]]}
    mask = base64.b64encode(data).decode()
    _labelme(folder, rng, *[{**shape, "mask": mask}] * rng.randint(1, 3), side=side)


def _cvat(folder: Path, rng: random.Random, height: int, width: int, shapes: str) -> None:
    _write(
        folder,
        "annotations.xml",
        f'<annotations><image id="0" name="a.jpg" width="{width}" height="{height}">{shapes}</image></annotations>',
    )


def _cvat_masks(folder: Path, rng: random.Random) -> None:
    height, width = rng.choice(((16384, 16384), (46340, 46340), (2**20, 2000)))
    pixels = height * width
    whole = f'left="0" top="0" width="{width}" height="{height}"'
    stripes = ", ".join(str(width) for _ in range(height)) if height < 50000 else f"0, {pixels}"
    shape = rng.choice(
        (
            '<mask label="a" left="0" top="0" width="1" height="1" rle="0, 1"/>' * rng.randint(100, 500),
            f'<mask label="a" {whole} rle="0, {pixels}"/>' * rng.randint(1, 20),
            f'<mask label="a" {whole} rle="{stripes}"/>',
            f'<mask label="a" {whole} rle="1, {pixels - 2}, 1"/>' * rng.randint(1, 20),
            f'<mask label="a" group_id="7" {whole} rle="1, {pixels - 2}, 1"/>' * rng.randint(1, 20),
        )
    )
    _cvat(folder, rng, height, width, shape)


def _cvat_polygons(folder: Path, rng: random.Random) -> None:
    side = rng.choice((1000, 20000))
    points = ";".join(f"{x},{y}" for x, y in _pairs(outlines(rng, side)))
    ellipse = f'<ellipse label="a" cx="0" cy="0" rx="{5 * side}" ry="{5 * side}"/>' * 20
    _cvat(folder, rng, side, side, f'<polygon label="a" points="{points}"/>{ellipse}')


def _studio(folder: Path, rng: random.Random, height: int, width: int, kind: str, value: Table, count: int) -> None:
    size = {"original_height": height, "original_width": width}
    results = [{**size, "type": kind, "value": {**value, kind: ["a"]}}] * count
    _write(folder, "tasks.json", json.dumps([{"data": {"image": "a.jpg"}, "annotations": [{"result": results}]}]))


def _studio_brushes(folder: Path, rng: random.Random) -> None:
    height, width = rng.choice(((30000, 30000), (20000, 30000)))
    bits = f"{4 * height * width:032b}" + "00111" + "0010001101111111"
    values = 4 * height * width
    while values > 0:
        run = min(values, 1 << 16)
        bits += "111" + f"{run - 1:016b}" + f"{rng.choice((0, 255)):08b}"
        values -= run
    data = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    _studio(folder, rng, height, width, "brushlabels", {"format": "rle", "rle": list(data)}, 1)


def _studio_polygons(folder: Path, rng: random.Random) -> None:
    side = rng.choice((1000, 20000))
    points = [[100 * x / side, 100 * y / side] for x, y in _pairs(outlines(rng, side))]
    _studio(folder, rng, side, side, "polygonlabels", {"points": points}, rng.randint(1, 2))


def _voc(folder: Path, rng: random.Random) -> None:
    side = rng.choice((8192, 16384, 30000))
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    size = f"<size><width>{side}</width><height>{side}</height></size>"
    objects = f"<object><name>a</name>{box}</object>" * rng.randint(1, 300)
    text = f"<annotation><filename>a.jpg</filename>{size}{objects}</annotation>"
    _write(folder, "Annotations/a.xml", text)
    line = bytes([rng.choice((0, 1))]) * side
    _write(folder, "SegmentationObject/a.png", png(side, side, rows=lambda y: line if y % 2 else bytes(side)))


def _voc_polygons(folder: Path, rng: random.Random) -> None:
    side = rng.choice((1000, 20000))
    pairs = _pairs(outlines(rng, side)[:20000])
    points = "".join(f"<x{n}>{x}</x{n}><y{n}>{y}</y{n}>" for n, (x, y) in enumerate(pairs, start=1))
    size = f"<size><width>{side}</width><height>{side}</height></size>"
    body = f"<object><name>a</name><polygon>{points}</polygon></object>"
    _write(folder, "Annotations/a.xml", f"<annotation><filename>a.jpg</filename>{size}{body}</annotation>")


def _numbers(folder: Path, rng: random.Random) -> None:
    """A picture of so many numbers as 16 bits have, or of stripes that are no run down a column."""
    side = rng.choice((1024, 4096))
    numbers = rng.randint(1, 65535)
    lines = [struct.pack(">H", 1 + y * 7 % numbers) * side for y in range(97)]
    cells = [
        b"".join(struct.pack(">H", 1 + (y * side // 16 + x) % numbers) * 16 for x in range(side // 16))
        for y in range(97)
    ]
    chosen = rng.choice((lines, cells))
    _write(
        folder,
        "masks/a.png",
        png(side, side, bits=16, rows=lambda y: chosen[y // 16 % 97 if chosen is cells else y % 97]),
    )


def _yolo(folder: Path, rng: random.Random, text: str, rows: str = "0 0.5 0.5 0.1 0.1\n") -> None:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    Image.new("1", (20, 20)).save(folder / "images" / "a.png")
    _write(folder, "labels/a.txt", rows)
    _write(folder, "data.yaml", text)


def _yaml(folder: Path, rng: random.Random) -> None:
    depth, width = rng.randint(6, 12), rng.randint(5, 9)
    names = "abcdefghijklm"
    lists = [f"a: &a [{','.join(['lol'] * width)}]"]
    merges = ["a: &a {k: 1, l: 1}"]
    for above, name in pairwise(names[:depth]):
        lists.append(f"{name}: &{name} [{','.join([f'*{above}'] * width)}]")
        merges.append(f"{name}: &{name} {{<<: [{','.join([f'*{above}'] * width)}]}}")
    last = names[depth - 1]
    digits = rng.randint(5000, 100_000)
    _yolo(
        folder,
        rng,
        rng.choice(
            (
                "\n".join(lists) + f"\nnames: [a]\npath: *{last}\n",
                "\n".join(lists) + f"\nnames: *{last}\n",
                "\n".join(lists) + f"\nnames: [a]\ntrain: *{last}\n",
                "\n".join(merges) + f"\nnames: *{last}\n",
                f"names: {{0: 0x{'f' * digits}}}\n",
                f"names: [a]\nnc: {'1:' * digits}1\n",
                f"names: [a]\nkpt_shape: [{'9' * digits}, 3]\n",
                f"names: {'[' * digits}\n",
                "names: &a [*a]\n",
                f"names: [{'a,' * 10 * digits}]\n",
                f"names: [a]\npath: {'b' * digits}\n",
            )
        ),
    )


def _yolo_rows(folder: Path, rng: random.Random) -> None:
    numbers = " ".join(str(rng.randint(0, 1)) for _ in range(60_000))
    _yolo(
        folder,
        rng,
        "names: [a]\n",
        rng.choice(
            (
                f"0 {numbers}\n",
                f"0 {'9' * 500_000} 0 0 0\n",
                "0\n" * 200_000,
                f"{'9' * 400} 0.5 0.5 0.1 0.1\n",
                f"0 {'0 ' * 200_001}\n",
                "0 0 0 0 0\n" * 20_000,
            )
        ),
    )


def _json_values(folder: Path, rng: random.Random) -> None:
    """Values that a parser or a printer of JSON chokes on, in a field of any format."""
    odd: Any = rng.choice(
        (
            "[" * 100_000,
            '{"a":' * 900 + "1" + "}" * 900,
            "[" * 900 + "]" * 900,
            "9" * 5000,
            "-" + "9" * 4000,
            "1e999",
            "NaN",
            '"' + "x" * 1_000_000 + '"',
            "[" + "[]," * 100_000 + "[]]",
            "1" + "0" * 400,
            '"' + "\\ud800" * 1000 + '"',
        )
    )
    key, text = rng.choice(
        (
            ("annotations.json", coco([{"segmentation": [[1, 1, 5, 1, 5, 5]], "x": "ODD"}], 9, 9)),
            ("annotations.json", coco([{"segmentation": [[1, 1, 5, 1, 5, "ODD"]]}], 9, 9)),
            ("annotations.json", coco([{"segmentation": [[1, 1, 5, 1, 5, 5]], "id": "ODD"}], 9, 9)),
            ("annotations.json", coco([{"bbox": ["ODD", 1, 1, 1]}], 9, 9)),
            ("annotations.json", coco([{"image_id": "ODD"}], 9, 9)),
            ("annotations.json", coco([{}], 9, 9, info="ODD")),
            ("a.json", json.dumps({"imagePath": "a.jpg", "imageHeight": "ODD", "imageWidth": 9, "shapes": []})),
            (
                "a.json",
                json.dumps({"imagePath": "a.jpg", "imageHeight": 9, "imageWidth": 9, "flags": "ODD", "shapes": []}),
            ),
            (
                "a.json",
                json.dumps({"imagePath": "ODD", "imageHeight": 9, "imageWidth": 9, "shapes": [{"label": "ODD"}]}),
            ),
            (
                "a.json",
                json.dumps(
                    {"image": {"image_id": "ODD", "width": 9, "height": 9, "file_name": "a.jpg"}, "annotations": []}
                ),
            ),
            (
                "tasks.json",
                json.dumps([{"id": "ODD", "data": {"image": "a.jpg", "width": 9, "height": 9}, "annotations": []}]),
            ),
            ("objects.json", json.dumps({"categories": [], "pictures": [], "dataset": {"x": "ODD"}})),
        )
    )
    _write(folder, key, text.replace('"ODD"', odd))


def _xml_values(folder: Path, rng: random.Random) -> None:
    odd = rng.choice(
        (
            "<a>" * 50_000 + "</a>" * 50_000,
            "<a/>" * 200_000,
            "<a " + " ".join(f'b{n}=""' for n in range(50_000)) + "/>",
            "<name>" + "x" * 1_000_000 + "</name>",
            "<x1>" + "9" * 100_000 + "</x1>",
        )
    )
    name, text = rng.choice(
        (
            (
                "Annotations/a.xml",
                "<annotation><filename>a.jpg</filename><size><width>9</width><height>9</height></size>"
                f"<object>{odd}</object></annotation>",
            ),
            (
                "annotations.xml",
                '<annotations><image id="0" name="a.jpg" width="9" height="9"><box label="a" xtl="1" '
                f'ytl="1" xbr="2" ybr="2">{odd}</box></image></annotations>',
            ),
            ("annotations.xml", f"<annotations><meta>{odd}</meta></annotations>"),
            (
                "a.xml",
                "<annotation><filename>a.jpg</filename><imagesize><nrows>9</nrows><ncols>9</ncols></imagesize>"
                f"<object>{odd}<pt/></object></annotation>",
            ),
        )
    )
    _write(folder, name, text)


def _parquet(folder: Path, rng: random.Random) -> None:
    import pyarrow

    rows = rng.randint(20, 120)
    usual: Table = {"image": {"path": "a.jpg"}, "width": 9, "height": 9}
    one = {"bbox": [[0.0, 0.0, 1.0, 1.0]], "category": [0]}
    long = "x" * rng.randint(10_000_000, 30_000_000)
    schema, data = None, rng.choice(("text", "values", "nested", "metadata", "counts"))
    table = [{**usual, "objects": one}] * 2
    if data == "text":
        table = [{**usual, "objects": one, "extra": long}] * rows
    elif data == "counts":
        segments = {"size": [9, 9], "counts": long}
        table = [{**usual, "objects": {**one, "segmentation": [segments]}}] * rows
    elif data == "values":
        many = rng.randint(5_000_000, 9_000_000)
        column = pyarrow.repeat(pyarrow.scalar(0), many)
        lists = pyarrow.ListArray.from_arrays(pyarrow.array([0, many], pyarrow.int32()), column)
        made = pyarrow.table(
            {"width": [9], "height": [9], "objects": pyarrow.StructArray.from_arrays([lists], ["category"])}
        )
        _to_parquet(folder, made)
        return
    elif data == "nested":
        kind = pyarrow.int64()
        for _ in range(rng.randint(20, 90)):
            kind = pyarrow.list_(kind)
        _to_parquet(folder, pyarrow.table({"objects": pyarrow.nulls(2, kind)}))
        return
    made = pyarrow.Table.from_pylist(table, schema=schema)
    if data == "metadata":
        odd = rng.choice(
            ('{"categories":[{"id":0,"name":"x","e":NaN}]}', "[" * 100_000, '{"categories":' + "9" * 5000 + "}")
        )
        made = made.replace_schema_metadata({rng.choice(("samlabel", "huggingface")): odd})
    _to_parquet(folder, made)


def _to_parquet(folder: Path, table: Any) -> None:
    import pyarrow.parquet as parquet

    out = io.BytesIO()
    parquet.write_table(table, out, compression="zstd")
    _write(folder, "a.parquet", out.getvalue())


def _pipes(folder: Path, rng: random.Random) -> None:
    """Label files that nobody writes into."""
    names = (
        "annotations.json",
        "a.json",
        "annotations.xml",
        "Annotations/a.xml",
        "data.yaml",
        "labels/a.txt",
        "tasks.json",
        "objects.json",
        "masks/a.png",
        "a.parquet",
        "samlabel.jsonl",
        "labelmap.txt",
        "labels.txt",
    )
    _yolo(folder, rng, "names: [a]\n")
    for name in rng.sample(names, rng.randint(1, 4)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        os.mkfifo(path)


# name -> (format, what lays it out)
KINDS: dict[str, tuple[str, Make]] = {
    "coco polygons": ("coco", _coco_polygons),
    "coco rle": ("coco", _coco_rle),
    "coco equal objects": ("coco", _coco_twins),
    "sa1b rle": ("sa1b", _sa1b),
    "png table rle": ("png", _table),
    "png numbers": ("png", _numbers),
    "labelme polygons": ("labelme", _labelme_polygons),
    "labelme bitmaps": ("labelme", _labelme_bitmaps),
    "cvat polygons": ("cvat", _cvat_polygons),
    "cvat masks": ("cvat", _cvat_masks),
    "labelstudio polygons": ("labelstudio", _studio_polygons),
    "labelstudio brushes": ("labelstudio", _studio_brushes),
    "voc polygons": ("voc", _voc_polygons),
    "voc pictures": ("voc", _voc),
    "yaml": ("yolo", _yaml),
    "yolo rows": ("yolo", _yolo_rows),
    "json values": ("", _json_values),
    "xml values": ("", _xml_values),
    "parquet": ("parquet", _parquet),
    **({"pipes": ("", _pipes)} if hasattr(os, "mkfifo") else {}),
}


def lay_out(kind: str, seed: int, folder: Path) -> str | None:
    """A bomb of a kind below `folder`, the same for the same seed; its format, None where that is to be found out."""
    folder.mkdir(parents=True, exist_ok=True)
    name, make = KINDS[kind]
    make(folder, random.Random(f"{kind} {seed}"))
    return name or None


def files_below(folder: Path) -> Iterator[Path]:
    yield from (file for file in folder.rglob("*") if file.is_file())
