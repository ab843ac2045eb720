"""Which engine runs: onnxruntime starts without torch, masks are the same, and what ran is recorded and repeated."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cratecli.emergence.masks import iou
from cratecli.io.formats.picture import embedded_text
from cratecli.model.config import CrateConfig
from cratecli.model.crate import Crate
from cratecli.runs import engines
from cratecli.runs.manifest import MANIFEST, read_manifest
from cratecli.weights import fetch, graphs
from cratecli.weights.checkpoint import load_model
from cratecli.weights.registry import load_registry
from cratecli.weights.store import store_model
from tests.cli.conftest import Here, Machine, failed

QUICK = ("--size", "32", "--layer", "-1")
HEAVY = {"torch", "timm", "sklearn", "matplotlib"}

LOADED = """
import json, sys
from cratecli.cli.app import main
for command in ("segment", "objects", "heads"):
    sys.argv = ["crate", command, "photo.png", "-q", "-o", f"{command}.png"]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, ended.code
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)) > 127


def made(path: Path) -> dict[str, object]:
    """Read how a picture was made."""
    text = embedded_text(path.read_bytes())
    assert text is not None
    said: dict[str, object] = json.loads(text)
    return said


@pytest.fixture
def exported(machine: Machine) -> Path:
    """Put an ONNX file on the desk: the built-in model's graph, with its weights inside."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    place = graphs.graph_file(load_registry().find("crate-nano"))
    whole = onnx.load(place)  # with the tensors beside it
    file = machine.desk / "m.onnx"
    onnx.save(whole, file)
    return file


def test_a_photo_is_answered_without_torch(machine: Machine) -> None:
    """In a fresh process, as users start it."""
    machine.photo("photo.png")
    done = subprocess.run(
        [sys.executable, "-c", LOADED],
        cwd=machine.desk,
        env=machine.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(json.loads(done.stderr))
    assert "onnxruntime" in loaded
    assert not HEAVY & loaded
    assert made(machine.desk / "segment.png")["head"] == "built-in"
    for command in ("segment", "objects", "heads"):
        with Image.open(machine.desk / f"{command}.png") as image:
            image.load()


def test_both_engines_see_the_same_mask(machine: Machine, here: Here, exported: Path) -> None:
    photo = machine.photo("photo.png", (120, 90))
    masks = {}
    for name, words in {
        "auto": (),
        "onnx": ("--engine", "onnx"),
        "torch": ("--engine", "torch"),
        "file": ("-m", str(exported)),
    }.items():
        done = here("segment", photo, "-o", f"{name}.png", *words)
        assert done.code == 0, done.err
        masks[name] = pixels(machine.desk / f"{name}.png")
    assert masks["torch"].any()
    assert iou(masks["torch"], masks["onnx"]) >= 0.999
    assert (masks["auto"] == masks["onnx"]).all()
    assert (masks["file"] == masks["onnx"]).all()
    assert made(machine.desk / "auto.png")["engine"] == "onnx"
    assert made(machine.desk / "torch.png")["engine"] == "torch"
    libraries = made(machine.desk / "auto.png")["libraries"]
    assert isinstance(libraries, dict)
    assert "onnxruntime" in libraries
    assert "torch" not in libraries
    assert made(machine.desk / "file.png")["weights"] == "m.onnx"


@pytest.mark.parametrize("words", [("--engine", "onnx"), ("--engine", "torch"), ("-m", "m.onnx")])
def test_explain_names_the_engine(
    machine: Machine, here: Here, exported: Path, words: tuple[str, str]
) -> None:
    done = here("segment", machine.photo("photo.png"), "-o", "a.png", *words, *QUICK)
    engine = "torch" if "torch" in words else "onnx"
    assert f", {engine} cpu float32\n" in done.err
    (command,) = here("explain", "a.png", "-q").lines
    assert f" --engine {engine} " in command
    before = (machine.desk / "a.png").read_bytes()
    (machine.desk / "a.png").unlink()
    assert here(*command.split()[1:]).code == 0
    assert (machine.desk / "a.png").read_bytes() == before


def test_a_run_goes_on_with_the_engine_that_began_it(machine: Machine, here: Here) -> None:
    first = machine.photo("photos/a.png")
    assert here("segment", "photos", "-o", "masks", "--engine", "torch", *QUICK).code == 0
    machine.photo("photos/b.png", seed=1)
    done = here("segment", "photos", "-o", "masks", "--resume", *QUICK)
    assert "1 photo was done before" in done.err
    rows = [line.row for line in read_manifest(machine.desk / "masks" / MANIFEST)]
    assert [row.made["engine"] for row in rows] == ["torch", "torch"]
    assert len({row.options for row in rows}) == 1
    other = here("segment", "photos", "-o", "masks", "--resume", "--engine", "onnx", *QUICK)
    assert "done before" not in other.err
    assert {line.row.made["engine"] for line in read_manifest(machine.desk / "masks" / MANIFEST)} == {"onnx"}
    assert first.is_file()


def test_features_of_one_engine_are_not_the_others(machine: Machine, here: Here) -> None:
    photo = machine.photo("photo.png")
    kept = []
    for engine in ("torch", "onnx", "onnx"):
        done = here("segment", photo, "-o", "m.png", "--engine", engine, "--features-cache", "kept", *QUICK)
        assert done.code == 0
        kept.append(len(list((machine.desk / "kept").rglob("*.safetensors"))))
    assert kept == [1, 2, 2]


def test_an_exported_model_answers_what_it_can(machine: Machine, here: Here, exported: Path) -> None:
    photo = machine.photo("photo.png", (96, 72))
    assert here("objects", photo, "-o", "o.png", "-m", exported).code == 0
    assert here("heads", photo, "-o", "h.png", "-m", exported).code == 0
    assert here("parts", photo, "-o", "parts", "-k", "2", "-m", exported).code == 0
    clicked = here("segment", photo, "-o", "c.png", "--at", "48,36", "-m", exported)
    assert clicked.code == 0
    assert here("segment", photo, "-o", "t.png", "--at", "48,36", "--engine", "torch").code == 0
    assert iou(pixels(machine.desk / "c.png"), pixels(machine.desk / "t.png")) >= 0.999
    for command, output in (("layers", "x.png"), ("explore", "x.html")):
        done = here(command, photo, "-o", output, "-m", exported)
        failed(done, 2, "m.onnx is an ONNX graph, and this needs")
    asked = ("segment", photo, "-o", "x.png", "-m", "m.onnx")
    failed(here(*asked, "--engine", "torch"), 2, "which torch does not run")
    failed(here(*asked, "--device", "cuda"), 2, "runs on the CPU: not on cuda")


def test_an_exported_model_is_the_default(machine: Machine, here: Here, exported: Path) -> None:
    """By the variable, or chosen once, from any folder; what is no model, or not there, is said at once."""
    photo = machine.photo("photo.png", (96, 72))
    asked = ("segment", photo, "-o", "x.png", *QUICK)
    done = here(*asked, CRATE_MODEL="m.onnx")
    assert (done.code, made(machine.desk / "x.png")["weights"]) == (0, "m.onnx")
    failed(
        here(*asked, CRATE_MODEL="gone.onnx"), 4, "gone.onnx: no such file: it is the default model, by CRATE"
    )
    failed(here("layers", photo, "-o", "l.png", CRATE_MODEL="m.onnx"), 2, "m.onnx is an ONNX graph, and this")
    (machine.desk / "text.onnx").write_text("no graph")
    failed(here("models", "default", "text.onnx"), 4, "text.onnx: cannot be read as an ONNX graph")
    assert here("models", "default").lines == ["crate-nano"]
    assert here("models", "default", "m.onnx").lines == [str(exported.resolve())]
    (machine.desk / "x.png").unlink()
    assert here(*asked).code == 0
    assert made(machine.desk / "x.png")["weights"] == "m.onnx"
    listed = here("models", "list")
    assert listed.err == f"crate: the default model is {exported.resolve()}, which is not of the list\n"
    told = here("doctor").out.decode()
    assert f"{exported.resolve()} is a file, and here" in told
    exported.unlink()
    failed(here(*asked), 4, "m.onnx: no such file: it is the default model, by crate models default")
    assert here("models", "default", "crate-nano").code == 0
    assert here(*asked).code == 0


def test_objects_of_an_exported_model_are_named_by_what_it_was_exported_from(
    machine: Machine, here: Here, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = machine.photo("photo.png", (96, 72))
    asked = ("export", "run", "--as", "coco", "-o", "-", "--label-from", "class", "-q")
    for model in ((), ("-m", exported)):
        assert here("segment", photo, "-o", "run/", *QUICK, "--min-confidence", "0", *model).code == 0
        done = here(*asked)
        assert done.code == 0, done.err
        (category,) = json.loads(done.out)["categories"]
        assert category["name"] in load_model("crate-nano", device="cpu").labels
    monkeypatch.setattr(fetch, "fingerprint", lambda _path: (0, "0"))
    failed(here(*asked), 4, "m.onnx: not the same model")
    whole = hashlib.sha256(exported.read_bytes()).hexdigest()
    monkeypatch.setattr(
        fetch, "fingerprint", lambda path: (0, whole if Path(path).suffix == ".onnx" else "0")
    )
    failed(here(*asked), 4, "m.onnx: crate-nano, with sha256 ")


def test_a_run_is_resumed_where_its_engine_is_not_installed(
    machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, name in enumerate(("a.png", "b.png")):
        machine.photo(f"photos/{name}", (96, 72), seed)
    asked = ("segment", "photos", "-o", "run/", "--resume", *QUICK)
    assert here(*asked).code == 0
    monkeypatch.setattr(graphs, "runtime_here", lambda: False)
    monkeypatch.setattr(engines, "runtime_here", lambda: False)
    told = (
        "run/manifest.jsonl: onnxruntime began this run, and is not installed; run: pip install onnxruntime"
    )
    failed(here(*asked), 4, told)
    assert len(here(*asked, "--engine", "torch").lines) == 2
    assert here(*asked).err.splitlines()[-1] == "crate: 2 photos were done before"


def test_a_worker_answers_by_the_engine(machine: Machine, here: Here) -> None:
    machine.photo("photo.png")
    request = json.dumps({"input": "photo.png", "output": "m.png", "sizes": [32], "layers": [-1]}).encode()
    assert ", onnx cpu float32: ready" not in here("worker", "--engine", "torch", stdin=request).err
    assert made(machine.desk / "m.png")["engine"] == "torch"
    assert "crate-nano, onnx cpu float32: ready" in here("worker", stdin=request).err
    assert made(machine.desk / "m.png")["engine"] == "onnx"


def test_a_checkpoint_is_exported_by_its_file(machine: Machine, here: Here) -> None:
    config = CrateConfig(patch_size=8, width=12, heads=3, depth=1, image_size=16, classes=2)
    torch.manual_seed(0)
    store_model(machine.desk / "m.safetensors", config, Crate(config).state_dict())
    done = here("models", "export", "m.safetensors", "-o", "m.pt2", "--size", "16x24", "--layer", "-1")
    assert (done.code, done.out) == (0, b"m.pt2\n")
    assert done.err.startswith("crate: m.pt2: on two photos off by ")
    assert (machine.desk / "m.pt2").is_file()
    for words, reason in (
        (("-o", "m.bin"), "end it in .onnx or .pt2"),
        (("-o", "n.pt2", "--size", "0x8"), "--size '0x8' is not `any`"),
        (("-o", "n.pt2", "--size", "20"), "20 × 20 px is no grid of 8-px patches"),
        (("-o", "n.pt2", "--layer", "1"), "layer 1 of a model with 1 layers"),
    ):
        failed(here("models", "export", "m.safetensors", *words), 2, reason)
    refused = here(
        "segment", machine.photo("p.png"), "-o", "x.png", "-m", "m.safetensors", "--engine", "onnx"
    )
    failed(refused, 2, "is a checkpoint, no ONNX graph: crate models export m.safetensors -o FILE.onnx")
