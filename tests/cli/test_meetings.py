"""Where features meet that were built apart: shards, URLs, engines, exports, and names that are none."""

import tarfile
from pathlib import Path

import numpy as np
import pytest

import cratecli
from cratecli.cli import app
from cratecli.errors import InputError
from cratecli.io.images import as_rgb
from cratecli.weights import graphs
from cratecli.weights.registry import load_registry
from tests.cli.conftest import Here, Machine
from tests.support.server import Answer, Server
from tests.support.shards import jpeg, tar_of

QUICK = ("--size", "32", "--layer", "-1", "-q")


@pytest.fixture
def exported(machine: Machine) -> Path:
    """Put an ONNX file on the desk: the built-in model's graph, with its weights inside."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    file = machine.desk / "m.onnx"
    onnx.save(onnx.load(graphs.graph_file(load_registry().find("crate-nano"))), file)
    return file


def test_what_a_url_quotes_leads_nowhere(machine: Machine, here: Here, server: Server) -> None:
    away = [f"{server.address}/{name}" for name in ("..%2f..%2f..%2faway.jpg", "a%00b.jpg")]
    server.answers["/..%2f..%2f..%2faway.jpg"] = server.answers["/a%00b.jpg"] = Answer(jpeg(1))
    done = here("segment", *away, *QUICK, "-o", "masks.tar")
    with tarfile.open(machine.desk / "masks.tar") as archive:
        names = archive.getnames()
    assert done.code == 0 and any("a%00b" in name for name in names)
    assert not any(".." in name.split("/") for name in names)
    assert here("segment", *away, *QUICK, "-o", "masks/").code == 0


def test_no_key_of_a_shard_leads_out_of_it(machine: Machine, here: Here) -> None:
    (machine.desk / "a.tar").write_bytes(tar_of({"1.jpg": jpeg(1)}))
    assert here("segment", "a.tar::../../x.jpg", "a.tar::1.jpg", *QUICK, "-o", "masks.tar").code == 1
    with tarfile.open(machine.desk / "masks.tar") as archive:
        assert not any(".." in name.split("/") for name in archive.getnames())


@pytest.mark.parametrize("name", ["a.tar", "q::a.tar"])
def test_python_takes_a_photo_in_a_shard(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(machine.desk)
    (machine.desk / name).write_bytes(tar_of({"1.jpg": jpeg(1)}))
    assert np.array_equal(as_rgb(f"{name}::1.jpg"), as_rgb(jpeg(1)))
    for wrong in (f"{name}::2.jpg", "no.tar::1.jpg", "a\0.tar::1.jpg"):
        with pytest.raises(InputError):
            cratecli.look(wrong)
    good, absent = cratecli.segment_many([f"{name}::1.jpg", f"{name}::2.jpg"], errors="return")
    assert isinstance(absent, InputError) and not isinstance(good, cratecli.CrateError)
    (machine.desk / "f.tar").mkdir()
    with pytest.raises(InputError, match=r"f\.tar::1\.jpg: no such file"):
        as_rgb("f.tar::1.jpg")


def test_a_run_is_resumed_with_a_model_of_another_engine(
    machine: Machine, here: Here, exported: Path
) -> None:
    (machine.desk / "1.jpg").write_bytes(jpeg(1))
    (machine.desk / "2.jpg").write_bytes(jpeg(2))
    run = ("segment", "1.jpg", "2.jpg", *QUICK, "-o", "masks/")
    assert here(*run, "--engine", "torch").code == 0
    assert here(*run, "--resume", "-m", exported.name).code == 0
    assert here(*run, "--resume", "--dtype", "bfloat16").code == 0


def test_rows_say_which_file_their_model_is_from_anywhere(
    machine: Machine, here: Here, exported: Path
) -> None:
    (machine.desk / "a.tar").write_bytes(tar_of({"1.jpg": jpeg(1)}))
    assert (
        here("segment", "a.tar", *QUICK, "-m", exported.name, "-o", "rows/", "--as", "webdataset").code == 0
    )
    done = here("export", "rows/a.tar", "--as", "coco", "--label-from", "class", "-o", "coco.json")
    assert "not there any more" not in done.err


def test_a_page_of_a_photo_in_a_shard_has_no_doubts(machine: Machine, here: Here) -> None:
    (machine.desk / "a.tar").write_bytes(tar_of({"1.jpg": jpeg(1)}))
    assert here("explore", "a.tar::1.jpg", "--size", "32", "-q", "-o", "page.html").code == 0
    assert "no longer there" not in here("explain", "page.html").err


def test_a_library_that_memory_does_not_hold_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(**_: object) -> None:
        raise ImportError("libcrypto.so: failed to map segment from shared object")

    monkeypatch.setattr(app, "app", load)
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("crate: out of memory")
