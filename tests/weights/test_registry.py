"""The registry: packaged rows, strict reading with file and line, the user's own rows, the default model."""

import json
import os
from dataclasses import replace
from pathlib import Path

import platformdirs
import pytest

from cratecli.errors import OutputError, RegistryError, UsageError
from cratecli.model.config import ARCHITECTURES
from cratecli.weights import fetch, registry
from cratecli.weights.registry import Checkpoint, load_registry, save_checkpoint
from cratecli.weights.rows import CUSTOM, Drive, Hub, Local, Url

SHA = "ab" * 32
TINY = "crate_tiny_patch16_224"
ROW = '[models.m]\narchitecture = "crate_tiny_patch16_224"\n'


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("CRATE_MODEL", raising=False)
    return tmp_path


def read(tmp_path: Path, text: str | bytes) -> registry.Registry:
    file = tmp_path / "weights.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_registry([file])


def test_packaged_rows_name_every_crate_constant_that_no_file_tells() -> None:
    text = (Path(__file__).parents[2] / "weights.toml").read_text()
    for name, row in load_registry().checkpoints.items():
        told = text.partition(f"[models.{name}]\n")[2].partition("[models.")[0]
        assert row.config is None or all(f"\n{word} = " in told for word in ("step_size", "sparsity_weight"))
        assert row.config is None or 'normalisation = "imagenet"' in told


def test_packaged_rows_match_the_reference() -> None:
    known = load_registry()
    alpha = known.find("crate-alpha-b32-in21k")
    assert alpha.source == Hub(
        "UCSC-VLAA/CRATE-alpha",
        "torch/in21k_Pretrain/crate_alpha_B32_in21k.pth",
        "24a82372e2d3d11fd173fd826999bc410c8f1341",
    )
    assert (alpha.bytes, alpha.pinned, alpha.unverified) == (351873409, True, False)
    assert alpha.config == replace(ARCHITECTURES["crate_alpha_base_patch32_224"], classes=19167)
    jax = known.find("crate-alpha-l8-in1k-jax")
    assert jax.config is not None
    assert (jax.config.layer_norm_eps, jax.config.final_norm_eps, jax.pinned) == (1e-6, 1e-6, False)
    assert known.find("crate-b32-in21k").unverified
    assert known.find("crate-mae-b16").source == Drive("11i5BMwymqOsunq44WD3omN5mS6ZREQPO")
    assert known.find("crate-base-demo-b8").source is None
    assert known.find("vit-small-patch8-dino").config is None


def test_every_pinned_hub_row_has_a_whole_revision() -> None:
    rows = load_registry().checkpoints.values()
    pinned = [row.source for row in rows if row.pinned and isinstance(row.source, Hub)]
    assert len(pinned) == 7
    assert all(source.revision for source in pinned)


def test_the_built_in_model_is_here_and_as_registered() -> None:
    row = load_registry().find(registry.BUILT_IN)
    assert row.pinned
    assert fetch.require(row)[1] == row.sha256


def test_the_built_in_model_is_what_the_run_kept_in_benchmarks_made() -> None:
    kept = Path(__file__).parents[2] / "benchmarks/crate-nano/metrics-96.jsonl"
    last = json.loads(kept.read_text().splitlines()[-1])
    assert last["sha256"] == load_registry().find(registry.BUILT_IN).sha256


def test_unknown_name_hints_at_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean crate-alpha-b16-in1k"):
        load_registry().find("crate-alpha-b16-in1K")


