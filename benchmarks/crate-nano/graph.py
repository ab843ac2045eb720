"""Make the ONNX graphs of the built-in model and of its mask head, and put their hashes into the registry.

    python benchmarks/crate-nano/graph.py

They are written beside the weights, which stay where they are: the graphs have none of their own. A new
`head.safetensors` is put there first; its hash is written too.
"""

import hashlib
import re
from pathlib import Path

from cratecli import load_model
from cratecli.model.crate import Crate
from cratecli.weights import fetch, graphs
from cratecli.weights.exporting import head_graph, own_graph
from cratecli.weights.mask_heads import load_head
from cratecli.weights.own_heads import own_head_place
from cratecli.weights.registry import BUILT_IN, load_registry

REGISTRY = Path(__file__).parents[2] / "weights.toml"


def main() -> None:
    """Write the graphs and the registry's lines."""
    row = load_registry([REGISTRY]).find(BUILT_IN)
    checkpoint = fetch.present(row)
    model = load_model(BUILT_IN, device="cpu")
    if not isinstance(model, Crate):
        raise TypeError(f"{BUILT_IN} is no CRATE")
    content = own_graph(model, checkpoint.read_bytes(), checkpoint.name)
    checkpoint.with_suffix(graphs.ENDING).write_bytes(content)
    head = load_head(own_head_place(row), model)
    drawing = head_graph(head.network, head.path.read_bytes(), head.path.name)
    head.path.with_suffix(graphs.ENDING).write_bytes(drawing)
    _register("graph_sha256", hashlib.sha256(content).hexdigest())
    _register("head_sha256", head.sha256)
    _register("head_graph_sha256", hashlib.sha256(drawing).hexdigest())


def _register(name: str, sha256: str) -> None:
    text = REGISTRY.read_text(encoding="utf-8")
    line = re.compile(rf'^{name} = "[0-9a-f]+"$', re.MULTILINE)
    REGISTRY.write_text(line.sub(f'{name} = "{sha256}"', text, count=1), encoding="utf-8")


if __name__ == "__main__":
    main()
