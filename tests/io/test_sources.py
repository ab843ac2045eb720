"""Photos that are no files: members of tars, rows of tables, objects of stores, pages of the web; and hostile ones."""

import gzip
import io
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cratecli.errors import InputError, OutputError, UsageError
from cratecli.io.sources.entry import Entry
from cratecli.io.sources.packed import Packed, entry_at, expand, packed_kind, unpacked
from cratecli.io.sources.stores import Destination, is_prefix, list_objects, photo_at, version_of
from cratecli.io.urls import refuse_unknown, scrub, shown
from tests.support.server import Answer, Server
from tests.support.shards import odd, tar_of, write_parquet

MOST = 1000
NOTES: list[str] = []


@pytest.fixture(autouse=True)
def quiet() -> None:
    NOTES.clear()


@pytest.fixture
def memory() -> Iterator[object]:
    """Give fsspec's store in memory, empty."""
    import fsspec

    store = fsspec.filesystem("memory")
    yield store
    store.store.clear()
    store.pseudo_dirs[:] = [""]


def told(entry: Entry) -> str:
    """Give what a photo's bytes say, or why there are none."""
    try:
        return entry.read(MOST).decode()
    except InputError as error:
        return str(error)


def entries(source: object, column: str | None = None) -> list[Entry]:
    kind = packed_kind(str(source))
    assert kind is not None
    return list(Packed(str(source), kind, column).entries(MOST, NOTES.append))


def in_tar(tmp_path: Path, content: bytes, name: str = "a.tar", column: str | None = None) -> dict[str, str]:
    """Read a tar, and give what its photos say by their names."""
    path = tmp_path / name
    path.write_bytes(content)
    found = entries(path, column)
    assert all(each.archive == path for each in found)
    return {each.member: told(each).removeprefix(f"{path}::") for each in found}


SAMPLES = {
    "a/1.jpg": b"one",
    "a/1.cls": b"3",
    "a/1.mask.png": b"mask",
    "a/1.pyd": b"cos\nsystem\n",
    "IMG.2.PNG": b"2",
}


@pytest.mark.parametrize(("name", "mode"), [("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.TGZ", "w:gz")])
def test_photos_of_a_shard_come_in_its_order_and_nothing_else_is_decoded(
    tmp_path: Path, name: str, mode: str
) -> None:
    assert in_tar(tmp_path, tar_of(SAMPLES, mode), name) == {"a/1.jpg": "one", "IMG.2.PNG": "2"}
    assert [
        f"{tmp_path / name}: passed over 1 picture of other fields (mask.png); --column takes them"
    ] == NOTES


def test_fields_of_a_shard_can_be_chosen(tmp_path: Path) -> None:
    assert in_tar(tmp_path, tar_of(SAMPLES), column="mask.png;cls") == {
        "a/1.cls": "3",
        "a/1.mask.png": "mask",
    }
    assert NOTES == []
    with pytest.raises(InputError, match="no photo in it"):
        in_tar(tmp_path, tar_of(SAMPLES), column="webp")


def test_members_that_are_refused_do_not_end_a_shard(tmp_path: Path) -> None:
    hostile: list[tarfile.TarInfo | tuple[str, bytes]] = [
        *[("../out.jpg", b"x"), ("/abs.jpg", b"x"), ("a/../../b.jpg", b"x"), ("C:\\b.jpg", b"x")],
        *[odd("link.jpg", tarfile.SYMTYPE, "/etc/passwd"), odd("hard.jpg", tarfile.LNKTYPE, "good.jpg")],
        *[odd("null", tarfile.CHRTYPE), odd("pipe.jpg", tarfile.FIFOTYPE), odd("a.jpg", tarfile.DIRTYPE)],
        *[("large.jpg", bytes(MOST + 1)), ("good.jpg", b"good"), (".hidden.jpg", b"x")],
    ]
    found = in_tar(tmp_path, tar_of(hostile))
    out = ": its name leads out of the archive"
    assert found == {
        **{name: f"{name}{out}" for name in ("../out.jpg", "/abs.jpg", "a/../../b.jpg", "C:\\b.jpg")},
        **dict.fromkeys(["link.jpg"], "link.jpg: a link, not a file"),
        **dict.fromkeys(["hard.jpg"], "hard.jpg: a link, not a file"),
        **{name: f"{name}: a device or a pipe, not a file" for name in ("null", "pipe.jpg")},
        "large.jpg": "large.jpg: 1,001 bytes are more than a photo needs; --max-pixels raises the limit",
        "good.jpg": "good",
    }


