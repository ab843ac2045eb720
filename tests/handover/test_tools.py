"""The files of exports, read by the tools that they are for, each in a virtual environment of its own."""

import hashlib
import json
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest

import cratecli
from cratecli.handover.export import export
from cratecli.handover.finished_run import read_run
from cratecli.io.formats.compare import apart
from cratecli.io.formats.label_studio import labelling
from cratecli.io.formats.names import bare
from cratecli.io.formats.record import Annotated, annotate
from cratecli.io.formats.table import FORMATS, label_studio_format
from cratecli.runs.jobs import Failure
from tests.support.annotations import blobs, specks, split
from tests.support.environment import environment
from tests.support.runs import lay_out, row, write_manifest, write_photo

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"

PATIENCE = 1200  # seconds, for a registry and for a tool

Ask = Callable[[str], Any]

ULTRALYTICS = """
import json, sys
from pathlib import Path
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset

data = check_det_dataset("yolo/data.yaml", autodownload=False)
photos = YOLODataset(img_path=data["train"], data=data, task="segment", augment=False, imgsz=64).labels
found = {Path(each["im_file"]).relative_to(Path("yolo/images").resolve()).as_posix(): each for each in photos}
print(json.dumps({name: [len(each["segments"]), *each["shape"]] for name, each in found.items()}))
"""


LABEL_STUDIO = """
import json, os, sys
import label_studio
sys.path.insert(0, os.path.dirname(label_studio.__file__))
import django
django.setup()
from django.core.management import call_command
from organizations.models import Organization
from rest_framework.test import APIClient
from users.models import User

call_command("migrate", verbosity=0)
user = User.objects.create_user(email="a@example.org", password="a password")
user.active_organization = Organization.create_organization(created_by=user, title="all")
user.save()
client = APIClient()
client.force_authenticate(user)
client.force_login(user)
config = open("tasks.labelling.xml").read()
project = client.post("/api/projects/", {"title": "masks", "label_config": config}, format="json").data["id"]
codes = {}
for path in ("photos", "."):
    asked = {"project": project, "path": os.path.abspath(path), "use_blob_urls": True, "title": path}
    codes[path] = client.post("/api/storages/localfiles/", asked, format="json").status_code
tasks = json.load(open("tasks.json"))
imported = client.post(f"/api/projects/{project}/import", tasks, format="json").data
found = client.get(f"/api/tasks/?project={project}&fields=all").data["tasks"]
served = [client.get(each["data"]["image"]).status_code for each in found]
scores = [each["predictions"][0]["score"] for each in found]
print(json.dumps([codes, imported["prediction_count"], served, scores]))
"""


# Label Studio's own connector asks `crate serve`, over HTTP.
LABEL_STUDIO_ASKS = """
import hashlib, json, os, sys
import label_studio
sys.path.insert(0, os.path.dirname(label_studio.__file__))
import django
django.setup()
import numpy as np
from django.core.management import call_command
from label_studio_sdk.converter.brush import decode_rle
from ml.models import MLBackend
from organizations.models import Organization
from rest_framework.test import APIClient
from users.models import User

call_command("migrate", verbosity=0)
user = User.objects.create_user(email="a@example.org", password="a password")
user.active_organization = Organization.create_organization(created_by=user, title="all")
user.save()
client = APIClient()
client.force_authenticate(user)
client.force_login(user)
asked = json.load(open("asked.json"))
project = client.post("/api/projects/", {"title": "masks", "label_config": asked["config"]}, format="json").data["id"]
tasks = [{"image": "/data/local-files/?d=photos/" + name} for name in asked["names"]]
client.post(f"/api/projects/{project}/import", tasks, format="json")
backend = {"project": project, "url": asked["url"], "title": "crate", "is_interactive": True}
stranger = client.post("/api/ml/", backend, format="json").status_code
backend |= {"auth_method": "BASIC_AUTH", "basic_auth_user": "any", "basic_auth_pass": asked["token"]}
backend = MLBackend.objects.get(pk=client.post("/api/ml/", backend, format="json").data["id"])
tasks = list(backend.project.tasks.order_by("id"))
backend.predict_tasks(tasks)

def digest(region):
    values = np.array(decode_rle(region["value"]["rle"]), np.uint8)
    mask = values.reshape(region["original_height"], region["original_width"], 4)[..., 3] > 127
    return [*region["value"]["brushlabels"], *mask.shape, hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()]

found = [client.get(f"/api/predictions/?task={each.id}").data for each in tasks]
predicted = [[digest(region) for each in some for region in each["result"]] for some in found]
click = {"task": tasks[0].id, "context": {"result": asked["clicks"]}}
clicked = client.post(f"/api/ml/{backend.id}/interactive-annotating", click, format="json").data
print(json.dumps([stranger, backend.state, predicted, [digest(each) for each in clicked["data"]["result"]]]))
"""


