"""Make the ONNX graph of the built-in model, and put its hash into the registry.

    python benchmarks/crate-nano/graph.py

It is written beside the weights, which stay where they are: the graph has none of its own.
"""

import hashlib
import re
from pathlib import Path

from cratecli import load_model
from cratecli.model.crate import Crate
from cratecli.weights import fetch, graphs
from cratecli.weights.exporting import own_graph
from cratecli.weights.registry import BUILT_IN, load_registry

REGISTRY = Path(__file__).parents[2] / "weights.toml"


def main() -> None:
    """Write the graph and the registry's line."""
    row = load_registry([REGISTRY]).find(BUILT_IN)
    checkpoint = fetch.present(row)
    model = load_model(BUILT_IN, device="cpu")
    if not isinstance(model, Crate):
        raise TypeError(f"{BUILT_IN} is no CRATE")
    content = own_graph(model, checkpoint.read_bytes(), checkpoint.name)
    checkpoint.with_suffix(graphs.ENDING).write_bytes(content)
    line = f'graph_sha256 = "{hashlib.sha256(content).hexdigest()}"'
    text = REGISTRY.read_text(encoding="utf-8")
    REGISTRY.write_text(re.sub(r'graph_sha256 = "[0-9a-f]+"', line, text, count=1), encoding="utf-8")


if __name__ == "__main__":
    main()
