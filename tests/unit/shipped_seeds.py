"""The shipped seed tasks by name, and their code made to run."""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from io import StringIO

from alpaca_tui import resources

SEEDS = {t["name"]: t for t in map(json.loads, resources.seed_tasks_path().read_text("utf-8").splitlines())}


def instruction(name):
    return SEEDS[name]["instruction"]


def given(name, index=0):
    return SEEDS[name]["instances"][index]["input"]


def answer(name, index=0):
    return SEEDS[name]["instances"][index]["output"]


def pairs(name):
    return [(i["input"], i["output"]) for i in SEEDS[name]["instances"]]


def run_python(code):
    namespace = {}
    exec(compile(code, "<seed>", "exec"), namespace)
    return namespace


def printed_by(code):
    out = StringIO()
    with redirect_stdout(out):
        run_python(code)
    return out.getvalue()


def words(text):
    return len(text.split())
