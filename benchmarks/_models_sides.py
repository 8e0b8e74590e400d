"""Work for processes of their own on one stand-in: makes graphs, opens what is compared, runs it.

    python _models_sides.py make|measure|load ARGUMENTS

Each prints a JSON object. `bench_models.py` starts them, so that one's memory is not another's.
"""

import gc
import json
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Logits = npt.NDArray[np.float32]
Side = Callable[[Ids], Logits]

DEMUR, ROW, WEIGHTS, BLOCKS, INT8, TORCH = (
    "demur",
    "int8_row",
    "int8_weights",
    "matmulnbits_4",
    "optimum_int8",
    "pytorch",
)
GRAPHS, OPTIMUM = "graphs", "optimum"
# MatMulNBits' accuracy_level that quantises activations too, in blocks.
_LEVEL_4 = 4
MOST_ROUNDS, LEAST_ROUNDS = 40, 3
# Up to this length each side first runs a text that isn't timed, since the others have emptied the caches.
PRIMED = 512


def make(checkpoint: Path, bundle: Path, folder: Path) -> dict[str, str]:
    """Write the graphs that are compared with the bundle's, and return the files of all by side.

    Those of `int8-row` and `int8-weights` are the bundle's own where it is of that recipe, with no product in fp32.

    Args:
        checkpoint: The stand-in.
        bundle: Made of it.
        folder: Where the graphs go.
    """
    import onnx

    import _peers
    from demur_export import checkpoint as checkpoints
    from demur_export import pipeline, quantize

    manifest = json.loads((bundle / "demur.json").read_text(encoding="utf-8"))
    own = manifest["recipe"] if manifest["exported"]["products in fp32"] == "none" else None
    found = {DEMUR: bundle / manifest["files"]["model"]["path"]}
    (folder / GRAPHS).mkdir(parents=True, exist_ok=True)
    source = checkpoints.read(checkpoint)
    graph = pipeline.BUILDERS[source.architecture](source)
    calibration = texts(bundle)[pipeline._CALIBRATION]
    for side, recipe in ((ROW, "int8-row"), (WEIGHTS, "int8-weights")):
        if own == recipe:
            found[side] = found[DEMUR]
        else:
            found[side] = folder / GRAPHS / f"{recipe}.onnx"
            onnx.save(quantize.RECIPES[recipe](graph, calibration).model, found[side])
    in_blocks = onnx.load(found[WEIGHTS])
    for node in in_blocks.graph.node:
        for attribute in node.attribute:
            if node.op_type == "MatMulNBits" and attribute.name == "accuracy_level":
                attribute.i = _LEVEL_4
    found[BLOCKS] = folder / GRAPHS / "matmulnbits-4.onnx"
    onnx.save(in_blocks, found[BLOCKS])
    _peers.export(checkpoint, folder / OPTIMUM / "fp32")
    found[INT8] = _peers.quantise(folder / OPTIMUM / "fp32", folder / OPTIMUM / "int8")
    return {side: str(path) for side, path in found.items()}


def texts(bundle: Path) -> list[Ids]:
    """Return the ids `[1, n]` that the bundle reads of each of the gate's conversations."""
    from demur_export import corpus, pipeline

    return pipeline._ids(bundle, corpus.gate(None))


def of_length(read: Sequence[Ids], tokens: int, count: int) -> list[Ids]:
    """Return `count` different texts `[1, tokens]`: what is inside real ones, one after the other, in their frame."""
    inside = np.concatenate([ids[0, 1:-1] for ids in read])
    inside = np.tile(inside, -(-2 * tokens // len(inside)))
    first, last = read[0][0, :1], read[0][0, -1:]
    starts = np.linspace(0, len(inside) - tokens, count).astype(int)
    return [np.concatenate([first, inside[at : at + tokens - 2], last])[None] for at in starts]


def opened(side: str, path: Path) -> Side:
    """Return what computes the logits of ids, with one thread.

    Args:
        side: demur's and its recipes run in demur's session options, optimum's graph in onnxruntime's own.
        path: The graph; PyTorch's checkpoint.
    """
    if side == TORCH:
        return _torch(path)
    import onnxruntime

    from demur import _session

    if side == INT8:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
    else:
        options = _session.options(1)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def run(ids: Ids) -> Logits:
        others = {"attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        feed = {name: others.get(name, ids) for name in names}
        found: Logits = session.run([_session.OUTPUT], feed)[0]
        return found

    return run


def _torch(checkpoint: Path) -> Side:
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.set_num_threads(1)
    kind = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))["model_type"]
    # As demur_export.reference has it: transformers compiles ModernBERT wherever Triton is installed.
    extra = {"reference_compile": False} if kind == "modernbert" else {}
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, torch_dtype=torch.float32, **extra).eval()

    def run(ids: Ids) -> Logits:
        given = torch.from_numpy(ids)
        with torch.inference_mode():
            found: Logits = model(input_ids=given, attention_mask=torch.ones_like(given)).logits.numpy()
        return found

    return run