def test_the_registry_of_the_page_is_sound(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/models.md").read_text()
    example = page.partition("<!-- registry -->\n```toml\n")[2].partition("```")[0]
    known = read(tmp_path, example)
    assert known.names == ("ours-b8", "ours-tiny", "ours-local")
    assert [type(row.source) for row in known.checkpoints.values()] == [Url, Hub, Local]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("[models.m\n", 1, "Expected"),
        ('\n[models.m]\narchitecture = "x\n', 3, "Illegal character"),
        (ROW + ROW, 3, "Cannot declare"),
        (ROW + 'note = "a"\nnote = "b"', 4, "Cannot overwrite"),
        (b"\xef\xbb\xbf" + ROW.encode(), 1, "Invalid statement"),
        (b"# \n# \xff\n", 2, "not UTF-8"),
        ("a = " + "[" * 3_000, 1, "nested"),
        ("x = 1", 1, "unknown field 'x'"),
        ("models = 3", 1, "models is 3: should be a table of named fields"),
        ("[models]\nm = 3", 2, "models.m: should be a table of named fields"),
        ('[models."a/b"]\n', 1, "models.a/b: should be a name of letters, digits, - and _"),
        ("\n[models.m]\nnote = 'x'\n", 2, "models.m: architecture is missing"),
        (
            '[models.m]\nnote = "x"\narchitecture = "crate_tony_patch16_224"',
            3,
            "models.m: architecture is 'crate_tony_patch16_224': unknown, did you mean crate_tiny_patch16_224?",
        ),
        (ROW + "colour = 1", 3, "models.m: unknown field 'colour'"),
        (ROW + "config = 1", 3, "models.m: unknown field 'config'"),
        (ROW + 'name = "n"', 3, "models.m: unknown field 'name'"),
        (ROW + 'classes = "10"', 3, "models.m: classes is '10': should be a valid integer"),
        (ROW + "classes = true", 3, "classes is True: should be a valid integer"),
        (ROW + "classes = -1", 3, "classes is -1: should be greater than or equal to 0"),
        (ROW + "heads = 7", 1, "models.m: width 384 is not a multiple of 7 heads"),
        (ROW + "step_size = nan", 3, "step_size is nan: should be less than or equal to 1000000000"),
        (ROW + "mean = [1, 2]", 3, "mean[2] is missing"),
        (ROW + 'stem = "root"', 3, "stem is 'root': should be 'linear' or 'conv'"),
        (ROW + 'normalisation = "mine"', 3, "normalisation is 'mine': should be 'imagenet'"),
        (ROW + "bytes = 0", 3, "bytes is 0: should be greater than or equal to 1"),
        (ROW + "bytes = 1.0", 3, "bytes is 1.0: should be a valid integer"),
        (ROW + 'note = "a"\n note = 3', 4, "Cannot overwrite"),
        (ROW + "note = 3", 3, "note is 3: should be a valid string"),
        (ROW + 'unverified = "yes"', 3, "unverified is 'yes': should be a valid boolean"),
        (ROW + "least_confidence = 1.5", 3, "least_confidence is 1.5: should be less than or equal to 1"),
        (ROW + 'least_confidence = "low"', 3, "least_confidence is 'low': should be a valid number"),
        (ROW + 'sha256 = "AB"', 3, "sha256 is 'AB': should be 64 lower-case hexadecimal digits"),
        (ROW + f"step_size = {'9' * 400}", 3, "9999: should be a valid number"),
        (ROW + f"depth = {'9' * 400}", 3, "9999: should be less than or equal to 1024"),
        (ROW + "depth = 2000", 3, "depth is 2000: should be less than or equal to 1024"),
        (ROW + "std = [0.2, 0.2, nan]", 3, "std[2] is nan: should be"),
        (ROW + 'url = "ftp://x"', 3, "url is 'ftp://x': should be an http(s) address, or a list of them"),
        (ROW + 'url = "https://[::1"', 3, "should be an http"),
        (ROW + 'url = "https://x:port/"', 3, "should be an http"),
        (ROW + "url = []", 3, "url is []: should be an http"),
        (ROW + 'url = ["https://x", 3]', 3, "should be an http"),
        (ROW + "url = 3", 3, "url is 3: should be an http"),
        (ROW + 'drive = "a&b"', 3, "drive is 'a&b': should be a Google Drive file id"),
        (ROW + 'drive = "y"\nurl = "https://x"', 4, "one source is enough, and drive is given"),
        (ROW + 'hub = { repository = "a/b" }', 3, "models.m: hub.file is missing"),
        (ROW + "hub = 3", 3, "models.m: hub is 3: should be a table of named fields"),
        (
            ROW + '[models.m.hub]\nrepository = "a/b"\nrevision = "371210c"\nfile = "f"',
            5,
            "hub.revision is '371210c': should be a whole commit (40 hexadecimal digits)",
        ),
        (
            ROW + '[models.m.hub]\nrepository = "a/b"\nfile = "../f"',
            5,
            "hub.file is '../f': should be a path",
        ),
        (
            ROW + '[models.m.hub]\nrepository = "a"\nfile = "f"',
            4,
            "hub.repository is 'a': should be OWNER/NA",
        ),
        (
            ROW + '[models.m.hub]\nrepository = "a/b"\nfile = "f"\nbranch = "b"',
            6,
            "unknown field 'hub.branch'",
        ),
        ('[models.v]\narchitecture = "timm:vit"\nheads = 3', 3, "models.v: unknown field 'heads'"),
        (
            '[models.v]\narchitecture = "timm:hf-hub:a/b"\n',
            2,
            "'timm:hf-hub:a/b': should be timm: and a name",
        ),
        ('[models.v]\narchitecture = "timm:"\n', 2, "architecture is 'timm:': should be timm: and a name"),
        ('[models.c]\narchitecture = "custom"\nwidth = 8', 1, "models.c: patch_size is missing"),
    ],
)
def test_a_broken_file_is_refused_with_file_and_line(
    tmp_path: Path, text: str | bytes, line: int, reason: str
) -> None:
    with pytest.raises(RegistryError) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'weights.toml'}:{line}: ")
    assert reason in message
    assert "\n" not in message


