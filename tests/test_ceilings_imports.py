"""What is imported for one text: a short list, so that a process starts fast and stays small."""

import json
import subprocess
import sys

# Of the standard library, beyond what numpy, onnxruntime and tokenizers bring: their underscored parts aside.
STANDARD = "copy dataclasses errno fnmatch glob hashlib ipaddress mmap ntpath pathlib string threading urllib"
STANDARD = set(STANDARD.split())
DEMUR = (
    "_assemble _background _batches _bundle _classifier _conversation _describe _elide _home _load _machine _manifest"
)
DEMUR = f"{DEMUR} _device _markers _reader _session _shapes _stream _template _tokenizer _verdict _words"
DEMUR = {f"demur.{name}" for name in DEMUR.split()}
LEFT_OUT = "asyncio concurrent.futures demur._bulk._run email http logging.handlers matplotlib multiprocessing pandas"
LEFT_OUT = f"{LEFT_OUT} pyarrow queue socket sqlite3 ssl tqdm xml zstandard".split()

_SCRIPT = """
import json, sys
import numpy, onnxruntime, tokenizers
steps = [set(sys.modules)]
import demur
steps.append(set(sys.modules))
demur.load().check("I'm sorry, but I can't help with that.", prompt="How do I pick a lock?")
steps.append(set(sys.modules))
from demur.cli import main
main(["check", "Sure."])
steps.append(set(sys.modules))
print(json.dumps([sorted(after - before) for before, after in zip(steps, steps[1:])]))
"""


def test_one_text_brings_in_a_short_list_of_modules() -> None:
    run = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True)
    imported, used, said = json.loads(run.stdout.splitlines()[-1])

    # What loads a bundle reads its files while the rest is imported, so that `import demur` has to bring nothing.
    assert [name for name in imported if name.startswith("demur.")] == ["demur.errors"]
    assert not standard(imported)
    assert {name for name in used if name.startswith("demur.")} == DEMUR
    assert standard(used) <= STANDARD
    assert not foreign([*imported, *used, *said])
    assert not set(LEFT_OUT) & {*imported, *used, *said}


def standard(names: list[str]) -> set[str]:
    """Return the packages of the standard library among the names of modules."""
    return {top for top in tops(names) if top in sys.stdlib_module_names and not top.startswith("_")}


def foreign(names: list[str]) -> set[str]:
    """Return the packages that are neither demur's nor the standard library's nor those that demur needs."""
    ours = {"demur", "demur_models", "numpy", "onnxruntime", "tokenizers"}
    return tops(names) - ours - set(sys.stdlib_module_names)


def tops(names: list[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def test_numpy_is_imported_while_the_files_are_read() -> None:
    script = """
import sys
import demur
from demur import _bundle
assert "numpy" not in sys.modules
sums = _bundle.Bundle.check_sums
def seen(bundle):
    print("numpy" in sys.modules)
    sums(bundle)
_bundle.Bundle.check_sums = seen
demur.load()
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_the_command_starts_no_threads_for_products_that_it_never_makes() -> None:
    script = """
import os, runpy, sys
sys.argv = ["demur", "check", "Sure."]
try:
    runpy.run_module("demur", run_name="__main__")
except SystemExit:
    print(os.environ["OPENBLAS_NUM_THREADS"])
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "1"
