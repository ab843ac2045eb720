"""What a GPU does: the same numbers as the reference, how fast, what holds it back, and what happens at its limits.

    python benchmarks/gpu.py --write benchmarks/gpu.md
    python benchmarks/gpu.py --device cpu --quick     # a rehearsal: seconds, tiny models, any machine

The released code's arrays are those of `tests/golden`, the photos copies of `examples/`; models of speed tests have
random weights. Times are of passes that take turns, after one to warm up, each waited for; memory is what torch's
allocator held at most, over what it held before. A check that fails, or a section that breaks off, is a row that says
so: the page is written all the same, and the exit code is 1. What a machine lacks (memory, a compiler) is no failure.
"""

import shutil
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import cv2
import torch
import train_speed
from batch import Clock, bare, recording, whole
from gpu_bench import QUICK, Bench, Run, Sizes, machine, why
from gpu_parity import parity, questions
from gpu_passes import attention, compiled
from models import one_thread, untrained
from page import command_line, publish, table_header, table_row

from cratecli.errors import CrateError
from cratecli.model.crate import Crate
from cratecli.model.device import choose_device
from cratecli.runs.batch import WORKERS
from cratecli.weights.checkpoint import load_model

ROOT = Path(__file__).parents[1]
MINUTES = 6.0  # after which no section begins: with the installation, eight from a bare Python
PHOTO_SIDES = (240, 480, 720, 1080)  # px, the short side
LEAST = 100  # MB that a batch must need, for memory to run out at a part of it
REHEARSED = (
    "**Not yet run on a GPU.** This is a rehearsal on the CPU, with tiny models: "
    "what it checks is checked, but its speeds say nothing."
)


