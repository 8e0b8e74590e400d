"""`demur doctor`: what this machine grants, what is installed, and whether the bundles are whole."""

import platform
import sys
from typing import Any

import numpy as np
import tokenizers

import demur
from demur import _bundle, _cache, _device, _home, _machine, _session
from demur.errors import BundleError


def examine() -> dict[str, Any]:
    """Return what `demur doctor` shows, fit for JSON."""
    return {
        "versions": {
            "demur": demur.__version__,
            "python": platform.python_version(),
            "onnxruntime": _session.version(),
            "tokenizers": tokenizers.__version__,
            "numpy": np.__version__,
        },
        "platform": f"{sys.platform} {platform.machine()}",
        "providers": _device.providers(),
        "cores": {
            "affinity": _machine.affinity(),
            "quota": _machine.quota(),
            "granted": _machine.cores(),
            "limit": _machine.limit(_machine.quota(), _machine.affinity()),
        },
        "instruction_sets": list(_machine.instruction_sets()),
        "exact_int8_rewrite": _machine.int8_saturates(),
        "threads": _machine.cores(),
        "cache": _examine_cache(),
        "bundles": [_examine_bundle(name) for name in _bundle.available()],
    }


def _examine_cache() -> dict[str, Any]:
    folder = _home.cache()
    entries, size = _cache.held()
    return {"folder": folder and str(folder), "entries": entries, "megabytes": round(size / 1e6, 1)}


def _examine_bundle(name: str) -> dict[str, Any]:
    folder = _bundle.find(name)
    try:
        bundle = _bundle.read(folder)
        bundle.check_sums()
    except BundleError as error:
        return {"name": name, "folder": str(folder), "intact": False, "fault": str(error)}
    return {"name": name, "folder": str(folder), "intact": True, "sha256": bundle.model.sha256}


def lines(report: dict[str, Any]) -> list[str]:
    """Return the report as lines of text."""
    cores = report["cores"]
    quota = "none" if cores["quota"] is None else f"{cores['quota']:g}"
    shown = [
        ("versions", ", ".join(f"{name} {number}" for name, number in report["versions"].items())),
        ("platform", report["platform"]),
        ("providers", ", ".join(report["providers"])),
        ("cores", f"{cores['granted']} granted: {cores['limit']} (affinity {cores['affinity']}, cgroup quota {quota})"),
        ("instructions", " ".join(report["instruction_sets"]) or "unknown"),
        ("int8 products", "rewritten, as they would overflow" if report["exact_int8_rewrite"] else "exact as they are"),
        ("threads", f"{report['threads']} for one text, {report['threads']} workers for many"),
    ]
    cache = report["cache"]
    kept = f"{cache['folder']} ({cache['entries']} bundles made ready, {cache['megabytes']:,.0f} MB; "
    off = f"{_home.CACHE}={_home.OFF} keeps none)"
    shown.append(("cache", f"{kept}{off}" if cache["folder"] else "none, bundles are made ready at each loading"))
    for bundle in report["bundles"]:
        state = f"intact (sha256 {bundle['sha256'][:12]}...)" if bundle["intact"] else f"DAMAGED: {bundle['fault']}"
        shown.append((f"bundle {bundle['name']}", state))
    width = max(len(name) for name, _ in shown)
    return [f"{name:<{width}}  {value}" for name, value in shown]
