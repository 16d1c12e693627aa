"""What this collection is made of, in numbers that other collections can be compared by.

Run by `make metrics`; prints a Markdown table. With `--coverage LEAST` it prints only how much of the plugins the unit
tests have run, and fails if that is less.
"""

import argparse
import ast
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
# What `make unit-all` measured last.
COVERAGE = ROOT / ".cache/coverage/plugins.json"
SHELLS = {f"ansible.builtin.{name}" for name in ("shell", "command", "raw", "script", "expect")}
EDITORS = {f"ansible.builtin.{name}" for name in ("lineinfile", "replace", "blockinfile")}
BLOCKS = ("block", "rescue", "always")
# What is said beside a module and is none.
KEYWORDS = set(
    """name when loop loop_control register vars tags become no_log notify listen run_once delegate_to ignore_errors
    check_mode diff ignore_unreachable
    changed_when failed_when until retries delay environment any_errors_fatal throttle""".split()
)


@dataclass(frozen=True)
class Task:
    """A task, a block's own included."""

    file: Path
    name: str | None
    modules: tuple[str, ...]


def tracked(*patterns: str) -> list[Path]:
    """Return the files that git knows, or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    shown = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in shown.splitlines() if (ROOT / name).is_file() and not (ROOT / name).is_symlink()]


def tasks_of(file: Path, entries: list[dict[str, Any]]) -> Iterator[Task]:
    """Return all tasks of a list, those in blocks too."""
    for entry in entries:
        inner = [key for key in BLOCKS if key in entry]
        if inner:
            yield Task(file, entry.get("name"), ())
            for key in inner:
                yield from tasks_of(file, entry[key])
        else:
            yield Task(file, entry.get("name"), tuple(key for key in entry if key not in KEYWORDS))


def all_tasks() -> list[Task]:
    """Return all tasks that ship."""
    found: list[Task] = []
    for file in tracked("roles/*/tasks/*.yml", "roles/*/handlers/*.yml"):
        found += tasks_of(file, yaml.safe_load(file.read_text(encoding="utf-8")) or [])
    for file in tracked(":(glob)playbooks/*.yml"):
        for play in yaml.safe_load(file.read_text(encoding="utf-8")):
            for key in ("pre_tasks", "tasks", "post_tasks", "handlers"):
                found += tasks_of(file, play.get(key, []))
    return found


def options_of(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return all options of an entry point, those within others too."""
    for option in (spec.get("options") or {}).values():
        yield option
        yield from options_of(option)


def role_options() -> tuple[list[dict[str, Any]], int, int]:
    """Return the options of all roles, how many there are at the top, and how many differ from the defaults."""
    found: list[dict[str, Any]] = []
    top = drift = 0
    for file in tracked("roles/*/meta/argument_specs.yml"):
        specs = yaml.safe_load(file.read_text(encoding="utf-8"))["argument_specs"]
        defaults = (file.parents[1] / "defaults/main.yml").read_text(encoding="utf-8")
        # One that has a computed default is only described there, as a comment.
        have = {*yaml.safe_load(defaults)} | set(re.findall(r"(?m)^# ([a-z_]+): ", defaults))
        named: set[str] = set()
        for spec in specs.values():
            found += options_of(spec)
            named |= {name for name, option in (spec.get("options") or {}).items() if not option.get("required")}
        top += len(named)
        drift += len(named ^ have)
    return found, top, drift


