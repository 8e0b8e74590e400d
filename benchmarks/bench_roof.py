"""Where does the time of one text go, and how near is it to what the processor's int8 products allow?

    python benchmarks/bench_roof.py [--model NAME|FOLDER] [--lengths N ...] [--rounds N]

The roof is a graph of the bundle's own matrix products and nothing else, as MatMulInteger with the bundle's weights and
shapes, so that weights come from the same memory as in the bundle's graph. Both run in turn, on one thread. The shares
of operators are onnxruntime's own profile, which makes the whole slower; they are scaled to the time without it.
"""

import argparse
import json
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from _common import SEED, machine_line, machine_record, write_results, write_section
from _report import Target, table, targets_table
from demur import _bundle
from demur._session import INPUT, options

LENGTHS = [16, 64, 128, 256, 512]
ROUNDS, PROFILED = 60, 40
PRODUCT = "MatMulIntegerToFloat"
AIM, AT_TOKENS = 0.7, 64

Shape = tuple[int, int, int]  # rows, inputs, outputs


def products(model: onnx.ModelProto, tokens: int) -> list[tuple[int, NDArray[np.int8]]]:
    """Return the rows and the weight of every int8 product when the graph runs on so many tokens."""
    traced = onnx.ModelProto()
    traced.CopyFrom(model)
    nodes = [node for node in traced.graph.node if node.op_type == PRODUCT]
    del traced.graph.output[:]
    traced.graph.output.extend(helper.make_tensor_value_info(n.output[0], TensorProto.FLOAT, None) for n in nodes)
    found = open_session(traced).run(None, {INPUT: np.full((1, tokens), 1000, np.int64)})
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    return [
        (made.size // made.shape[-1], numpy_helper.to_array(weights[node.input[1]]))
        for node, made in zip(nodes, found, strict=True)
    ]


def roof(of: list[tuple[int, NDArray[np.int8]]]) -> tuple[onnx.ModelProto, dict[str, NDArray[np.uint8]]]:
    """Return a graph of those products alone, one after the other, and what to feed it."""
    rng, feeds = np.random.default_rng(SEED), dict[str, NDArray[np.uint8]]()
    nodes, constants = [], [numpy_helper.from_array(np.array(128, np.uint8), "zero")]
    for i, (rows, weight) in enumerate(of):
        source = f"rows.{rows}.{weight.shape[0]}"
        feeds[source] = rng.integers(0, 256, (rows, weight.shape[0]), np.uint8)
        nodes.append(helper.make_node("MatMulInteger", [source, f"weight.{i}", "zero"], [f"product.{i}"]))
        constants.append(numpy_helper.from_array(weight, f"weight.{i}"))
    inputs = [helper.make_tensor_value_info(name, TensorProto.UINT8, fed.shape) for name, fed in feeds.items()]
    outputs = [helper.make_tensor_value_info(node.output[0], TensorProto.INT32, None) for node in nodes]
    graph = helper.make_graph(nodes, "products", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), feeds


def open_session(model: onnx.ModelProto | Path, profile: str | None = None) -> ort.InferenceSession:
    """Open a graph as the runtime does, on one thread."""
    chosen = options(1)
    if profile:
        chosen.enable_profiling, chosen.profile_file_prefix = True, profile
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return ort.InferenceSession(source, chosen, providers=["CPUExecutionProvider"])


def by_operator(path: Path, tokens: int) -> dict[str, dict[str, float]]:
    """Return, for each kind of operator, how many there are and its milliseconds a run as the profile has them."""
    with tempfile.TemporaryDirectory(prefix="demur-bench-") as folder:
        session = open_session(path, f"{folder}/profile")
        for _ in range(PROFILED):
            session.run(None, {INPUT: np.full((1, tokens), 1000, np.int64)})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    spent, count = defaultdict[str, float](float), Counter[str]()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            spent[event["args"]["op_name"]] += event["dur"] / 1e3 / PROFILED
            count[event["args"]["op_name"]] += 1
    return {
        name: {"nodes": count[name] // PROFILED, "ms": round(ms, 4)}
        for name, ms in sorted(spent.items(), key=lambda pair: -pair[1])
    }


def measure(path: Path, model: onnx.ModelProto, tokens: int, rounds: int) -> dict[str, Any]:
    """Time the bundle's graph and its products alone in turn, with warm-up."""
    made = products(model, tokens)
    graph, feeds = roof(made)
    whole, alone = open_session(path), open_session(graph)
    ids = np.random.default_rng(SEED).integers(1000, 20_000, (1, tokens), np.int64)
    samples: dict[str, list[float]] = {"session": [], "products": []}
    for i in range(-3, rounds):
        for name, session, fed in (("session", whole, {INPUT: ids}), ("products", alone, feeds)):
            start = time.perf_counter()
            session.run(None, fed)
            if i >= 0:
                samples[name].append(round(1e3 * (time.perf_counter() - start), 4))
    middle = {name: float(np.median(took)) for name, took in samples.items()}
    operations = 2 * sum(rows * weight.size for rows, weight in made)
    return {
        "products": len(made),
        "operations": operations,
        "session_ms": round(middle["session"], 3),
        "products_ms": round(middle["products"], 3),
        "gops": round(operations / middle["products"] / 1e6, 1),
        "share": round(float(np.median(np.divide(samples["products"], samples["session"]))), 4),
        "samples_ms": samples,
    }


def markdown(record: dict[str, Any], aim: Target) -> str:
    """Return the page's section."""
    found, model = record["found"], record["model"]
    times = [
        [tokens, f"{f['session_ms']:.2f}", f"{f['products_ms']:.2f}", f"{f['gops']:.0f}", f"{f['share']:.0%}"]
        for tokens, f in found.items()
    ]
    whole = sum(spent["ms"] for spent in record["operators"].values())
    shares = [[n, f"{s['nodes']}", f"{s['ms']:.2f}", f"{s['ms'] / whole:.0%}"] for n, s in record["operators"].items()]
    return "\n".join(
        [
            "## Where does the time go?\n",
            f"`{model['name']}` {model['version']} ({model['recipe']}), the bare session on one thread, beside its own "
            "int8 products and nothing else (MatMulInteger, the same weights and shapes), in turn:\n",
            *table(["tokens", "session, ms", "products alone, ms", "GOPS of these", "share"], times),
            "",
            *targets_table([aim]),
            f"\nBy operator at {AT_TOKENS} tokens, as onnxruntime's profile has it (which adds to every operator):\n",
            *table(["operator", "nodes", "ms", "share"], shares[:14]),
            "",
            machine_line(record["machine"]),
            "Raw: [roof.json](results/roof.json).",
        ]
    )


def main() -> None:
    """Measure, and write results and section."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", metavar="NAME|FOLDER", help="by default the bundle that comes with demur")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, metavar="N", help="tokens")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help="default: %(default)s")
    chosen = parser.parse_args()
    bundle = _bundle.read(_bundle.find(chosen.model))
    model = onnx.load(bundle.model.path)
    if not any(node.op_type == PRODUCT for node in model.graph.node):
        raise SystemExit(f"error: --model {bundle.name}: recipe {bundle.recipe} has no int8 products")
    found = {str(tokens): measure(bundle.model.path, model, tokens, chosen.rounds) for tokens in chosen.lengths}
    at = str(AT_TOKENS) if str(AT_TOKENS) in found else next(iter(found))
    aim = Target(
        f"products alone take at least {AIM:.0%} of the session's time at {at} tokens",
        f"{found[at]['share']:.0%}",
        found[at]["share"] >= AIM,
    )
    record = {
        "machine": machine_record("onnx"),
        "model": {"name": bundle.name, "version": bundle.version, "recipe": bundle.recipe},
        "found": found,
        "operators": by_operator(bundle.model.path, AT_TOKENS),
        "targets": [aim.record()],
    }
    write_results("roof", record)
    section = markdown(record, aim)
    write_section("roof", section)
    print(section)


if __name__ == "__main__":
    main()
