"""Photos that are called like shards or tables, and the other way round; rows of tables that have no extension."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from tests.cli.conftest import Here, Machine, failed

QUICK = ("--size", "32", "--refine", "none")


@pytest.fixture
def files(machine: Machine) -> dict[str, bytes]:
    """Give the bytes of a photo, a shard, a compressed one, a table and a zip."""
    arrow = pytest.importorskip("pyarrow.parquet", reason="pip install 'cratecli[parquet]'")
    import pyarrow

    photo = Path(machine.photo("photo.png", (48, 36))).read_bytes()
    shard, table = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=shard, mode="w") as tar:
        tar.add(machine.desk / "photo.png", "a.png")
    jpeg = Path(machine.photo("photo.jpg", (48, 36), 1)).read_bytes()
    arrow.write_table(pyarrow.table({"image": [photo, jpeg]}), table)
    tar_bytes, rows = shard.getvalue(), table.getvalue()
    return {
        "photo": photo,
        "tar": tar_bytes,
        "gzip": gzip.compress(tar_bytes),
        "parquet": rows,
        "zip": b"PK\x03\x04" + bytes(300),
    }


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("x.tar", "photo", "x.tar: a photo: let its name end with .png"),
        ("x.tgz", "photo", "x.tgz: a photo: let its name end with .png"),
        ("x.parquet", "photo", "x.parquet: a photo: let its name end with .png"),
        ("x.arrow", "photo", "x.arrow: a photo: let its name end with .png"),
        ("x.arrow", "parquet", "x.arrow: a Parquet table: let its name end with .parquet"),
        ("x.parquet", "tar", "x.parquet: a tar archive: let its name end with .tar"),
        ("x.tar", "parquet", "x.tar: a Parquet table: let its name end with .parquet"),
        ("x.jpg", "tar", "x.jpg: a tar archive, not a photo: let its name end with .tar"),
        ("x.jpg", "gzip", "x.jpg: compressed by gzip, as .tar.gz are, not a photo"),
        ("x.jpg", "parquet", "x.jpg: a Parquet table, not a photo: let its name end with .parquet"),
        ("x.jpg", "zip", "x.jpg: a zip archive, not a photo: unpack it"),
    ],
)
def test_what_it_is_is_said(
    machine: Machine, here: Here, files: dict[str, bytes], name: str, kind: str, told: str
) -> None:
    (machine.desk / name).write_bytes(files[kind])
    failed(here("segment", name, "-o", "out/", *QUICK, "-q"), 1, told)


def test_what_is_as_it_is_called_is_broken(machine: Machine, here: Here, files: dict[str, bytes]) -> None:
    """A tar compressed by gzip may be called .tar; one that is cut short is said to be that."""
    (machine.desk / "x.tar").write_bytes(files["gzip"])
    assert here("segment", "x.tar", "-o", "out/", *QUICK).code == 0
    (machine.desk / "cut.tar").write_bytes(files["tar"][:600])
    done = here("segment", "cut.tar", "-o", "cut/", *QUICK, "-q")
    assert (done.code, "cut.tar: a broken archive" in done.err) == (1, True), done.err


def test_rows_are_copied_beside_their_labels(machine: Machine, here: Here, files: dict[str, bytes]) -> None:
    """Nothing can link to a row or a member; the extension of a row is that of its bytes."""
    for name in ("x.parquet", "y.tar"):
        (machine.desk / name).write_bytes(files[name.partition(".")[2]])
        assert here("segment", name, "-o", f"{name}-run/", *QUICK).code == 0
        assert here("export", f"{name}-run", "--as", "yolo", "-o", f"{name}-yolo").code == 0
    copied = {
        path.relative_to(machine.desk).as_posix(): path.read_bytes()
        for path in sorted(machine.desk.glob("*-yolo/images/*/*"))
        if not path.is_symlink()
    }
    assert copied == {
        "x.parquet-yolo/images/x/00000000.png": files["photo"],
        "x.parquet-yolo/images/x/00000001.jpg": (machine.desk / "photo.jpg").read_bytes(),
        "y.tar-yolo/images/y/a.png": files["photo"],
    }
