"""Write a model as one graph for other runtimes, by `torch.export`: every answer comes from `unroll`."""

import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from cratecli.errors import UsageError
from cratecli.geometry import Size
from cratecli.model.blocks import ISTA
from cratecli.model.crate import Crate
from cratecli.model.graph import IMAGES, LOGITS, METADATA, GraphFacts
from cratecli.model.head_inputs import CELL, FINE, SOFT, VOTE, HeadInputs
from cratecli.model.mask_head import HeadTensors, MaskHead, MaskLogits
from cratecli.model.unroll import WhiteBox
from cratecli.version import __version__

OPSET = 18  # which onnxruntime has known since 1.14
LARGEST = 2_000_000_000  # bytes of an ONNX file: protobuf holds no more
_FOLDED = 16  # numbers of a tensor: shapes are computed beforehand, weights are left as they are stored
_INSTALL = "run: pip install 'cratecli[onnx]'"

Number = Literal["float32", "float16"]


@dataclass(frozen=True)
class ExportChoice:
    """What an export gives: the layers, from 0; the sizes it takes, or any on the patch grid; its number format."""

    layers: tuple[int, ...]
    sizes: tuple[Size, ...] | None = None
    dtype: Number = "float32"


class _Answers(nn.Module):
    """What an export answers of images: attention and subspaces of some layers, and the class scores."""

    def __init__(self, model: WhiteBox, layers: Sequence[int], *, tied: bool) -> None:
        super().__init__()
        self.model, self.layers, self.tied = model, tuple(layers), tied

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        found: list[Tensor] = []
        for state in self.model.unroll(images):
            if state.index in self.layers:
                found += [state.class_attention(), state.subspaces]
                found += [] if self.tied else [state.projection.query]
            tokens = state.tokens
        return (*found, self.model.classify(tokens))


class _Stored(nn.Module):
    """The same of a model whose numbers stay as a checkpoint stores them: each is made float32 when it is used."""

    def __init__(self, answers: _Answers) -> None:
        super().__init__()
        for module in answers.model.modules():
            if isinstance(module, ISTA):
                module.fold(False)  # a checkpoint has the dictionary
        self.stored = deepcopy(answers.model).half()
        self._answers = [answers]  # in a list: its numbers are not in the graph

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        numbers = {f"model.{name}": each.float() for name, each in self.stored.named_parameters()}
        answers: tuple[Tensor, ...] = torch.func.functional_call(self._answers[0], numbers, (images,))
        return answers


class _StoredHead(nn.Module):
    """A mask head's soft map of one photo, its numbers as its file stores them."""

    def __init__(self, head: MaskHead) -> None:
        super().__init__()
        self.stored = deepcopy(head).half()
        self._head = [head]  # in a list: its numbers are not in the graph

    def forward(self, *inputs: Tensor) -> Tensor:
        numbers = {name: each.float() for name, each in self.stored.named_parameters()}
        logits: MaskLogits = torch.func.functional_call(self._head[0], numbers, (HeadTensors(*inputs),))
        return logits.fine.sigmoid()


def facts_of(model: WhiteBox, choice: ExportChoice) -> GraphFacts:
    """Describe a model for its export's metadata. Raises `UsageError` for a model without a class token."""
    if not model.has_class_token:
        raise UsageError(
            "only models with a class token can be exported: this one asks its patches, or a pooling head"
        )
    with torch.inference_mode():
        side = model.patch_size
        state = next(iter(model.unroll(torch.zeros(1, 3, side, side))))
        tied = state.projection.query is state.projection.key
    return GraphFacts(
        version=__version__,
        weights=Path(model.weights.name).name if model.weights else None,
        weights_sha256=model.weights_digest(),
        config=dict(model.constants),
        depth=model.depth,
        heads=model.heads,
        patch_size=model.patch_size,
        image_size=model.image_size,
        mean=list(model.mean),
        std=list(model.std),
        prefix=state.prefix,
        paper_layer=model.paper_layer,
        layers=list(choice.layers),
        sizes=None if choice.sizes is None else [list(size) for size in choice.sizes],
        dtype=choice.dtype,
        tied=tied,
        classes=list(model.labels),
        least_confidence=model.least_confidence,
        least_agreement=model.least_agreement,
    )


def output_names(facts: GraphFacts) -> list[str]:
    """Name the outputs of an export, in their order."""
    return [*(name(layer) for layer in facts.layers for name in facts.output_names()), LOGITS]


def trace(model: WhiteBox, facts: GraphFacts, *, stored: bool = False) -> ExportedProgram:
    """Trace what a model on the CPU, in float32, answers, as a graph that takes any batch.

    With `stored` its float16 numbers are made float32 as they are used. Raises `UsageError` for a model that cannot be
    traced at sizes that are not fixed.
    """
    answers = _Answers(deepcopy(model), facts.layers, tied=facts.tied).eval()
    whole: nn.Module = _Stored(answers).eval() if stored else answers
    number = getattr(torch, facts.dtype)
    if number != torch.float32:
        whole = whole.to(number)
    patch = facts.patch_size
    fixed = facts.sizes is not None and len(facts.sizes) == 1
    height, width = facts.sizes[0] if facts.sizes else (3 * patch, 5 * patch)
    sides: dict[int, Any] = {0: Dim("batch", min=1, max=1 << 16)}
    if not fixed:
        # From two patches on: torch treats an axis of one as special. An ONNX graph takes that too.
        sides |= {2: patch * Dim("rows", min=2, max=1 << 10), 3: patch * Dim("cols", min=2, max=1 << 10)}
    images = torch.zeros(2, 3, height, width, dtype=number)
    with _quiet(), torch.no_grad():
        try:
            return torch.export.export(whole, (images,), dynamic_shapes={IMAGES: sides}, strict=False)
        except Exception as error:  # whatever a model does with its sizes
            if fixed:
                raise
            reason = str(error).strip().partition("\n")[0][:200]
            hint = "choose one with --size"
            raise UsageError(f"the model cannot be exported for any size: {hint} ({reason})") from None


