"""Parity for `gpu.py`: every family with the released code's arrays, and every question with the CPU's answer."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from gpu_bench import Bench
from page import table_header, table_row
from safetensors.torch import load_file
from speed import error
from torch import Tensor

import cratecli
from cratecli.model.crate import Crate
from cratecli.weights.checkpoint import load_model

ROOT = Path(__file__).parents[1]
EXACT, TOKENS = 1e-5, 2e-4  # absolute, of float32: attention and features; tokens and class scores
FEATURES = 2e-5  # CRATE-MAE's: the reference itself is 1.5e-5 from a run in float64
SAME, RATE = (
    0.99,
    1e-3,
)  # the least IoU of masks and share of equal labels; the largest difference of coding rates


def differences(model: Crate, expected: dict[str, Tensor]) -> dict[str, float]:
    """Give the largest differences from the released code: of class attention, tokens, and the model's answer."""
    device, dtype = next(model.parameters()).device, next(model.parameters()).dtype
    found = {"attention": 0.0, "tokens": 0.0, "answer": 0.0, "share": 0.0}

    def compare(kind: str, actual: Tensor, right: Tensor) -> None:
        found[kind] = max(found[kind], float((actual.float().cpu() - right).abs().max()))

    with torch.inference_mode():
        for state in model.unroll(expected["input"].to(device, dtype)):
            if (right := expected.get(f"attn.{state.index}")) is not None:
                row, attention = right[:, :, 0, 1:], state.class_attention()
                compare("attention", attention, row)
                found["share"] = max(found["share"], error(attention.cpu(), row))
            before = f"tokens.{state.index - 1}" if state.index else "tokens.in"
            if before in expected:
                compare("tokens", state.tokens, expected[before])
        features = model.forward_features(expected["input"].to(device, dtype))
        if "features" in expected:
            compare("answer", features, expected["features"])
        else:
            logits = model.forward_head(features, pre_logits=model.config.pre_logits)
            compare("answer", logits, expected["logits"])
    return found


def parity(bench: Bench) -> Iterator[str]:
    """Compare every family with the released code's arrays."""
    share = "bfloat16: attention, share of the largest"
    names = ("attention, float32", "tokens", "class scores or features", share, "bfloat16: tokens")
    yield table_header("largest difference", *names, "as it should be")
    for folder in sorted((ROOT / "tests/golden").iterdir()):
        arrays = next(folder.glob("expected_jax.*"), folder / "expected.safetensors")
        weights = next(path for path in folder.iterdir() if not path.name.startswith("expected"))
        expected = load_file(arrays)
        exact, rough = (
            differences(cast(Crate, load_model(weights, heads=3, device=bench.device, dtype=word)), expected)
            for word in ("float32", "bfloat16")
        )
        limit = FEATURES if "features" in expected else TOKENS
        holds = exact["attention"] <= EXACT and exact["tokens"] <= TOKENS and exact["answer"] <= limit
        jax = not any(name.startswith("attn.") for name in expected)  # those arrays hold no attention
        cells = [
            "–" if jax else f"{exact['attention']:.1e}",
            f"{exact['tokens']:.1e}",
            f"{exact['answer']:.1e}",
        ]
        cells += ["–" if jax else f"{rough['share']:.1e}", f"{rough['tokens']:.1e}"]
        yield table_row(folder.name, *cells, bench.check(holds, f"parity of {folder.name}"))


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Give the largest difference of two arrays."""
    return float(np.abs(one - other).max())


def iou(one: np.ndarray, other: np.ndarray) -> float:
    """Give the IoU of two masks; of two empty ones it is 1."""
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0


def least_iou(one: list[Any], other: list[Any]) -> float:
    """Give the least IoU of objects in their order; if their numbers differ it is 0."""
    if len(one) != len(other):
        return 0.0
    return min((iou(mine.mask, theirs.mask) for mine, theirs in zip(one, other, strict=True)), default=1.0)


def questions(bench: Bench) -> Iterator[str]:
    """Ask the built-in model every question on the device and on the CPU, and compare the answers."""
    photos = [str(ROOT / "examples" / name) for name in ("chelsea.jpg", "raccoon.jpg")]
    photo = photos[0]
    Compare = tuple[str, Callable[[Any], Any], Callable[[Any, Any], float], Callable[[float], bool]]
    asked: dict[str, Compare] = {
        "segment": ("IoU", lambda m: cratecli.segment(photo, m).mask, iou, lambda x: x >= SAME),
        "segment, a click": (
            "IoU",
            lambda m: cratecli.segment(photo, m, at=[(210, 120)]).mask,
            iou,
            lambda x: x >= SAME,
        ),
        "objects": ("least IoU", lambda m: cratecli.objects(photo, m), least_iou, lambda x: x >= SAME),
        "parts": (
            "equal labels",
            lambda m: cratecli.parts(photos, m, k=3)[0].labels,
            lambda one, other: float((one == other).mean()),
            lambda x: x >= SAME,
        ),
        "heads": ("attention", lambda m: cratecli.heads(photo, m).attention, apart, lambda x: x <= EXACT),
        "layers": (
            "coding rate",
            lambda m: cratecli.layers(photo, m).coding_rate,
            apart,
            lambda x: x <= RATE,
        ),
    }
    there, rough, here = (
        load_model(device=device, dtype=word)
        for device, word in ((bench.device, "float32"), (bench.device, "bfloat16"), ("cpu", "float32"))
    )
    yield table_header(
        "answers, beside the CPU's in float32", "compared", "float32", "bfloat16", "as it should be", text=2
    )
    for name, (what, ask, compare, holds) in asked.items():
        right = ask(here)
        exact, low = (compare(ask(model), right) for model in (there, rough))
        yield table_row(name, what, f"{exact:.3g}", f"{low:.3g}", bench.check(holds(exact), name))