# What CVAT's server reads uploads with.
DATUMARO = """
import hashlib, json
import numpy as np
from datumaro import AnnotationType, Dataset

found = {}
for path, kind in (("masks", "voc_segmentation"), ("images", "cvat")):
    dataset = Dataset.import_from(path, kind)
    labels = dataset.categories()[AnnotationType.label]
    found[kind] = {item.id: [] for item in dataset}
    for item in dataset:
        for each in item.annotations:
            mask = np.asarray(each.image) != 0
            digest = hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()
            found[kind][item.id].append([labels[each.label].name, *mask.shape, digest])
print(json.dumps(found))
"""


@pytest.fixture
def tool(tmp_path: Path) -> Callable[..., Ask]:
    """Install a tool beside what is installed here; gives what runs a program in it, and reads its last line."""

    def install(*packages: str, alone: bool = False) -> Ask:
        place = tmp_path / "tool"
        subprocess.run([sys.executable, "-m", "venv", place], check=True, timeout=PATIENCE)
        python = place / "bin/python"
        within = sysconfig.get_path("purelib", vars={"base": str(place)})
        if not alone:
            shared = [each for each in sys.path if each.endswith("site-packages")]
            Path(within, "shared.pth").write_text("\n".join(shared))
        deps = [] if alone else ["--no-deps"]
        pip = [str(python), "-m", "pip", "install", "--quiet", *deps, *packages]
        done = subprocess.run(pip, capture_output=True, text=True, timeout=PATIENCE, check=False)
        if done.returncode:
            pytest.skip(f"{packages[0]} cannot be installed here: {done.stderr.strip().splitlines()[-1]}")

        def ask(program: str) -> Any:
            settings = {"YOLO_CONFIG_DIR": str(tmp_path), "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
            settings |= {
                "LABEL_STUDIO_BASE_DATA_DIR": str(tmp_path / "data"),
                "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
                "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(tmp_path),
                "DJANGO_SETTINGS_MODULE": "label_studio.core.settings.label_studio",
                "ALLOWED_HOSTS": "*",
                "COLLECT_ANALYTICS": "false",
                "SENTRY_DSN": "",
                "FRONTEND_SENTRY_DSN": "",
                "ML_BLOCK_LOCAL_IP": "false",
                "SSRF_PROTECTION_ENABLED": "false",
                "SECRET_KEY": "of a test",
            }
            run = [str(python), "-c", program]
            done = subprocess.run(
                run, cwd=tmp_path, env=settings, capture_output=True, text=True, timeout=PATIENCE, check=False
            )
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout.splitlines()[-1])

        return ask

    return install


@pytest.mark.parametrize("how", ["link", "copy"])
def test_ultralytics_reads_yolo(tmp_path: Path, tool: Callable[..., Ask], how: Any) -> None:
    """All photos have their labels, and only the one without objects is a background."""
    run = read_run(lay_out(tmp_path))
    outcomes = list(export(run, FORMATS["yolo"], tmp_path / "yolo", lambda _: None, photos=how))
    assert not [each for each in outcomes if isinstance(each, Failure)]
    found = tool("ultralytics", "ultralytics-thop")(ULTRALYTICS)
    assert found == {
        "a.jpg": [1, 40, 60],
        "b.jpg.jpg": [0, 40, 60],
        "b.png.png": [2, 40, 60],
        "sub/a.png": [1, 40, 60],
    }


def test_label_studio_reads_tasks(tmp_path: Path, tool: Callable[..., Ask]) -> None:
    """Its local storage may be the photos' folder, never the document root; it serves every photo, with its score."""
    run = read_run(lay_out(tmp_path))
    assert run.root is not None
    form = label_studio_format(run.root.name)
    outcomes = list(export(run, form, tmp_path / "tasks.json", lambda _: None))
    assert not [each for each in outcomes if isinstance(each, Failure)]
    codes, count, served, scores = tool("label-studio", alone=True)(LABEL_STUDIO)
    assert codes == {"photos": 201, ".": 400}
    assert (count, served) == (4, [200] * 4)
    assert scores == pytest.approx([0.0, 0.1, 0.1, 0.1625])


