"""A run on Ray beside one on this machine: time, bytes on the way, memory, and what is lost when things are killed.

    python benchmarks/scale.py DATA base built-in workers moved memory kills --write benchmarks/scale.md

DATA holds `ecssd200` and `coco128` (folders `images`), as of `batch.py`. Every run is a process of its own, `crate
segment` as users call it; Ray is started for each, on this machine, and ends with it. Time for a photo is the
difference between a run over many photos and one over few, over the difference of their numbers; what is left of the
shorter run is the start. The ways take turns. Processor time is that of all processes of a run, Ray's too.
"""

import io
import json
import os
import random
import signal
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from batch import photos_of
from measure import BY, Took, ratio_and_range
from models import untrained
from moved import moved
from page import command_line, publish, table_header, table_row
from PIL import Image
from tests.support.clusters import TwoNodes, two_nodes
from watched import ACTOR, CONDUCTOR, DRIVER, KINDS, TASKS, Run, Tree, run

from cratecli.model.config import ARCHITECTURES
from cratecli.weights.store import store_model
from cratecli.wording import count_of

BASE, TINY = ARCHITECTURES["crate_base_patch16_224"], ARCHITECTURES["crate_tiny_patch16_224"]
TURNS = 2
DEVICE = 5  # the exit code where there is no cluster

Watch = Callable[[str, Tree], None]
FEW, MANY = {"base": 64, "built in": 64, "tiny": 32}, {"base": 192, "built in": 448, "tiny": 96}
ROWS = (1_000, 2_000, 5_000, 10_000, 20_000)  # of one table, when so many are done
LIGHT = ["--size", "32", "--heads", "agree", "--refine", "none"]
HERE, ON_RAY = "here", "on Ray"

SHARDS, EACH = 8, 50  # of a run in which processes are killed
KILLS = 50
KILLS_A_RUN = 10
COMMAND_EVERY, NODE_EVERY = 5, 7  # these are killed, in place of a worker
WAIT = 24  # photos between two kills, at most

_ALONE = {"RAY_ADDRESS": "local", "RAY_worker_niceness": "0", "OMP_WAIT_POLICY": "passive"}
"""A cluster of the run's own; workers that are as important as the command; threads that wait without spinning."""


def processors(count: int) -> dict[str, str]:
    """Declare so many processors to Ray."""
    return {**_ALONE, "RAY_OVERRIDE_RESOURCES": json.dumps({"CPU": count})}


def linked(photos: Sequence[Path], count: int, place: Path) -> Path:
    """Make a folder of so many photos."""
    folder = place / f"photos-{count}"
    folder.mkdir()
    for number, path in enumerate(islice(cycle(photos), count)):
        (folder / f"{number:05}{path.suffix}").symlink_to(path.resolve())
    return folder


def segmented(
    arguments: Sequence[str],
    environment: dict[str, str],
    count: int,
    watch: Watch = lambda _line, _tree: None,
) -> Run:
    """Segment, and make sure that all photos were; Ray, which has half a minute to start, is given three tries."""
    for _ in range(3):
        done = run(["segment", *arguments, "--jsonl", "--no-progress"], environment, watch)
        if done.code != DEVICE or done.lines:
            break
    if done.code or len(done.lines) != count:
        raise RuntimeError(f"{len(done.lines)} of {count} photos, exit code {done.code}: {done.said}")
    spent = {kind: round(done.tree.processor(kind), 1) for kind in KINDS}
    print(f"{count} photos, {done.clock:.1f} s, of the processors {spent}", flush=True)
    return done


@dataclass
class Way:
    """Seconds of a photo and of the start in each turn; and of the processors for a photo, by kinds of process."""

    photo: list[Took] = field(default_factory=list)
    start: list[Took] = field(default_factory=list)
    kinds: list[dict[str, float]] = field(default_factory=list)

    def add(self, runs: Sequence[Run], counts: tuple[int, int]) -> None:
        """Take in a run over few photos and one over many."""
        few, many = (Took(each.clock, each.tree.processor()) for each in runs)
        more = counts[1] - counts[0]
        photo = Took(*((long - short) / more for short, long in zip(few, many, strict=True)))
        self.photo.append(photo)
        self.start.append(Took(*(short - counts[0] * each for short, each in zip(few, photo, strict=True))))
        spent = {kind: [each.tree.processor(kind) for each in runs] for kind in KINDS}
        self.kinds.append({kind: (long - short) / more for kind, (short, long) in spent.items()})


def in_turn(
    ways: dict[str, tuple[list[str], dict[str, str]]], photos: Sequence[Path], counts: tuple[int, int]
) -> dict[str, Way]:
    """Run each way over few photos and over many, in turn."""
    results = {way: Way() for way in ways}
    with TemporaryDirectory() as name:
        place = Path(name)
        folders = {count: linked(photos, count, place) for count in counts}
        for turn in range(TURNS):
            for way, (options, environment) in ways.items():
                runs = [
                    segmented(
                        [str(folder), "-o", f"{place}/{turn}-{way}-{count}/", *options], environment, count
                    )
                    for count, folder in folders.items()
                ]
                results[way].add(runs, counts)
    return results


