"""Pictures of every kind and in every state of disrepair; the same ones each time."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import socket
import struct
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from tests.samlabel import fakes

from .world import annotate, labels, run_in_child, use_fakes

NAMES = [
    "with space",
    "ünïcödé",
    "日本語",
    "한국어",
    "العربية",
    "עברית",
    "ελληνικά",
    "русский",
    "हिन्दी",
    "ไทย",
    "emoji 🦊",
    "comb" + "e\u0301",
    "quote'",
    'double"',
    "semi;colon",
    "per%cent",
    "hash#",
    "amp&",
    "star*",
    "what?",
    "a,b",
    "[1]",
    "{x}",
    "$HOME",
    "`id`",
    "-rf",
    "~",
    "new\nline",
    "tab\t",
    "<b>",
    "trailing.",
    "do..ts",
    "x" * 200,
    "CON",
    "a=b",
    "a|b",
]


def pixels(seed: int = 0, size: tuple[int, int] = (24, 32)) -> np.ndarray:
    found = np.full((*size, 3), fakes.GREY, np.uint8)
    found[2 : 8 + seed % 9, 3 : 12 + seed % 7] = fakes.RED
    return found


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def good() -> dict[str, bytes]:
    """Every kind of picture that has to be labelled, by file name."""
    image = Image.fromarray(pixels())
    grey16 = Image.fromarray(pixels()[:, :, 0].astype(np.uint16) << 8)
    found = {
        f"kind.{end}": encode(image, kind)
        for end, kind in (
            ("png", "PNG"),
            ("jpg", "JPEG"),
            ("gif", "GIF"),
            ("bmp", "BMP"),
            ("tif", "TIFF"),
            ("webp", "WEBP"),
            ("ppm", "PPM"),
        )
    }
    for mode in ("L", "1", "P", "LA", "RGBA", "CMYK", "YCbCr"):
        kind, end = ("JPEG", "jpg") if mode in ("CMYK", "YCbCr") else ("PNG", "png")
        found[f"mode-{mode}.{end}"] = encode(image.convert(mode), kind)
    found["mode-CMYK.tif"] = encode(image.convert("CMYK"), "TIFF")
    found["16-bit.png"] = encode(grey16, "PNG")
    found["16-bit.tif"] = encode(grey16, "TIFF")
    found["float.tif"] = encode(Image.fromarray(pixels()[:, :, 0].astype(np.float32) / 255), "TIFF")
    found["palette-transparent.png"] = encode(image.convert("P"), "PNG", transparency=0)
    frames = [Image.fromarray(pixels(i)) for i in range(3)]
    for end, kind in (("gif", "GIF"), ("webp", "WEBP"), ("png", "PNG"), ("tif", "TIFF")):
        found[f"frames.{end}"] = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    for size in ((1, 1), (1, 40), (40, 1), (3000, 2)):
        found[f"size-{size[0]}x{size[1]}.png"] = encode(Image.fromarray(pixels(0, size)), "PNG")
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        found[f"exif-{turn}.jpg"] = encode(image, "JPEG", exif=exif)
    found["wrong-extension.jpg"] = encode(image, "PNG")
    found["WRONG.PNG"] = encode(image, "JPEG")
    found["trailing-rubbish.png"] = encode(image, "PNG") + b"\0rubbish" * 99
    found["damaged-exif.jpg"] = encode(image, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    for number, name in enumerate(NAMES):
        found[f"{name}.png"] = encode(Image.fromarray(pixels(number)), "PNG")
    return found


def bomb(width: int, height: int) -> bytes:
    """A PNG whose head claims an enormous size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 4096)) + chunk(b"IEND", b"")


def bad() -> dict[str, bytes]:
    """What cannot be labelled, whatever a decoder makes of it."""
    return {
        "empty.jpg": b"",
        "empty.png": b"",
        "text.jpg": b"no picture",
        "zeros.png": bytes(999),
        "html.jpg": b"<html></html>",
        "bomb.png": bomb(60000, 60000),
        "wide.png": bomb(2**31 - 1, 1),
        "svg.png": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "script.gif": b"#!/bin/sh\ntouch pwned\n",
        "eps.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "no-data.png": bomb(9, 9)[:33],
        "pickle.png": b"\x80\x04\x95",
    }