def as_torch(program: ExportedProgram, facts: GraphFacts) -> bytes:
    """Give a program as the bytes of a `.pt2` file, the facts beside it."""
    stream = io.BytesIO()
    with _quiet():
        torch.export.save(program, stream, extra_files={METADATA: facts.model_dump_json()})
    return stream.getvalue()


def as_onnx(program: ExportedProgram, facts: GraphFacts) -> Any:
    """Translate a program to an ONNX model of onnx's own, the facts in its metadata.

    Raises `UsageError` where the packages for it are not installed, or the model is too large for one file.
    """
    return _translated(program, [IMAGES], output_names(facts), {METADATA: facts.model_dump_json()})


def _translated(
    program: ExportedProgram, inputs: Sequence[str], outputs: Sequence[str], metadata: Mapping[str, str]
) -> Any:
    try:
        import onnx
        import onnxscript.optimizer
    except ImportError:
        raise UsageError(f"an ONNX file is written by onnx and onnxscript: {_INSTALL}") from None
    if sum(each.nbytes for each in program.state_dict.values()) > LARGEST:
        raise UsageError(
            "the model is too large for one ONNX file, which holds 2 GB: --dtype float16 halves it"
        )
    with _quiet():
        made: Any = torch.onnx.export(
            program,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamo=True,
            verbose=False,
            optimize=False,
            opset_version=OPSET,
        )
        onnxscript.optimizer.optimize(made.model, input_size_limit=_FOLDED)
    whole = made.model_proto
    graph = whole.graph
    for each in (
        whole,
        graph,
        *graph.node,
        *graph.value_info,
        *graph.input,
        *graph.output,
        *graph.initializer,
    ):
        each.ClearField("doc_string")
        each.ClearField("metadata_props")  # of nodes: where in this machine's files they come from
    del graph.value_info[:]
    onnx.helper.set_model_props(whole, dict(metadata))
    whole.producer_name, whole.producer_version = "crate", __version__
    return whole


def own_graph(model: Crate, checkpoint: bytes, name: str) -> bytes:
    """Make the graph that stands beside a model's float16 checkpoint, a file `name` whose tensors have our names.

    It gives every layer, takes any size, and holds no weights: they are read from that file.
    """
    facts = facts_of(model, ExportChoice(tuple(range(model.depth))))
    return _without_weights(as_onnx(trace(model, facts, stored=True), facts), checkpoint, name)


def head_graph(head: MaskHead, checkpoint: bytes, name: str) -> bytes:
    """Make the graph that stands beside a mask head's float16 file, called `name`: for any grid of patches.

    It takes one photo's `HeadInputs`, by their names, and gives the soft map, 0–1; its weights are read from that file.
    """
    rows, cols = Dim("rows", min=2, max=1 << 10), Dim("cols", min=2, max=1 << 10)
    scales = (CELL, VOTE, 1, 1, FINE, FINE)  # of the grid, as `HeadInputs` has them
    config = head.config
    channels, maps = len(config.layers) * config.token_width, len(config.layers) * config.heads
    widths = (3, 1, channels, len(config.coarse) * maps, channels, maps)
    arrays = tuple(
        torch.zeros(1, width, 3 * each, 5 * each) for width, each in zip(widths, scales, strict=True)
    )
    shapes = tuple({2: each * rows, 3: each * cols} for each in scales)
    with _quiet(), torch.no_grad():
        program = torch.export.export(
            _StoredHead(head).eval(), arrays, dynamic_shapes=(shapes,), strict=False
        )
    whole = _translated(program, HeadInputs._fields, [SOFT], {})
    return _without_weights(whole, checkpoint, name)


def _without_weights(whole: Any, checkpoint: bytes, name: str) -> bytes:
    _take_weights_from(checkpoint, name, whole)
    content: bytes = whole.SerializeToString(deterministic=True)
    return content


def _take_weights_from(checkpoint: bytes, name: str, whole: Any) -> None:
    """Let the initializers of a traced `stored` model be the tensors of a safetensors file beside it.

    Raises `ValueError` where one of them is not in the file, or other than there.
    """
    import onnx

    length = int.from_bytes(checkpoint[:8], "little")
    header: Mapping[str, Any] = json.loads(checkpoint[8 : 8 + length])
    renamed: dict[str, str] = {}
    for each in whole.graph.initializer:
        own = each.name.removeprefix("stored.")
        if own not in header:
            if len(each.raw_data) > 8 * _FOLDED:
                raise ValueError(f"{own} is not in {name}")
            continue
        start, end = (8 + length + place for place in header[own]["data_offsets"])
        if list(each.dims) != header[own]["shape"] or each.raw_data != checkpoint[start:end]:
            raise ValueError(f"{own} is not what {name} holds")
        renamed[each.name] = each.name = own
        each.ClearField("raw_data")
        each.data_location = onnx.TensorProto.EXTERNAL
        for key, value in {"location": name, "offset": start, "length": end - start}.items():
            each.external_data.add(key=key, value=str(value))
    for node in whole.graph.node:
        for place, given in enumerate(node.input):
            node.input[place] = renamed.get(given, given)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' advice to their developers off stderr."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    before = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        for each, level in zip(loggers, before, strict=True):
            each.setLevel(level)
