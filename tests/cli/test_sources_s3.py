"""From object store to object store, through S3's own protocol: moto's server on this machine."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cratecli.runs.manifest import read_manifest
from tests.cli.conftest import Machine, picture
from tests.support.shards import jpeg, tar_of
from tests.support.waiting import until

pytestmark = pytest.mark.slow
pytest.importorskip("moto", reason="moto[server] is not installed")
s3fs: Any = pytest.importorskip("s3fs", reason="s3fs is not installed")

FAST = ("--size", "32", "--heads", "agree", "--refine", "none")
PHOTOS = 40  # of a shard


@pytest.fixture
def lake(machine: Machine) -> Iterator[Any]:
    """Serve an empty bucket `lake`; `machine` knows where."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "hunter2", "AWS_DEFAULT_REGION": "us-east-1"}
    machine.environment.update(keys | {"AWS_ENDPOINT_URL": address, "PYTHONWARNINGS": "default"})
    command = [sys.executable, "-m", "moto.server", "-p", str(port)]
    with subprocess.Popen(command, env=os.environ | keys, stdout=-3, stderr=-3) as server:
        until(lambda: answers(address))
        store = s3fs.S3FileSystem(key="key", secret="hunter2", endpoint_url=address)
        store.mkdir("lake")
        yield store
        server.kill()


def answers(address: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(address):
        return True
    return False


def test_a_run_from_store_to_store_is_killed_and_taken_up(machine: Machine, lake: Any) -> None:
    names = [f"{shard}/{number}" for shard in range(2) for number in range(PHOTOS)]
    for shard in range(2):
        members = {f"{number}.jpg": jpeg(shard * PHOTOS + number) for number in range(PHOTOS)}
        members["7.jpg"] = b"no photo"
        lake.pipe_file(f"lake/in/{shard}.tar", tar_of(members))
    asked = ("segment", "s3://lake/in/{0..1}.tar", "-o", "s3://lake/masks/", "--batch-size", "2", *FAST)
    manifest = machine.desk / "lake-masks.manifest.jsonl"

    def rows() -> list[str | None]:
        return [line.row.output for line in read_manifest(manifest)] if manifest.exists() else []

    with machine.start(*asked) as process:
        until(lambda: len(rows()) > 5 or process.poll() is not None)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert 5 < len(rows()) < len(names) - 2
    done = machine.crate(*asked, "--resume", installed=True)
    assert done.code == 1, done.err
    assert done.err.count("not an image of a known format") == 2
    made = sorted(f"s3://lake/masks/{name}.png" for name in names if not name.endswith("/7"))
    assert sorted(filter(None, rows())) == made
    lake.invalidate_cache()
    assert sorted(f"s3://{each}" for each in lake.find("lake/masks")) == made
    again = machine.crate(*asked, "--resume", "--jsonl", installed=True)
    assert [set(json.loads(line)) for line in again.lines] == [{"input", "error"}] * 2
    table = machine.crate(
        "segment", "s3://lake/in/", "-o", "s3://lake/rows/", "--as", "parquet", *FAST, installed=True
    )
    assert table.lines == ["s3://lake/rows/0.parquet", "s3://lake/rows/1.parquet"]
    assert "hunter2" not in manifest.read_text()


def test_photos_below_a_prefix(machine: Machine, lake: Any) -> None:
    for number in range(3):
        lake.pipe_file(f"lake/photos/sub/{number}.jpg", jpeg(number))
    lake.pipe_file("lake/photos/../out.jpg", jpeg(9))
    asked = ("segment", "s3://lake/photos/", "-r", "-o", "s3://lake/photos/masks/", "-q", *FAST)
    for _ in range(2):
        assert machine.crate(*asked, installed=True).code == 0
    made = [f"sub/{number}.png" for number in range(3)]
    lake.invalidate_cache()
    found = [each.removeprefix("lake/photos/masks/") for each in lake.find("lake/photos/masks")]
    assert sorted(found) == made  # no name begins with a dot
    denied = machine.crate("segment", "s3://no-such-bucket/a.jpg", "-o", "a.png", "-q", installed=True)
    assert (denied.code, denied.err) == (1, "crate: s3://no-such-bucket/a.jpg: no such object\n")
    assert Path(machine.desk / "lake-photos-masks.manifest.jsonl").exists()


def test_a_run_on_ray_from_store_to_store(machine: Machine, lake: Any) -> None:
    pytest.importorskip("ray", reason="ray[data] is not installed")
    machine.environment.pop("PYTHONWARNINGS")
    machine.environment["RAY_ADDRESS"] = "local"  # whatever runs on this machine
    for shard in range(4):
        members = {f"{number}.jpg": jpeg(shard * PHOTOS + number) for number in range(PHOTOS)}
        lake.pipe_file(f"lake/in/{shard}.tar", tar_of(members | {"7.jpg": b"no photo"}))
    shards = ("segment", "s3://lake/in/{0..3}.tar", "-q", *FAST)
    alone = machine.crate(*shards, "-o", "masks/", installed=True)
    made = {path.parent.name + "/" + path.name: path for path in (machine.desk / "masks").rglob("*.png")}
    spread = machine.crate(*shards, "-o", "s3://lake/masks/", "--on", "ray", installed=True)
    assert (spread.code, spread.err) == (1, alone.err)
    lake.invalidate_cache()
    stored = {each.removeprefix("lake/masks/"): lake.cat_file(each) for each in lake.find("lake/masks")}
    assert sorted(stored) == sorted(made)
    assert len(stored) == 4 * (PHOTOS - 1)
    pixels = {name: picture(content).tobytes() for name, content in stored.items()}
    assert pixels == {name: picture(path.read_bytes()).tobytes() for name, path in made.items()}
    table = machine.crate(*shards, "-o", "s3://lake/rows/", "--as", "parquet", "--on", "ray", installed=True)
    assert sorted(table.lines) == [f"s3://lake/rows/{shard}.parquet" for shard in range(4)]
    again = machine.crate(
        *shards,
        "-o",
        "s3://lake/rows/",
        "--as",
        "parquet",
        "--on",
        "ray",
        "--resume",
        "--jsonl",
        installed=True,
    )
    assert [set(json.loads(line)) for line in again.lines] == [{"input", "error"}] * 4
