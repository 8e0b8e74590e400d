"""What is imported for one text: a short list, so that a process starts fast and stays small."""

import json
import subprocess
import sys

# Of the standard library, beyond what numpy, onnxruntime and tokenizers bring: their underscored parts aside.
STANDARD = "copy dataclasses errno fnmatch glob ipaddress ntpath pathlib string threading urllib"
STANDARD = set(STANDARD.split())
LOADING = {"hashlib"}
DEMUR = "_assemble _batches _bundle _classifier _conversation _describe _elide _home _load _machine _manifest"
DEMUR = f"{DEMUR} _markers _reader _session _shapes _stream _template _tokenizer _verdict _words errors"
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

    assert {name for name in imported if name.startswith("demur.")} == DEMUR
    assert standard(imported) <= STANDARD
    assert standard(used) <= LOADING
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