def test_a_registry_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "long").write_bytes(b"#" * (1 << 21))
    for name, reason in (
        (tmp_path, "Is a directory"),
        (tmp_path / "none", "No such file or directory"),
        (tmp_path / "pipe", "not a file"),
        (Path("/dev/zero"), "not a file"),
        (tmp_path / "long", "more than 1,048,576 bytes, not a registry"),
        (Path("nul\0"), "null"),
    ):
        with pytest.raises(RegistryError, match=reason) as caught:
            load_registry([name])
        assert str(caught.value).startswith(f"{name}: ")


def test_an_address_or_a_list_of_mirrors(tmp_path: Path) -> None:
    known = read(tmp_path, ROW + 'url = "https://a.org/m"').find("m")
    assert known.source == Url(("https://a.org/m",))
    known = read(tmp_path, ROW + 'url = ["https://a.org/m", "http://b.org:80/m"]').find("m")
    assert known.source == Url(("https://a.org/m", "http://b.org:80/m"))


def test_registries_of_the_environment_go_over_the_users_own_over_the_packaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(file: Path, **notes: str) -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = [f'[models.{name}]\narchitecture = "{TINY}"\nnote = "{note}"' for name, note in notes.items()]
        file.write_text("\n".join(rows))
        return file

    packaged = registry.registry_files()
    assert [path.name for path in packaged] == ["weights.toml"]
    own = write(registry.user_registry(), a="own", b="own", c="own", d="own")
    first = write(tmp_path / "first.toml", b="first", c="first")
    second = write(Path.home() / "second.toml", c="second", e="second")
    replaced = write(tmp_path / "third.toml", **{"crate-alpha-b16-in1k": "third"})
    monkeypatch.setenv(
        "CRATE_WEIGHTS_TOML", os.pathsep.join([str(first), "", "~/second.toml", str(replaced)])
    )
    assert registry.registry_files() == (*packaged, own, first, second, replaced)
    known = load_registry()
    notes = [known.find(name).note for name in "abcde"]
    assert notes == ["own", "first", "second", "own", "second"]
    alpha = known.find("crate-alpha-b16-in1k")
    assert (alpha.note, alpha.architecture, alpha.source, alpha.sha256) == ("third", TINY, None, None)
    monkeypatch.setenv("CRATE_WEIGHTS_TOML", str(tmp_path / "none.toml"))
    with pytest.raises(RegistryError, match=f"{tmp_path}/none.toml: No such file"):
        load_registry()
    monkeypatch.setenv("CRATE_WEIGHTS_TOML", "")
    assert registry.registry_files() == (*packaged, own)


def test_user_row_round_trip_and_user_goes_over_packaged() -> None:
    config = replace(ARCHITECTURES["crate_tiny_patch16_224"], sparsity_weight=5.0, mean=(0.5, 0.5, 0.5))
    mine = Checkpoint("mine", CUSTOM, config, Local("models/mine/weights.pth"), bytes=3, sha256=SHA)
    named = replace(mine, name="crate-nano", architecture="crate_tiny_patch16_224")
    registry.user_registry().parent.mkdir(parents=True)
    registry.user_registry().write_text("# my models")
    for row in (mine, named):
        save_checkpoint(row)
    known = load_registry()
    assert known.find("mine") == mine
    assert known.find("crate-nano") == named
    assert len(known.names) == len(set(known.names)) > 20
    assert registry.user_registry().read_text().startswith("# my models\n")


def test_a_row_that_would_break_the_user_registry_is_not_saved() -> None:
    config = ARCHITECTURES["crate_tiny_patch16_224"]
    with pytest.raises(RegistryError, match="sha256 is 'AB': should be 64"):
        save_checkpoint(Checkpoint("mine", CUSTOM, config, Local("x"), sha256="AB"))
    assert not registry.user_registry().exists()


@pytest.mark.parametrize("name", ["", "..", "a/b", "-a", "a b", "é"])
def test_a_name_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a model"):
        registry.check_name(name)


def test_default_is_environment_then_saved_then_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    assert registry.default_name() == "crate-nano"
    registry.set_default("crate-alpha-b16-in1k")
    assert registry.default_name() == "crate-alpha-b16-in1k"
    monkeypatch.setenv("CRATE_MODEL", "mine")
    assert registry.default_name() == "mine"


def test_a_default_that_cannot_be_saved_is_an_output_error() -> None:
    platformdirs.user_config_path("crate").parent.mkdir(parents=True)
    platformdirs.user_config_path("crate").write_text("a file where a folder should be")
    with pytest.raises(OutputError, match=r"cannot be written: .*; set XDG_CONFIG_HOME .* CRATE_MODEL=mine"):
        registry.set_default("mine")
    assert registry.default_name() == "crate-nano"
