"""Run the code in the shipped seed tasks: every snippet that is given, and every answer.

Each test looks its task up by name, so the order and the ids of the tasks do not matter. A language that is not
installed is skipped.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import types

import pytest

from unit.shipped_seeds import answer, given, instruction, printed_by, run_python

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="java is not installed")


# ---------------------------------------------------------------- Python


def test_pack_ordered_batches():
    pack = run_python(answer("pack_ordered_batches"))["pack_batches"]
    assert pack([], 5) == []
    assert pack([("a", 2), ("b", 3), ("c", 1), ("d", 5)], 5) == [["a", "b"], ["c"], ["d"]]
    assert pack([("a", 5), ("b", 0), ("c", 1)], 5) == [["a", "b"], ["c"]]
    with pytest.raises(ValueError, match="huge"):
        pack([("small", 1), ("huge", 9)], 5)


def test_fix_median_function():
    broken = run_python(given("fix_median_function"))["median"]
    fixed = run_python(answer("fix_median_function"))["median"]
    assert broken([4, 1, 3, 2]) != 2.5
    numbers = [4, 1, 3, 2]
    assert fixed(numbers) == 2.5
    assert numbers == [4, 1, 3, 2]
    assert fixed([9, 1, 5]) == 5
    assert fixed([7]) == 7
    with pytest.raises(ValueError):
        fixed([])


def test_refactor_shipping_cost():
    old = run_python(given("refactor_shipping_cost"))["shipping_cost"]
    new = run_python(answer("refactor_shipping_cost"))["shipping_cost"]
    for weight in (0.1, 1, 1.01, 3, 5, 5.5, 400):
        for express in (True, False):
            for member in (True, False):
                assert new(weight, express, member) == old(weight, express, member)
    for function in (old, new):
        for weight in (0, -2):
            with pytest.raises(ValueError, match="weight must be positive"):
                function(weight, False, True)


def test_predict_python_output():
    assert printed_by(given("predict_python_output")).strip() == answer("predict_python_output")


def test_pytest_cases_for_duration_parser(monkeypatch):
    source = given("pytest_cases_for_duration_parser")

    def failures(parser_source):
        module = types.ModuleType("durations")
        exec(parser_source, module.__dict__)
        monkeypatch.setitem(sys.modules, "durations", module)
        tests = run_python(answer("pytest_cases_for_duration_parser"))
        failed, functions = [], 0
        for name, function in tests.items():
            if not name.startswith("test_"):
                continue
            functions += 1
            calls = [{}]
            for mark in getattr(function, "pytestmark", []):
                key, values = mark.args
                calls = [{key: value} for value in values]
            for arguments in calls:
                try:
                    function(**arguments)
                except (Exception, pytest.fail.Exception):
                    failed.append(name)
        assert functions == 5
        return failed

    assert failures(source) == []
    for old, new in [
        ("* 60", "* 100"),
        ("not text or ", ""),
        ("fullmatch", "match"),
        ("{text!r}", "oops"),
        ("minutes or 0", "0"),
    ]:
        assert old in source
        assert failures(source.replace(old, new)) != [], f"no test notices {old} -> {new}"


def test_mutable_default_argument():
    out = printed_by(given("mutable_default_argument"))
    assert out.strip() == "['red', 'green', 'blue']"
    text = answer("mutable_default_argument")
    collect = run_python(text[text.index("def collect") :])["collect"]
    assert collect("red") == ["red"]
    assert collect("green") == ["green"]
    mine = ["x"]
    assert collect("y", mine) is mine and mine == ["x", "y"]


def test_faster_duplicate_finder():
    slow = run_python(given("faster_duplicate_finder"))["repeated"]
    fast = run_python(answer("faster_duplicate_finder"))["repeated"]
    for letters in itertools.product("abc", repeat=6):
        assert fast(list(letters)) == slow(list(letters))
    assert fast([]) == []
    many = [str(n) for n in range(100_000)] * 2
    assert fast(many) == many[:100_000]


def test_sliding_window_rate_limiter():
    make = run_python(answer("sliding_window_rate_limiter"))["RateLimiter"]
    limiter = make(2, 10)
    assert [limiter.allow(t) for t in (0, 1, 9.9, 10, 10.5, 11)] == [True, True, False, True, False, True]
    refused = make(1, 5)
    assert [refused.allow(t) for t in (0, 3, 4, 5)] == [True, False, False, True]
    assert make(0, 5).allow(1) is False
    steady = make(3, 1)
    for t in range(1000):
        assert steady.allow(t)
    assert len(steady._times) <= 3


def test_flatten_without_recursion():
    recursive = run_python(given("flatten_without_recursion"))["flatten"]
    iterative = run_python(answer("flatten_without_recursion"))["flatten"]
    for data in ([], [1, 2], [[], [[]]], [1, [2, [3, "ab"], []], (4, [5])], [[[1]], 2, [[3], 4]]):
        assert iterative(data) == recursive(data)
    deep = [0]
    for n in range(1, 5000):
        deep = [deep, n]
    with pytest.raises(RecursionError):
        recursive(deep)
    assert iterative(deep) == list(range(5000))


def test_count_code_lines_expression():
    expression = answer("count_code_lines_expression")

    def count(text):
        return eval(expression, {"text": text})

    assert count("") == 0
    assert count("import os\n\n# note\n   # indented note\n \t\nx = 1  # kept\n") == 2
    assert count("a\nb\nc") == 3


# ---------------------------------------------------------------- SQL


def test_sql_delete_duplicate_subscribers():
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE subscribers (id INTEGER, email TEXT)")
    db.executemany(
        "INSERT INTO subscribers VALUES (?, ?)",
        [(5, "ANN@x.org"), (2, "ann@x.org"), (9, "Ann@X.org"), (3, "bo@x.org"), (4, "cy@x.org"), (7, "CY@x.org")],
    )
    db.execute(answer("sql_delete_duplicate_subscribers"))
    assert db.execute("SELECT id, email FROM subscribers ORDER BY id").fetchall() == [
        (2, "ann@x.org"),
        (3, "bo@x.org"),
        (4, "cy@x.org"),
    ]


def test_sql_aggregate_in_where():
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE employees (name TEXT, department TEXT, salary REAL)")
    db.executemany(
        "INSERT INTO employees VALUES (?, ?, ?)",
        [("a", "Sales", 40000), ("b", "Sales", 70000), ("c", "Law", 90000), ("d", "Post", 50000), ("e", "Post", 50000)],
    )
    with pytest.raises(sqlite3.OperationalError, match="aggregate"):
        db.execute(given("sql_aggregate_in_where"))
    assert db.execute(answer("sql_aggregate_in_where")).fetchall() == [("Law", 90000), ("Sales", 55000)]


@pytest.mark.skipif(sqlite3.sqlite_version_info < (3, 25), reason="SQLite without window functions")
def test_sql_rank_sellers_by_region():
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE sales (region TEXT, seller TEXT, amount INTEGER)")
    db.executemany(
        "INSERT INTO sales VALUES (?, ?, ?)",
        [
            ("North", "Zoe", 30),
            ("North", "Zoe", 20),
            ("North", "Abe", 50),
            ("North", "Kit", 10),
            ("South", "Lou", 5),
            ("South", "Abe", 7),
        ],
    )
    cursor = db.execute(answer("sql_rank_sellers_by_region"))
    assert [c[0] for c in cursor.description] == ["region", "seller", "total", "place"]
    assert cursor.fetchall() == [
        ("North", "Abe", 50, 1),
        ("North", "Zoe", 50, 1),
        ("North", "Kit", 10, 3),
        ("South", "Abe", 7, 1),
        ("South", "Lou", 5, 2),
    ]


# ---------------------------------------------------------------- Shell


def bash(script, *args, cwd, stdin="", env=None):
    environment = {k: v for k, v in os.environ.items() if k != "BUILD_DIR"}
    environment.update(env or {})
    return subprocess.run(
        ["bash", "-c", script, "deploy.sh", *args],
        cwd=cwd,
        input=stdin,
        env=environment,
        capture_output=True,
        text=True,
        timeout=20,
    )


@needs_bash
def test_shell_top_client_addresses(tmp_path):
    counts = {"10.0.0.1": 3, "10.0.0.2": 12, "10.0.0.3": 1, "10.0.0.4": 7, "10.0.0.5": 5, "10.0.0.6": 2}
    lines = [f'{address} - - [x] "GET / HTTP/1.1" 200 {n}' for address, times in counts.items() for n in range(times)]
    done = bash(answer("shell_top_client_addresses"), cwd=tmp_path, stdin="\n".join(reversed(lines)) + "\n")
    assert done.returncode == 0
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["12", "10.0.0.2"],
        ["7", "10.0.0.4"],
        ["5", "10.0.0.5"],
        ["3", "10.0.0.1"],
        ["2", "10.0.0.6"],
    ]


@needs_bash
def test_bash_rename_txt_to_md(tmp_path):
    script = answer("bash_rename_txt_to_md")
    empty = bash(script, cwd=tmp_path)
    assert (empty.returncode, empty.stdout, empty.stderr) == (0, "", "")
    for name in ("plain.txt", "two words.txt", "-dash.txt", "taken.txt", "taken.md", "other.csv"):
        (tmp_path / name).write_text(name)
    assert bash(script, cwd=tmp_path).returncode == 0
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        "plain.md": "plain.txt",
        "two words.md": "two words.txt",
        "-dash.md": "-dash.txt",
        "taken.txt": "taken.txt",
        "taken.md": "taken.md",
        "other.csv": "other.csv",
    }


@needs_bash
def test_bash_harden_deploy_script(tmp_path):
    script = answer("bash_harden_deploy_script")
    build, source = tmp_path / "build dir", tmp_path / "new site"
    for folder in (build, source, build / "inner"):
        folder.mkdir()
    (build / "old.html").write_text("old")
    (source / "index page.html").write_text("new")

    def listing():
        return sorted(p.name for p in build.iterdir())

    kept = ["inner", "old.html"]
    assert bash(script, "new site", cwd=tmp_path).returncode != 0
    assert bash(script, "new site", cwd=tmp_path, env={"BUILD_DIR": ""}).returncode != 0
    env = {"BUILD_DIR": str(build)}
    for arguments in ([], ["missing"], ["build dir"], ["build dir/inner"]):
        done = bash(script, *arguments, cwd=tmp_path, env=env)
        assert done.returncode != 0 and done.stderr and listing() == kept
    assert bash(script, "new site", cwd=tmp_path, env={"BUILD_DIR": str(tmp_path / "none")}).returncode != 0
    assert (source / "index page.html").exists() and listing() == kept
    done = bash(script, "new site", cwd=tmp_path, env=env)
    assert (done.returncode, done.stdout) == (0, "deployed\n")
    assert listing() == ["index page.html"]


# ---------------------------------------------------------------- JavaScript


def node(script):
    done = subprocess.run(["node", "-e", script], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_node
def test_js_promise_chain_to_async():
    check = """