def functions() -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return all functions of the plugins."""
    return [
        node
        for file in tracked("plugins/*.py", "roles/*/files/*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def is_typed(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Tell whether a function says what it takes and returns."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    rest = [each for each in (function.args.vararg, function.args.kwarg) if each]
    plain = [each for each in [*arguments, *rest] if each.arg not in {"self", "cls"}]
    return function.returns is not None and all(each.annotation for each in plain)


def lines_with(pattern: str, files: list[Path]) -> int:
    """Count the lines that match."""
    found = re.compile(pattern)
    return sum(bool(found.search(line)) for file in files for line in file.read_text(encoding="utf-8").splitlines())


def share(count: int, of: int) -> str:
    """Tell a part in percent."""
    return f"{100 * count / of:.0f} %" if of else "none"


def covered() -> tuple[float, float] | None:
    """Return how much of the plugins was run when that was measured last, in percent: branches, and statements."""
    if not COVERAGE.is_file():
        return None
    totals = json.loads(COVERAGE.read_text(encoding="utf-8"))["totals"]
    pairs = (("covered_branches", "num_branches"), ("covered_lines", "num_statements"))
    branches, statements = (100 * totals[done] / totals[of] for done, of in pairs)
    return branches, statements


def coverage_of_plugins() -> str:
    """Tell it as a line."""
    found = covered()
    # Cut, not rounded: 89.96 is not 90.
    return "{:.1f} %, {:.1f} %".format(*(int(10 * each) / 10 for each in found)) if found else "not measured yet"


def rows() -> Iterator[tuple[str, str]]:
    """Return what is counted, and how much it is."""
    tasks = all_tasks()
    used = [module for task in tasks for module in task.modules]
    by_role: dict[str, int] = {}
    by_file: dict[Path, int] = {}
    for task in tasks:
        by_file[task.file] = by_file.get(task.file, 0) + 1
        if "roles" in task.file.parts:
            role = task.file.relative_to(ROOT / "roles").parts[0]
            by_role[role] = by_role.get(role, 0) + 1
    yaml_files = tracked("roles/*.yml", "playbooks/*.yml")
    options, top, drift = role_options()
    plugins = functions()
    lengths = [(node.end_lineno or node.lineno) - node.lineno + 1 for node in plugins]
    templates = [file for file in tracked("roles/*.j2") if not file.name.startswith("_")]
    headed = [file for file in templates if "ansible_managed" in file.read_text(encoding="utf-8")]
    skips = lines_with("skip_list|warn_list", tracked(".config/ansible-lint.yml")) + lines_with("# noqa", yaml_files)
    yield "roles", str(len(by_role))
    yield "tasks, handlers and those of playbooks included", str(len(tasks))
    yield "tasks per role, median and most", f"{statistics.median(by_role.values()):g}, {max(by_role.values())}"
    yield "tasks per file, median and most", f"{statistics.median(by_file.values()):g}, {max(by_file.values())}"
    yield "named tasks", share(sum(bool(task.name) for task in tasks), len(tasks))
    yield "modules by their full names", share(sum(name.count(".") == 2 for name in used), len(used))
    yield "tasks that run a shell or a command", str(sum(name in SHELLS for name in used))
    yield "tasks that edit lines of a file", str(sum(name in EDITORS for name in used))
    yield "`ignore_errors`", str(lines_with(r"^\s*ignore_errors:", yaml_files))
    yield "lint skips", str(skips)
    yield "variables of roles", str(top)
    yield "options in argument specs", str(len(options))
    yield (
        "of them typed, and described",
        (
            f"{share(sum('type' in each for each in options), len(options))}, "
            f"{share(sum('description' in each for each in options), len(options))}"
        ),
    )
    yield "drift between specs and defaults", str(drift)
    yield "templates with the header that says who wrote the file", f"{len(headed)} of {len(templates)}"
    yield "functions of plugins", str(len(plugins))
    yield "of them typed", share(sum(map(is_typed, plugins)), len(plugins))
    yield "their lines, median and most", f"{statistics.median(lengths):g}, {max(lengths)}"
    yield "branches and statements of plugins that unit tests run", coverage_of_plugins()
    yield "files of unit tests", str(len(tracked("tests/unit/*test_*.py", "bench/tests/*test_*.py")))
    yield "Molecule scenarios", str(len(tracked("molecule/*/molecule.yml")))
    sizes = [len(file.read_text(encoding="utf-8").splitlines()) for file in tracked("molecule/*/molecule.yml")]
    yield "lines of a scenario's `molecule.yml`, median", f"{statistics.median(sizes):g}"


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--coverage", type=float, metavar="LEAST")
    least = parser.parse_args().coverage
    if least is not None:
        print(f"coverage of plugins, branches and statements: {coverage_of_plugins()}")  # noqa: T201
        found = covered()
        sys.exit(f"at least {least:g} % of branches are wanted" if not found or found[0] < least else 0)
    print("| | |\n| --- | --- |")  # noqa: T201
    for name, value in rows():
        print(f"| {name} | {value} |")  # noqa: T201


if __name__ == "__main__":
    main()