def damaged(header: int) -> bytes:
    """Give a shard of three photos with a header that is damaged."""
    content = bytearray(tar_of({"1.jpg": b"1", "2.jpg": b"2", "3.jpg": b"3"}))
    content[header * 1024 + 5] ^= 1
    return bytes(content)


def long_name() -> bytes:
    """Give a shard with a name of 2 MiB."""
    header = tarfile.TarInfo("1.jpg")
    header.pax_headers = {"path": "x" * (2 << 20)}
    return tar_of([header])


WHOLE = tar_of({"1.jpg": b"1", "2.jpg": b"2"})


@pytest.mark.parametrize(
    ("content", "before", "reason"),
    [
        (damaged(2), ["1.jpg", "2.jpg"], "a broken archive, after 2 photos: bad checksum"),
        (damaged(0), [], "a broken archive: bad checksum"),
        (WHOLE[:1024], ["1.jpg"], "a broken archive, after 1 photo: it is cut short"),
        (WHOLE[:1200], ["1.jpg"], "a broken archive, after 1 photo: it is cut short"),
        (tar_of({"1.jpg": b"1" * 900})[:700], [], "a broken archive"),
        (gzip.compress(WHOLE)[:-12], ["1.jpg", "2.jpg"], "its compressed data are cut short"),
        (gzip.compress(WHOLE)[:60], [], "its compressed data are cut short"),
        (b"\x1f\x8bno gzip" * 9, [], "a broken archive"),
        (b"", [], "a broken archive"),
        (b"<html>", [], "a broken archive"),
        (long_name(), [], "a header that speaks of 2,097"),
        (tar_of({"a.txt": b""}), [], "no photo in it"),
    ],
    ids=[
        *("third header", "first header", "between members", "in a header", "in a member", "gzip's end"),
        *("gzip's middle", "no gzip", "nothing", "HTML", "a long name", "no photo"),
    ],
)
def test_a_broken_shard_gives_what_comes_before(
    tmp_path: Path, content: bytes, before: list[str], reason: str
) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(content)
    found = []
    with pytest.raises(InputError, match=reason):
        for each in Packed(str(path), "tar").entries(MOST, NOTES.append):
            found.append(each.member)
    assert found == before[: len(found)]
    assert len(found) == len(before) or "compressed" in reason


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cratecli.io.sources.tars.MOST_OUT", 1 << 20)
    with pytest.raises(InputError, match="refused as a bomb"):
        in_tar(tmp_path, gzip.compress(tar_of({"a.bin": bytes(8 << 20), "b.jpg": b"b"})))


def test_a_shard_of_another_compression_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a broken archive"):
        in_tar(tmp_path, tar_of(SAMPLES, "w:xz"))


pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")


def test_rows_of_parquet_are_photos_and_a_bad_one_fails_alone(tmp_path: Path) -> None:
    rows = [
        {"bytes": b"a", "path": None},
        {"bytes": None, "path": "/etc/passwd"},
        None,
        {"bytes": bytes(MOST + 1)},
    ]
    path = write_parquet(tmp_path / "a.parquet", rows, label=[1, 2, 3, 4])
    assert [told(each).removeprefix(f"{path}::") for each in entries(path)] == [
        "a",
        "00000001: the row holds a path, and no bytes: paths in tables are not followed",
        "00000002: the row is empty",
        "00000003: 1,001 bytes are more than a photo needs; --max-pixels raises the limit",
    ]
    assert Packed(str(path), "parquet").count() == 4


def test_the_column_of_photos_is_found_or_asked_for(tmp_path: Path) -> None:
    one = write_parquet(tmp_path / "one.parquet", [b"a"], "scan", label=["x"])
    assert [told(each) for each in entries(one)] == ["a"]
    two = write_parquet(tmp_path / "two.parquet", [b"a"], "left", right=[b"b"])
    assert [told(each) for each in entries(two, "right")] == ["b"]
    usual = write_parquet(tmp_path / "usual.parquet", [b"a"], "thumbnail", img=[b"b"])
    assert [told(each) for each in entries(usual)] == ["b"]
    for path, column, reason in (
        (two, None, "which column holds photos.*left, right: give --column"),
        (two, "no", "--column no is no column of it; columns of bytes are left, right"),
        (one, "label", "--column label is no column of bytes"),
    ):
        with pytest.raises(UsageError, match=reason):
            entries(path, column)