;(async () => {
  const ok = { getUser: async (id) => ({ id: id * 2, name: "Ida" }), getPosts: async (id) => Array(id).fill(0) };
  const noUser = { getUser: () => Promise.reject(new Error("no user")) };
  const noPosts = { getUser: ok.getUser, getPosts: () => Promise.reject(new Error("no posts")) };
  console.log(JSON.stringify([await loadProfile(ok, 3), await loadProfile(noUser, 1), await loadProfile(noPosts, 1)]));
})();
"""
    expected = [
        {"name": "Ida", "postCount": 6},
        {"name": None, "postCount": 0, "error": "no user"},
        {"name": None, "postCount": 0, "error": "no posts"},
    ]
    new = answer("js_promise_chain_to_async")
    assert ".then" not in new and "await" in new
    assert node(given("js_promise_chain_to_async") + check) == expected
    assert node(new + check) == expected


@needs_node
def test_js_numeric_sort_surprise():
    text = answer("js_numeric_sort_surprise")
    call = "[10, 9, 1].sort((a, b) => a - b)"
    assert call in text.splitlines() and "That gives [1, 9, 10]" in text
    copy = re.search(r"`(\[\.\.\.numbers\][^`]*)`", text).group(1)
    result = node(
        f"const numbers = [3, 20, 1]; const sorted = {copy};"
        f"console.log(JSON.stringify([[10, 9, 1].sort(), {call}, sorted, numbers]))"
    )
    assert result == [[1, 10, 9], [1, 9, 10], [1, 3, 20], [3, 20, 1]]


# ---------------------------------------------------------------- Regular expressions


def test_regex_24_hour_time():
    pattern = re.compile(answer("regex_24_hour_time"))
    good = {f"{h:02}:{m:02}" for h in range(24) for m in range(60)}
    for h in range(100):
        for m in range(100):
            text = f"{h:02}:{m:02}"
            assert bool(pattern.search(text)) == (text in good)
    for text in ("", "7:30", "07:3", "07:30:00", " 07:30", "07.30", "at 07:30", "0730"):
        assert not pattern.search(text)


def test_regex_username_breakdown():
    pattern = re.search(r"`(.+?)`", instruction("regex_username_breakdown")).group(1)
    pieces = re.findall(r"^- `(.+?)` ", answer("regex_username_breakdown"), re.M)
    assert "".join(pieces) == pattern
    matcher = re.compile(pattern)
    for text in ("abc", "a-b", "7up", "a" * 30, "a-b-c"):
        assert matcher.search(text)
    for text in ("", "ab", "a" * 31, "-ab", "ab-", "a--b", "Abc", "a_b"):
        assert not matcher.search(text)


# ---------------------------------------------------------------- C and Java


@needs_gcc
def test_c_repair_string_join(tmp_path):
    main = r"""
