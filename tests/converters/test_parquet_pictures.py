"""Pictures inside Parquet files: taken out where images are asked for, one record's at a time."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from PIL import Image

import converters
from samlabel.errors import UsageError
from samlabel.types import Dataset
from tests.converters.cases import HOLED, LETTERS, SIZE, one, thing

pytest.importorskip("pyarrow")


def embedded(folder: Path) -> Path:
    """A Parquet file that holds twelve pictures of different colours, with no folder of images beside it."""
    records = []
    (folder / "photos").mkdir()
    for number in range(12):
        Image.new("RGB", SIZE[::-1], (number * 20, 0, 0)).save(folder / "photos" / f"{number:02d}.png")
        records += one(thing(HOLED), path=f"{number:02d}.png")
    converters.write(Dataset(LETTERS, records, folder / "photos"), folder / "set.parquet", "parquet", pictures="embed")
    (folder / "photos").rename(folder / "elsewhere")
    return folder / "set.parquet"


@pytest.mark.parametrize("images", ["copy", "hardlink"])
def test_pictures_inside_parquet_come_out_with_their_own_bytes(images: str, tmp_path: Path) -> None:
    converters.convert(embedded(tmp_path), tmp_path / "out", to="yolo", images=images, allow_lossy=True)
    for file in sorted((tmp_path / "elsewhere").iterdir()):
        assert (tmp_path / "out" / "images" / file.name).read_bytes() == file.read_bytes()


def test_pictures_inside_parquet_go_into_another_parquet_file(tmp_path: Path) -> None:
    import pyarrow.parquet as parquet

    converters.convert(embedded(tmp_path), tmp_path / "again.parquet", to="parquet", pictures="embed")
    pictures = parquet.read_table(tmp_path / "again.parquet").column("image").to_pylist()
    assert [p["bytes"] for p in pictures] == [f.read_bytes() for f in sorted((tmp_path / "elsewhere").iterdir())]


def test_pictures_inside_parquet_are_not_put_on_disk_for_labels_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = embedded(tmp_path)
    monkeypatch.setattr("converters.formats.parquet.reader._Extracted", None)  # would raise if it was called
    receipt = converters.convert(source, tmp_path / "out.json", to="coco")
    assert receipt.images_out == 12


def test_few_pictures_of_a_parquet_file_are_on_disk_at_once_and_none_at_the_end(tmp_path: Path) -> None:
    dataset = converters.read(embedded(tmp_path), pictures=True)
    root, most = dataset.image_root, 0
    for record in dataset.records:
        assert (root / record.path).is_file()
        most = max(most, len(list(root.iterdir())))
    assert most < 12
    del dataset, record
    gc.collect()
    assert not root.exists()


def test_a_symbolic_link_to_a_picture_inside_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="copy the pictures"):
        converters.convert(embedded(tmp_path), tmp_path / "out", to="yolo", images="symlink", allow_lossy=True)