def test_features_say_which_column_has_images(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    table = pyarrow.table({"image": [b"no"], "scan": [{"bytes": b"yes", "path": "a.jpg"}]})
    features = datasets.Features({"image": datasets.Value("binary"), "scan": datasets.Image()})
    pyarrow.parquet.write_table(table.cast(features.arrow_schema), tmp_path / "a.parquet")
    assert [told(each) for each in entries(tmp_path / "a.parquet")] == ["yes"]
    datasets.Dataset(pyarrow_table(datasets, table.cast(features.arrow_schema))).save_to_disk(
        tmp_path / "saved"
    )
    (saved,) = unpacked(str(tmp_path / "saved"), None)
    assert [told(each) for each in saved.entries(MOST, NOTES.append)] == ["yes"]
    assert saved.version()
    arrow = next((tmp_path / "saved").glob("*.arrow"))
    assert [told(each) for each in entries(arrow)] == ["yes"]


def pyarrow_table(datasets: object, table: object) -> object:
    """Wrap a table as `datasets` has it."""
    from datasets.table import InMemoryTable

    return InMemoryTable(table)


def test_arrow_files_of_both_kinds_are_read(tmp_path: Path) -> None:
    table = pyarrow.table({"image": [b"a", b"b"]})
    for name, writer in (("file", pyarrow.ipc.new_file), ("stream", pyarrow.ipc.new_stream)):
        path = tmp_path / f"{name}.arrow"
        with writer(str(path), table.schema) as sink:
            sink.write_table(table)
        assert [told(each) for each in entries(path)] == ["a", "b"]


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_a_broken_table_is_one_line(tmp_path: Path, name: str) -> None:
    whole = write_parquet(tmp_path / "whole.parquet", [b"a"]).read_bytes()
    for content in (b"", b"PAR1", whole[:-9], b"<html>" * 9):
        (tmp_path / name).write_bytes(content)
        told = (
            "a Parquet table: let"
            if content.startswith(b"PAR1") and name == "a.arrow"
            else "cannot be read as"
        )
        with pytest.raises(InputError, match=told) as raised:
            entries(tmp_path / name)
        assert "\n" not in str(raised.value)


def test_a_column_that_unpacks_to_far_more_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cratecli.io.sources.tables.MOST_OUT", 1 << 16)
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"image": [bytes(1 << 20)] * 4}), path, compression="zstd")
    with pytest.raises(InputError, match="refused as a bomb"):
        entries(path)


def test_splits_outside_a_saved_data_set_are_refused(tmp_path: Path) -> None:
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["../other"]}')
    with pytest.raises(InputError, match="names a split outside"):
        unpacked(str(tmp_path), None)


@pytest.mark.parametrize(("module", "extra"), [("pyarrow", "parquet")])
def test_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, extra: str
) -> None:
    path = write_parquet(tmp_path / "a.parquet", [b"a"])
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=rf"pip install 'cratecli\[{extra}\]'"):
        entries(path)


def test_a_protocol_is_unknown_or_misses_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("ftp://host/a.jpg", "file:///etc/passwd", "zip+x://a"):
        with pytest.raises(UsageError, match="is not read; known are http://, https://, s3://"):
            photo_at(url)
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(
        UsageError, match=r"gs://b/a.jpg: gs:// needs an extra; run: pip install 'cratecli\[gcs\]'"
    ):
        photo_at("gs://b/a.jpg")
    with pytest.raises(UsageError, match="a web server takes no files"):
        refuse_unknown("https://host/a.png", "written")


def test_objects_below_a_url(memory: object) -> None:
    put = memory.pipe_file  # type: ignore[attr-defined]
    for name in ("b.jpg", "a.jpg", "sub/c.jpg", ".hidden/d.jpg", "sub/.e.jpg"):
        put(f"/photos/{name}", b"x")
    assert is_prefix("memory://photos")
    assert not is_prefix("memory://photos/a.jpg")
    assert [each.within for each in list_objects("memory://photos/", recursive=False)] == ["a.jpg", "b.jpg"]
    found = list_objects("memory://photos", recursive=True)
    assert [each.url for each in found] == [
        f"memory://photos/{name}" for name in ("a.jpg", "b.jpg", "sub/c.jpg")
    ]
    assert told(photo_at(found[2].url)) == "x"
    assert version_of(found[0].url)
    assert told(photo_at("memory://photos/no.jpg")) == "memory://photos/no.jpg: no such object"


def test_outputs_go_to_a_store_whole(memory: object, tmp_path: Path) -> None:
    out = Destination.of("memory://out/")
    out.write("sub/a.png", b"a")
    (tmp_path / "b").write_bytes(b"b")
    out.upload("b.parquet", tmp_path / "b")
    assert out.there() == {"sub/a.png", "b.parquet"}
    assert (out.read("sub/a.png", 9), out.read("b.parquet", 9), out.read("no", 9)) == (b"a", b"b", None)
    assert out.at("sub/a.png") == "memory://out/sub/a.png"

    def refuses(*_arguments: object) -> None:
        raise PermissionError("403 for https://me:pw@host/out?X-Amz-Signature=1 and more")

    memory.pipe_file = refuses  # type: ignore[attr-defined]
    try:
        with pytest.raises(OutputError, match="access denied") as raised:
            out.write("a.png", b"")
    finally:
        del memory.pipe_file  # type: ignore[attr-defined]
    assert not raised.value.alone
    assert "pw" not in str(raised.value)
    assert "Signature" not in str(raised.value)