#include <stdio.h>
int main(void) {
    const char *p[][2] = {{"", ""}, {"a", ""}, {"", "b"}, {"left ", "right"}};
    for (int i = 0; i < 4; i++) {
        char *s = join(p[i][0], p[i][1]);
        printf("[%s]\n", s);
        free(s);
    }
    return 0;
}
"""
    source, binary = tmp_path / "join.c", tmp_path / "join"
    compile_command = ["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", str(source), "-o", str(binary)]
    sanitizer = ["-g", "-fsanitize=address"]
    source.write_text("int main(void) { return 0; }\n")
    has_sanitizer = (
        subprocess.run(compile_command + sanitizer, capture_output=True, timeout=30).returncode == 0
        and subprocess.run([str(binary)], capture_output=True, timeout=20).returncode == 0
    )
    extra = sanitizer if has_sanitizer else []
    source.write_text(answer("c_repair_string_join") + "\n" + main)
    subprocess.run(compile_command + extra, check=True, capture_output=True, timeout=30)
    done = subprocess.run([str(binary)], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n[a]\n[b]\n[left right]\n"
    if has_sanitizer:
        source.write_text(given("c_repair_string_join") + "\n" + main)
        subprocess.run(compile_command + extra, check=True, capture_output=True, timeout=30)
        broken = subprocess.run([str(binary)], capture_output=True, text=True, timeout=20)
        assert broken.returncode != 0 and "heap-buffer-overflow" in broken.stderr


@needs_java
def test_java_integer_cache(tmp_path):
    source = tmp_path / "Main.java"
    source.write_text(given("java_integer_cache"))
    done = subprocess.run(
        ["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", str(source)], capture_output=True, text=True, timeout=60
    )
    if done.returncode and "Main.java" in done.stderr and "ClassNotFound" in done.stderr:
        pytest.skip("this java cannot run a source file directly")
    assert done.stdout.split() == ["true", "false"]
    assert answer("java_integer_cache").startswith("It prints true and then false.")
