"""Write the tables of options into the READMEs, from what the collection itself checks these options with.

The README's come from the table of `_settings.py`, a role's from its `meta/argument_specs.yml`. With `--check` nothing
is written: it fails and names the READMEs that say something else, as a unit test sees to.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / ".collections"))

from ansible_collections.paddock.fastapi.plugins.module_utils._settings import OPTIONS, Option

BEGIN, END = "<!-- options: begin -->", "<!-- options: end -->"


def shown(default: Any) -> str:
    """Return a default as the inventory would have it, or nothing if it is empty."""
    if default in (None, "", {}, []):
        return ""
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def of_apps(table: Mapping[str, Option], prefix: str = "") -> Iterator[str]:
    """Return a line for each option of an app."""
    for name, option in table.items():
        if option.kind == "options":
            yield from of_apps(option.options, f"{prefix}{name}.")
            continue
        if option.kind == "table":
            shared = ", ".join(f"`{each}`" for each in option.options if each in table)
            yield f"| `{prefix}{name}` | {option.text} Under each: {shared}, and |  |"
            own = {each: option.options[each] for each in option.options if each not in table}
            yield from of_apps(own, f"{prefix}{name}.*.")
            continue
        default = "**required**" if option.required else shown(option.default)
        yield f"| `{prefix}{name}` | {option.text} | {default} |"


def plain(description: str | list[str]) -> str:
    """Return a description with Markdown's markup instead of Ansible's, as far as options need that."""
    text = description if isinstance(description, str) else " ".join(description)
    text = re.sub(r"\bP\(paddock\.fastapi\.(\w+)#role\)", r"`\1`", text)
    text = re.sub(r"\b[CMV]\(([^()]+)\)", r"`\1`", text)
    if unknown := re.search(r"\b[A-Z]+\(.*", text):
        raise ValueError(unknown[0])
    return text


def of_role(specs: Mapping[str, Any]) -> Iterator[str]:
    """Return a line for each variable of a role: once, although several of its entry points may have it."""
    seen: set[str] = set()
    for entry, spec in specs.items():
        for name, option in spec["options"].items():
            if name not in seen:
                seen.add(name)
                where = "" if entry == "main" else f"Entry point `{entry}`: "
                yield f"| `{name}` | {where}{plain(option['description'])} | {shown(option.get('default'))} |"


def blocks() -> Iterator[tuple[Path, str]]:
    """Return each README with the block that it should have, markers included."""
    tables = {ROOT / "README.md": of_apps(OPTIONS)}
    for file in sorted(ROOT.glob("roles/*/meta/argument_specs.yml")):
        specs = yaml.safe_load(file.read_text(encoding="utf-8"))["argument_specs"]
        tables[file.parents[1] / "README.md"] = of_role(specs)
    for readme, rows in tables.items():
        lines = [BEGIN, "", "| option | what it says | default |", "| --- | --- | --- |", *rows, "", END]
        yield readme, "\n".join(lines)


def main() -> None:
    """Write them, or tell where they differ."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    differ: list[str] = []
    for readme, block in blocks():
        text = readme.read_text(encoding="utf-8")
        written = text[text.index(BEGIN) : text.index(END) + len(END)]
        if check and written != block:
            differ.append(str(readme.relative_to(ROOT)))
        elif written != block:
            readme.write_text(text.replace(written, block), encoding="utf-8")
    sys.exit(f"run `python tests/docs/options.py`, for {', '.join(differ)}" if differ else 0)


if __name__ == "__main__":
    main()