def test_the_web_is_read_through_redirects_and_says_no_secret(server: Server) -> None:
    secret = f"{server.address}/a.jpg?X-Amz-Signature=hunter2"
    server.answers["/a.jpg?X-Amz-Signature=hunter2"] = Answer(b"", 302, {"Location": "/b.jpg"})
    server.answers["/b.jpg"] = Answer(b"photo")
    entry = photo_at(secret.replace("http://", "http://me:hunter2@"))
    assert told(entry) == "photo"
    assert entry.name == f"{server.address}/a.jpg"
    assert "hunter2" not in repr(entry)
    server.answers["/b.jpg"] = Answer(b"x" * (MOST + 1))
    assert "more than a photo needs" in told(entry)
    server.answers["/b.jpg"] = Answer(b"x", announced=99)
    for answer in (
        Answer(b"", 302, {"Location": "file:///etc/passwd"}),
        Answer(b"x", announced=99),
        Answer(b"", 403),
    ):
        server.answers["/b.jpg"] = answer
        assert told(entry).startswith(f"{server.address}/a.jpg: ")
        assert "hunter2" not in told(entry)
    with pytest.raises(InputError, match="a web server does not say what is in a folder"):
        is_prefix(f"{server.address}/photos/")


def test_shards_and_tables_are_read_from_the_web(server: Server, tmp_path: Path) -> None:
    server.answers["/a.tar?key=1"] = Answer(gzip.compress(tar_of(SAMPLES)))
    server.answers["/a.parquet"] = Answer(write_parquet(tmp_path / "a", [b"a"]).read_bytes())
    shard, table = f"{server.address}/a.tar?key=1", f"{server.address}/a.parquet"
    assert [(each.name, told(each)) for each in entries(shard)] == [
        (f"{server.address}/a.tar::a/1.jpg", "one"),
        (f"{server.address}/a.tar::IMG.2.PNG", "2"),
    ]
    assert [told(each) for each in entries(table)] == ["a"]
    server.answers["/a.parquet"].status = 404
    with pytest.raises(InputError, match="the server answered 404"):
        entries(table)


def test_a_photo_inside_something_is_found_by_its_name(tmp_path: Path, memory: object) -> None:
    memory.pipe_file("/b/a.tar", tar_of(SAMPLES))  # type: ignore[attr-defined]
    path = write_parquet(tmp_path / "a.parquet", [b"a", b"b"])
    assert told(entry_at("memory://b/a.tar::IMG.2.PNG")) == "2"
    assert told(entry_at(f"{path}::00000001")) == "b"
    assert told(entry_at(f"{path}::00000002")) == f"{path}::00000002: not in there"


def test_ranges_are_written_out() -> None:
    assert expand("s3://b/{8..10}/{0..1}.tar")[:3] == ["s3://b/8/0.tar", "s3://b/8/1.tar", "s3://b/9/0.tar"]
    assert expand("a-{098..101}.tar") == ["a-098.tar", "a-099.tar", "a-100.tar", "a-101.tar"]
    for name in ("a-{9..8}.tar", "a-{0..9999999}.tar", "a-{000..999}-{000..999}.tar"):
        with pytest.raises(UsageError, match="is no range of up to 100,000 shards"):
            expand(name)


def test_a_range_is_a_name_where_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("{0..1}.tar").write_bytes(b"")
    assert expand("{0..1}.tar") == ["{0..1}.tar"]


def test_secrets_are_taken_out() -> None:
    url = "https://user:hunter2@host/a.tar?X-Amz-Signature=hunter2#hunter2"
    for text in (
        shown(url),
        scrub(f"GET '{url}' failed\nbadly"),
        Packed(url, "tar").name,
        repr(photo_at(url)),
    ):
        assert "hunter2" not in text


def test_a_stream_that_ends_early_says_so() -> None:
    """What reads a tar does not close the caller's stream."""
    from cratecli.io.sources.entry import Reading
    from cratecli.io.sources.tars import tar_entries

    stream = io.BytesIO(tar_of(SAMPLES))
    assert len(list(tar_entries(stream, Reading("a", None, None, MOST, NOTES.append)))) == 2
    assert not stream.closed