def test_label_studio_asks_a_server(tmp_path: Path, tool: Callable[..., Ask], shipped_sizes: None) -> None:
    """It connects with the token alone, gets predictions of the photos that are there, and what is at a click."""
    for name in ("coffee.jpg", "b & c.jpg"):
        (tmp_path / "photos").mkdir(exist_ok=True)
        shutil.copy(EXAMPLES / "coffee.jpg", tmp_path / "photos" / name)
    photo = EXAMPLES / "coffee.jpg"
    points = [(40.0, 45.0, True), (5.0, 5.0, False)]
    size = {"original_width": 600, "original_height": 400}
    clicks = [
        {"type": "keypointlabels", "is_positive": positive, "image_rotation": 0, **size}
        | {"value": {"x": x, "y": y, "width": 0.3, "keypointlabels": ["cup"]}}
        for x, y, positive in points
    ]
    config = labelling(["cat", "cup"]).decode()
    (tmp_path / "token").write_text("s3cret")
    options = ["--port", "0", "--token-file", str(tmp_path / "token"), "--local-files", str(tmp_path)]
    command = [sys.executable, "-m", "cratecli", "serve", *options]
    with subprocess.Popen(command, env=environment(tmp_path), stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr
        url = server.stderr.readline().split()[-1]
        names = ["coffee.jpg", "b%20%26%20c.jpg", "none.jpg"]
        asked = {"config": config, "names": names, "url": url, "token": "s3cret", "clicks": clicks}
        (tmp_path / "asked.json").write_text(json.dumps(asked))
        try:
            stranger, state, predicted, clicked = tool("label-studio", alone=True)(LABEL_STUDIO_ASKS)
        finally:
            server.terminate()
        _, said = server.communicate(timeout=PATIENCE)
    assert server.returncode == 0
    assert said.splitlines()[0] == "crate: no prediction: 'photos/none.jpg': no such file"
    assert (stranger, state) == (400, "CO")
    whole = cratecli.segment(photo).mask
    at = cratecli.segment(photo, at=[(240, 180)], not_at=[(30, 20)]).mask
    digests = [hashlib.sha256(np.packbits(mask).tobytes()).hexdigest() for mask in (whole, at)]
    assert predicted == [[["cat", 400, 600, digests[0]]]] * 2 + [[]]
    assert clicked == [["cup", 400, 600, digests[1]]]


def test_datumaro_reads_what_is_for_cvat(tmp_path: Path, tool: Callable[..., Ask]) -> None:
    """Masks, labels and names come through both formats; photos without objects too."""
    objects = {
        "a.jpg": split(specks(40, 60, 0.5), ("C#", "#1", "100%")),
        "b & c.png": [annotate(blobs(40, 60), 1.0, 'a "<b>"'), annotate(blobs(40, 60, 7), 1.0, "object")],
        "none.jpg": [],
        "sub/a.png": split(blobs(40, 60, 7), ("ö",)),
    }
    photos = {name: write_photo(tmp_path / "images/images" / name) for name in objects}
    rows = [row(f"../images/images/{name}", None, found, photos[name]) for name, found in objects.items()]
    run = read_run(write_manifest(tmp_path / "run", rows))
    for kind, target in (("cvat-masks", "masks.zip"), ("cvat-images", "images/default.xml")):
        outcomes = list(export(run, FORMATS[kind], tmp_path / target, lambda _: None))
        assert not [each for each in outcomes if isinstance(each, Failure)]
    ZipFile(tmp_path / "masks.zip").extractall(tmp_path / "masks")
    found = tool("datumaro", alone=True)(DATUMARO)
    assert found["cvat"] == {bare(each.name): held(each) for each in run}
    in_zip = {bare(each.name): held(apart(each)) for each in run}
    in_zip["a"][[label for label, *_ in in_zip["a"]].index("#1")][0] = "%231"  # or it would be a comment
    assert {name: sorted(each) for name, each in found["voc_segmentation"].items()} == {
        name: sorted(each) for name, each in in_zip.items()
    }


def held(photo: Annotated) -> list[list[Any]]:
    """Describe the objects of a photo: labels, sizes and masks."""
    digests = [hashlib.sha256(np.packbits(each.mask).tobytes()).hexdigest() for each in photo.objects]
    return [
        [each.label, photo.height, photo.width, digest]
        for each, digest in zip(photo.objects, digests, strict=True)
    ]