def measure(
    checkpoint: Path, bundle: Path, made: Mapping[str, str], lengths: Sequence[int], budget: float, count: int
) -> dict[str, Any]:
    """Compare all sides with PyTorch on the gate's texts that no recipe was calibrated on, then time them in turn.

    Args:
        checkpoint: The stand-in.
        bundle: Made of it.
        made: Graphs by side.
        lengths: Tokens of the texts that are timed.
        budget: Seconds for each length.
        count: Of the gate's texts, how many to compare on at most.
    """
    from demur_export import checkpoint as checkpoints
    from demur_export import pipeline
    from demur_export.reference import torch_logits

    read = texts(bundle)
    unseen = read[pipeline._UNSEEN][:count]
    source = checkpoints.read(checkpoint)
    reference = torch_logits(source, unseen)
    near, sides = {}, {}
    for side, path in made.items():
        # A recipe that the bundle is of runs as the bundle.
        if side != DEMUR and path == made[DEMUR]:
            near[side] = near[DEMUR]
            continue
        run = opened(side, Path(path))
        near[side] = nearness(np.concatenate([run(ids) for ids in unseen]), reference, source.refusal)
        if side in (DEMUR, ROW, INT8):
            sides[side] = run
    sides[TORCH] = opened(TORCH, checkpoint)
    samples = timed(sides, {tokens: of_length(read, tokens, MOST_ROUNDS + 1) for tokens in lengths}, budget)
    return {"near": near, "samples_ms": samples}


def nearness(found: Logits, reference: Logits, refusal: int) -> dict[str, Any]:
    """Return the gate's figures of logits `[texts, 2]`, and the noise of their difference over its spread.

    That is the standard deviation of (found's difference of the two logits minus the reference's), over the standard
    deviation of the reference's.
    """
    from demur_export import parity

    gaps = [logits[:, refusal].astype(np.float64) - logits[:, 1 - refusal] for logits in (found, reference)]
    noise = float(np.std(gaps[0] - gaps[1]) / np.std(gaps[1]))
    return parity.compare(found, reference, refusal).record() | {"noise": noise}


def timed(sides: Mapping[str, Side], given: Mapping[int, Sequence[Ids]], budget: float) -> dict[str, dict[int, Any]]:
    """Time every side on every length, round after round in an order drawn anew, within `budget` seconds a length.

    Rounds at the least: `LEAST_ROUNDS`, or one where that alone takes longer than the budget.

    Returns:
        Milliseconds by side, length and round.
    """
    samples: dict[str, dict[int, list[float]]] = {side: {tokens: [] for tokens in given} for side in sides}
    order, names = random.Random(20), list(sides)
    gc.collect()
    gc.freeze()
    for tokens, read in given.items():
        start = time.perf_counter()
        for i in range(1, len(read)):
            spent = time.perf_counter() - start
            if spent > budget and i > (LEAST_ROUNDS if spent < budget * LEAST_ROUNDS else 1):
                break
            for side in order.sample(names, len(names)):
                if tokens <= PRIMED:
                    sides[side](read[i - 1])
                begun = time.perf_counter()
                sides[side](read[i])
                samples[side][tokens].append(round((time.perf_counter() - begun) * 1e3, 4))
    return samples


def load(side: str, checkpoint: Path, path: Path, text: str, tokens: int) -> dict[str, Any]:
    """Load a side as its users do, with its tokenizer, and judge a text of `tokens` or more; none if that is 0."""
    start = time.perf_counter()
    if side == DEMUR:
        import demur

        imported = time.perf_counter()
        model = demur.load(path, threads=1)
        judge: Callable[[], Any] = lambda: model.check(text).tokens  # noqa: E731
    else:
        import torch
        from transformers import pipeline

        torch.set_num_threads(1)
        if side == INT8:
            import _peers

            imported = time.perf_counter()
            classify: Any = _peers.optimum_pipeline(checkpoint, path, 1)
        else:
            imported = time.perf_counter()
            classify = pipeline("text-classification", model=str(checkpoint), tokenizer=str(checkpoint), device="cpu")

        def judge() -> Any:
            classify(text, truncation=True, max_length=tokens)
            return tokens

    loaded = time.perf_counter()
    found: dict[str, Any] = {"import_s": round(imported - start, 4), "load_s": round(loaded - imported, 4)}
    return found | ({"tokens": judge()} if tokens else {})


def main() -> None:
    """Do what the arguments say, and print what came of it as JSON."""
    work, *given = sys.argv[1:]
    if work == "make":
        found: Any = make(*map(Path, given))
    elif work == "measure":
        asked = json.loads(given[0])
        folders = Path(asked["checkpoint"]), Path(asked["bundle"])
        found = measure(*folders, asked["made"], asked["lengths"], asked["budget"], asked["texts"])
    else:
        side, checkpoint, path, text, tokens = given
        words = Path(text).read_text(encoding="utf-8")
        found = load(side, Path(checkpoint), Path(path), words, int(tokens))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