def crate(*words: str) -> tuple[int, str]:
    """Run the command in a process of its own; give its exit code and what it said on stderr."""
    command = [sys.executable, "-m", "cratecli", *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stderr


def devices(bench: Bench) -> Iterator[str]:
    """Ask for this device by its name, and for one that is not there."""
    yield table_header(
        "`crate segment raccoon.jpg --device …`", "exit code", "on stderr", "as it should be", text=4
    )
    here = f"cuda:{bench.device.index or 0}" if bench.cuda else bench.device.type
    for name, code in ((here, 0), ("cuda:99", 5)):
        with TemporaryDirectory() as place:
            mask = Path(place) / "mask.png"
            ended, said = crate(
                "segment", str(ROOT / "examples/raccoon.jpg"), "-o", str(mask), "--device", name
            )
            lines = said.strip().splitlines()
            right = ended == code and mask.exists() == (code == 0) and any(name in line for line in lines)
        holds = right and (code == 0 or len(lines) == 1)
        told = next((line for line in lines if name in line), " ".join(lines)[-120:]).replace("|", "/")
        yield table_row(name, ended, told.replace(str(ROOT), ""), bench.check(holds, f"--device {name}"))


def photos_in(
    folder: Path, count: int, sides: Sequence[int] = PHOTO_SIDES, names: Sequence[str] = ("*.jpg",)
) -> list[Path]:
    """Copy the examples, at several sizes, until there are enough."""
    pairs = list(product(sorted(path for name in names for path in (ROOT / "examples").glob(name)), sides))
    made: list[Path] = []
    for number in range(count):
        source, side = pairs[number % len(pairs)]
        made.append(folder / f"{number:04}.jpg")
        if number >= len(pairs):
            shutil.copy(made[number % len(pairs)], made[-1])
            continue
        photo = cv2.imread(str(source))
        assert photo is not None
        scale = side / min(photo.shape[:2])
        cv2.imwrite(str(made[-1]), cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    return made


def built_for(bench: Bench) -> Crate:
    """Make the large model, with random weights, in the format that `--dtype auto` takes."""
    dtype = torch.bfloat16 if bench.cuda else torch.float32
    return untrained(bench.sizes.config, dtype=dtype).to(bench.device)


def exhausted(bench: Bench) -> Iterator[str]:
    """Leave the card less memory than a batch needs: photos must come out all the same, fewer together."""
    yield table_header("out of memory, provoked", "said", "as it should be", text=3)
    if not bench.cuda:
        yield table_row("a batch larger than the card holds", "needs CUDA", "–")
        return
    model, notes, count = built_for(bench), list[str](), bench.sizes.together
    total = torch.cuda.get_device_properties(bench.device).total_memory
    with TemporaryDirectory() as place:
        photos = photos_in(Path(place), count, sides=(480,), names=("raccoon.jpg",))
        whole(model, photos, count)
        needed = bench.peak(lambda: whole(model, photos, count)) or 0.0
        bench.tidy()
        if needed < LEAST:
            yield table_row(f"{count} photos together", f"need {needed:.0f} MB only: too little to try", "–")
            return
        allowed = torch.cuda.memory_reserved(bench.device) + 0.4 * needed * 2**20
        torch.cuda.set_per_process_memory_fraction(allowed / total, bench.device)
        try:
            whole(model, photos, count, note=notes.append)  # which raises for a photo that fails
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, bench.device)
    halved = [note for note in notes if "photos together: going on with" in note]
    what = f"{count} photos together need {needed:.0f} MB, {0.4 * needed:.0f} are left"
    yield table_row(what, "; ".join(halved) or "nothing", bench.check(bool(halved), "halving the batch"))


@contextmanager
def busy(bench: Bench) -> Iterator[list[float]]:
    """Collect, five times a second, the share of time that the card was busy, as nvidia-smi has it."""
    shares: list[float] = []
    program = shutil.which("nvidia-smi") if bench.cuda else None
    if program is None:
        yield shares
        return
    card = f"--id=GPU-{torch.cuda.get_device_properties(bench.device).uuid}"
    asked = ("--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=200")
    process = subprocess.Popen([program, card, *asked], stdout=subprocess.PIPE, text=True)
    try:
        yield shares
    finally:
        process.terminate()
        shares += [int(word) / 100 for word in process.communicate(timeout=10)[0].split() if word.isdecimal()]


STAGES = {"decode": ("reading", "decoding"), "fit": ("fitting to the grid",), "pass": ("forward",)}
"""The parts of `batch.PARTS` by stage; all others finish a photo. One thread fits and makes the pass."""


def folder(bench: Bench) -> Iterator[str]:
    """Segment a folder, and say where the time goes."""
    count = bench.sizes.photos
    models = {"crate-nano, built in": (load_model(device=bench.device), count)}
    models["B/8, random weights"] = built_for(bench), max(count // 5, 1)
    held = ("decode, a thread", "fit", "pass", "finish, a thread", "held back by")
    shares = ("whole run / bare passes", "card busy, nvidia-smi")
    yield table_header("`crate segment`, shares of the run", "photos", "photos/s", *shares, *held)
    for name, (model, number) in models.items():
        with TemporaryDirectory() as place:
            photos, clock = photos_in(Path(place), number), Clock()
            with recording() as calls:
                whole(model, photos)
            alone = bench.seconds(partial(bare, calls))
            calls.clear()
            with busy(bench) as seen, clock.watching():
                clock.whole = bench.seconds(partial(whole, model, photos))
        spent = {stage: sum(clock.all[part] for part in parts) for stage, parts in STAGES.items()}
        spent["finish"] = (sum(clock.all.values()) - sum(spent.values())) / WORKERS
        spent["decode"] /= WORKERS
        cells = [number, f"{number / clock.whole:.1f}", f"{clock.whole / alone:.2f}"]
        cells += [f"{statistics.mean(seen):.0%}" if seen else "–"]
        stages = [f"{spent[stage] / clock.whole:.0%}" for stage in (*STAGES, "finish")]
        longer = "fit" if spent["fit"] > spent["pass"] else "pass"
        lanes = {"decode": spent["decode"], longer: spent["fit"] + spent["pass"], "finish": spent["finish"]}
        yield table_row(name, *cells, *stages, max(lanes, key=lambda lane: lanes[lane]))
        bench.tidy()


def training(bench: Bench) -> Iterator[str]:
    """Take steps of training."""
    ways = train_speed.ways(bench.device, bench.sizes.step)
    if not bench.sizes.compiles:
        ways = {name: way for name, way in ways.items() if "compiled" not in name}
    losses = {name: train_speed.ways(bench.device, bench.sizes.step)[name]() for name in ("literal", "ours")}
    apart = abs(losses["literal"] - losses["ours"])
    race = bench.race(cast(dict[str, Run], ways), spared=[name for name in ways if "compiled" in name])
    yield table_header(
        "a step of training, crate-nano", "ms", "images/s, over the literal step's", "peak, MB"
    )
    for name in ways:
        yield table_row(name, race.milliseconds(name), race.over("literal", name), race.memory(name))
    yield ""
    yield f"The first losses differ by {apart:.1e}: {bench.check(apart <= 1e-3, 'loss')}."


SECTIONS: dict[str, Callable[[Bench], Iterator[str]]] = {
    "The machine": machine,
    "Parity with the released code": parity,
    "Every question": questions,
    "Devices by name": devices,
    "Out of memory": exhausted,
    "Class attention, B/8": attention,
    "A folder": folder,
    "Training": training,
    "Compiled": compiled,
}


def main() -> None:
    """Run the benchmark; end with 1 if a check fails."""
    parser = command_line(__doc__, data=False, every=False)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument("--quick", action="store_true", help="tiny models and few photos: a rehearsal")
    arguments = parser.parse_args()
    try:
        device, _ = choose_device(arguments.device)
    except CrateError as failure:
        print(failure, file=sys.stderr)
        sys.exit(failure.exit_code)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    elif arguments.quick:
        one_thread()
    bench = Bench(device, QUICK if arguments.quick else Sizes(), time.monotonic() + 60 * MINUTES)
    lines = [] if bench.cuda else [REHEARSED, ""]
    for title, section in SECTIONS.items():
        lines += [f"**{title}**", ""]
        began = time.monotonic()
        try:
            for line in section(bench) if began < bench.until else ["no time left"]:
                lines.append(line)  # one by one: those before a failure stay
        except Exception as failure:
            lines += ["", f"**FAILED**, broke off: {why(failure)}"]
            bench.failed.append(title)
            traceback.print_exc()
        lines.append("")
        bench.tidy()
        print(f"{title}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    lines.append(f"Checks that failed: {', '.join(bench.failed) or 'none'}.")
    publish(lines, arguments.write)
    if bench.failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