def stored(name: str, place: Path) -> list[str]:
    """Write a model with random weights, and give the option that chooses it; nothing for the built-in one."""
    if name == "built in":
        return []
    config = {"base": BASE, "tiny": TINY}[name]
    store_model(place / f"{name}.safetensors", config, untrained(config).state_dict())
    return ["--model", str(place / f"{name}.safetensors")]


def speed(data: Path, case: str, words: str) -> Iterator[str]:
    """Compare a run on Ray with one without, with the same two processors."""
    counts = FEW[case], MANY[case]
    with TemporaryDirectory() as place:
        model = stored(case, Path(place))
        ways = {HERE: (model, _ALONE), ON_RAY: ([*model, "--on", "ray"], processors(2))}
        result = in_turn(ways, photos_of(data), counts)
    yield table_header(
        f"{words}: {count_of(TURNS, 'turn')}, {counts[0]} and {counts[1]} photos", *BY.values()
    )
    ratios = (ratio_and_range(result[ON_RAY].photo, result[HERE].photo, by) for by in BY)
    yield table_row("a photo on Ray / here", *ratios)
    for what in ("photo", "start"):
        for way in (HERE, ON_RAY):
            seconds = (median(getattr(each, by) for each in getattr(result[way], what)) for by in BY)
            yield table_row(f"a {what} {way}, s", *(f"{each:.3g}" for each in seconds))
    for kind, name in KINDS.items():
        yield table_row(
            f"a photo on Ray, {name}, s", "", f"{median(each[kind] for each in result[ON_RAY].kinds):.3g}"
        )


def workers(data: Path) -> Iterator[str]:
    """Compare two workers with one, of one thread each."""
    with TemporaryDirectory() as place:
        model = [*stored("tiny", Path(place)), "--on", "ray", "--workers"]
        alone = {**processors(3), "OMP_THREAD_LIMIT": "1"}
        ways = {str(count): ([*model, str(count)], alone) for count in (1, 2)}
        result = in_turn(ways, photos_of(data), (FEW["tiny"], MANY["tiny"]))
    yield table_header(f"tiny/16, random weights, a thread a worker: {count_of(TURNS, 'turn')}", *BY.values())
    yield table_row(
        "a photo, 2 workers / 1", *(ratio_and_range(result["2"].photo, result["1"].photo, by) for by in BY)
    )


def memory(_: Path) -> Iterator[str]:
    """Measure the memory of a run over a long table, as it goes on."""
    import pyarrow
    import pyarrow.parquet

    count, seen = 0, dict[int, dict[str, tuple[float, float]]]()

    def watch(_line: str, tree: Tree) -> None:
        nonlocal count
        count += 1
        if count in ROWS:
            tree.look()
            seen[count] = {kind: tree.largest(kind) for kind in (DRIVER, CONDUCTOR, TASKS, ACTOR)}
            print(count, seen[count], flush=True)

    with TemporaryDirectory() as place:
        table = pyarrow.table({"image": list(islice(cycle(map(jpeg, range(100))), ROWS[-1]))})
        pyarrow.parquet.write_table(table, f"{place}/table.parquet")
        arguments = [f"{place}/table.parquet", "-o", f"{place}/masks.parquet", *LIGHT, "--on", "ray"]
        segmented(arguments, processors(2), ROWS[-1], watch)
    yield table_header("peak so far, MB: all, and of it not shared", *(f"{rows:,} rows" for rows in seen))
    for kind in seen[ROWS[0]]:
        sizes = (each[kind] for each in seen.values())
        yield table_row(KINDS[kind], *(f"{peak:.0f} and {own:.0f}" for peak, own in sizes))


def jpeg(seed: int, height: int = 48, width: int = 64) -> bytes:
    """Make the file of a small photo: a bright disc on a dark ground with noise."""
    rows, cols = np.mgrid[:height, :width]
    noise = np.random.default_rng(seed).integers(0, 60, (height, width, 3))
    disc = (rows - height / 2) ** 2 + (cols - 10 - seed % (width - 20)) ** 2 <= (height / 4) ** 2
    content = io.BytesIO()
    Image.fromarray((noise + 180 * disc[..., None]).astype(np.uint8)).save(content, "JPEG")
    return content.getvalue()