def mutated(count: int, seed: int = 5) -> dict[str, bytes]:
    """Good pictures cut off, or with some of their bytes changed; they may be readable or not."""
    rng = random.Random(seed)
    sources = sorted((name, data) for name, data in good().items() if name.startswith(("kind", "mode", "16", "frames")))
    found = {}
    for number in range(count):
        name, data = sources[number % len(sources)]
        if number % 3 == 0:
            data = data[: rng.randrange(len(data))]
        elif number % 3 == 1:
            changed = bytearray(data)
            for _ in range(rng.randint(1, 12)):
                changed[rng.randrange(len(data))] = rng.randrange(256)
            data = bytes(changed)
        else:
            at = rng.randrange(len(data))
            data = data[:at] + rng.randbytes(rng.randint(1, 30)) + data[at + rng.randint(0, 30) :]
        found[f"mutated/{number:03}-{name}"] = data
    return found


def broken_inputs(base: Path, mutations: int = 260) -> Counter[str]:
    """One run over all of them: exit code 3, each labelled or named in failed.jsonl, every good one labelled."""
    use_fakes()
    fakes.draw(base / "warm" / "photos" / "a.png")
    with contextlib.redirect_stdout(io.StringIO()):  # another user may not be able to read what is imported late
        annotate(base / "warm")
    photos, said = base / "photos", base / "said.txt"
    sound, broken, doubtful = good(), bad(), mutated(mutations)
    for name, data in {**sound, **broken, **doubtful}.items():
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes(data)
    odd = _odd_entries(base, photos)

    def work() -> int:
        from samlabel.cli import main

        if os.geteuid() == 0:
            for path in (base, *base.rglob("*")):
                os.chown(path, 65534, 65534, follow_symlinks=False)
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        try:
            main(
                [
                    "annotate",
                    str(photos),
                    "--out",
                    str(base / "out"),
                    "-f",
                    "coco",
                    "-f",
                    "yolo",
                    "--device",
                    "cpu",
                    "-q",
                ]
            )
        except SystemExit as end:
            return int(end.code or 0)
        return 70

    code = run_in_child(work, said=said)
    text = said.read_text(errors="replace")
    assert code == 3 and "Traceback" not in text, (code, text[-3000:])
    failed = {}
    for line in (base / "out" / "failed.jsonl").read_text().splitlines():
        one = json.loads(line)
        failed[one["path"]] = one["reason"]
    coco = json.loads((base / "out" / "coco" / "annotations.json").read_text())
    found = {one["file_name"]: (one["height"], one["width"]) for one in coco["images"]}
    assert not set(found) & set(failed)
    missing = [name for name in sound if name not in found]
    assert not missing, {name: failed.get(name) for name in missing}
    assert [name for name in (*broken, *odd) if name not in failed] == []
    assert [name for name in doubtful if (name in found) == (name in failed)] == []
    for turn in range(1, 9):
        assert found[f"exif-{turn}.jpg"] == ((24, 32) if turn < 5 else (32, 24))
    assert all(reason.strip() and "\n" not in reason for reason in failed.values())
    assert not (base / "pwned").exists() and not Path("pwned").exists()
    before = labels(base / "out")
    assert run_in_child(work, said=said) == 3
    after = labels(base / "out")
    lost = sum(len(data) for name, data in before.items() if after.get(name) != data)
    total = len(sound) + len(broken) + len(doubtful) + len(odd)
    return Counter(
        {
            "inputs tried": total,
            "inputs labelled": len(found),
            "inputs named in failed.jsonl": len(failed),
            "bytes lost": lost,
        }
    )


def _odd_entries(base: Path, photos: Path) -> list[str]:
    """Names of entries that look like pictures and are none."""
    os.mkfifo(photos / "fifo.jpg")
    (photos / "dead-link.png").symlink_to("nowhere.png")
    (photos / "loop.png").symlink_to("loop.png")
    for name, target in (("loop", "."), ("up", ".."), ("ring", "ring")):
        (photos / name).symlink_to(target)
    (photos / "unreadable.png").write_bytes(encode(Image.fromarray(pixels()), "PNG"))
    (photos / "unreadable.png").chmod(0)
    (photos / "device.png").symlink_to("/dev/zero")
    server = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    try:
        os.chdir(photos)  # the path of a socket may only be short
        server.bind("socket.jpg")
    finally:
        os.chdir(here)
        server.close()
    locked = photos / "locked"
    locked.mkdir()
    (locked / "inside.png").write_bytes(encode(Image.fromarray(pixels()), "PNG"))
    locked.chmod(0)
    return ["fifo.jpg", "dead-link.png", "loop.png", "unreadable.png", "device.png", "socket.jpg", "locked"]