def kills(_: Path) -> Iterator[str]:
    """Kill what works on runs, at random, and count what is lost, or is there twice, or differs."""
    killed, wrong, runs = Counter[str](), Counter[str](), Counter[str]()
    with TemporaryDirectory() as name, two_nodes({**os.environ, **_ALONE}) as cluster:
        place, hunter = Path(name), Hunter(cluster, killed)
        for shard in range(SHARDS):
            with tarfile.open(place / f"{shard}.tar", "w") as tar:
                for number in range(EACH):
                    content = jpeg(shard * EACH + number)
                    header = tarfile.TarInfo(f"{number:04}.jpg")
                    header.size = len(content)
                    tar.addfile(header, io.BytesIO(content))
        shards = f"{place}/{{0..{SHARDS - 1}}}.tar"
        segmented([shards, "-o", f"{place}/here/", *LIGHT], dict(_ALONE), SHARDS * EACH)
        expected = outputs(place / "here")
        while killed.total() < KILLS:
            runs["all"] += 1
            folder = place / f"run-{runs['all']}"
            hunter.most = min(KILLS, killed.total() + KILLS_A_RUN)
            printed = Counter[str]()
            command = ["segment", shards, "-o", f"{folder}/", *LIGHT, "--on", "ray", "--workers", "2"]
            command += ["--jsonl", "--no-progress", "--resume"]
            while (done := run(command, {**_ALONE, **cluster.environment}, hunter)).code == -signal.SIGKILL:
                runs["resumed"] += 1
                printed.update(inputs_of(done.lines))
            printed.update(inputs_of(done.lines))
            print(f"{dict(killed)}, exit code {done.code}\n{done.said}", end="", flush=True)
            if done.code:
                wrong[f"in runs that ended with {done.code}"] += SHARDS * EACH
            found, rows = outputs(folder), (folder / "manifest.jsonl").read_text().splitlines()
            wrong["lost"] += len(expected.keys() - found.keys())
            wrong["with two rows in the manifest"] += len(rows) - len(set(inputs_of(rows)))
            wrong["done twice"] += sum(printed.values()) - len(printed)
            both = expected.keys() & found.keys()
            wrong["with another mask than without Ray"] += sum(found[each] != expected[each] for each in both)
    photos = SHARDS * EACH * runs["all"]
    yield table_header(f"{killed.total()} kills in {runs['all']} runs of {SHARDS * EACH} photos", "")
    for kind, count in sorted(killed.items()):
        yield table_row(f"killed: {kind}", count)
    yield table_row("runs resumed, after the command was killed", runs["resumed"])
    for what, count in sorted(wrong.items()):
        yield table_row(f"photos {what}, of {photos:,}", count)


def inputs_of(lines: Sequence[str]) -> list[str]:
    """List the photos that records are of."""
    return [json.loads(line)["input"] for line in lines]


class Hunter:
    """Kills something of a run, again and again, each time after the run went on."""

    def __init__(self, cluster: TwoNodes, killed: Counter[str]) -> None:
        """Begin; `killed` counts the kinds of processes, `most` is what it may become."""
        self._cluster, self._killed, self._chance = cluster, killed, random.Random(0)
        self._tree, self._wait, self.most = Tree(cluster.process.pid), 1, 0

    def __call__(self, _line: str, command: Tree) -> None:
        """Count a photo that is done, and kill when it is time."""
        self._wait -= 1
        count = self._killed.total()
        if self._wait > 0 or count >= self.most:
            return
        self._wait = self._chance.randrange(1, WAIT)
        if count % NODE_EVERY == NODE_EVERY - 1:
            self._cluster.lose_node()
            self._killed["a node, with all that ran there"] += 1
        elif count % COMMAND_EVERY == COMMAND_EVERY - 1:
            os.kill(command.root, signal.SIGKILL)
            self._killed[KINDS[DRIVER]] += 1
        else:
            self._tree.look()
            kinds = [kind for kind in (ACTOR, TASKS, CONDUCTOR) if self._tree.living(kind)]
            if kinds:
                kind = self._chance.choice(kinds)
                with suppress(ProcessLookupError):
                    os.kill(self._chance.choice(self._tree.living(kind)), signal.SIGKILL)
                    self._killed[KINDS[kind]] += 1


def outputs(folder: Path) -> dict[str, str]:
    """Give the hashes of outputs, as the manifest has them, of those that are there."""
    rows = map(json.loads, (folder / "manifest.jsonl").read_text().splitlines())
    return {row["input"]: row["output_sha256"] for row in rows if (folder / row["output"]).exists()}


SECTIONS: dict[str, Callable[[Path], Iterator[str]]] = {
    "base": partial(speed, case="base", words="base/16, random weights"),
    "built-in": partial(speed, case="built in", words="crate-nano, built in"),
    "workers": workers,
    "moved": partial(moved, stored=stored),
    "memory": memory,
    "kills": kills,
}


def main() -> None:
    """Run the benchmark."""
    parser = command_line(__doc__, every=False)
    parser.add_argument(
        "sections", nargs="*", choices=[[], *SECTIONS], help="what is measured; all, if none is named"
    )
    arguments = parser.parse_args()
    for name in arguments.sections or SECTIONS:
        publish(SECTIONS[name](arguments.data), arguments.write, mark=name)


if __name__ == "__main__":
    main()
