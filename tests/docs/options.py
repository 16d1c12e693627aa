"""Write the table of app options into the README, from the table that the collection itself checks apps with.

Run it from the root of a clone; the unit tests fail while the README says something else.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / ".collections"))

from ansible_collections.paddock.fastapi.plugins.module_utils._settings import OPTIONS, Option

README = ROOT / "README.md"
BEGIN, END = "<!-- options: begin -->", "<!-- options: end -->"


def rows(table: Mapping[str, Option], prefix: str = "") -> Iterator[str]:
    """Return a line of the table for each option."""
    for name, option in table.items():
        if option.kind == "options":
            yield from rows(option.options, f"{prefix}{name}.")
            continue
        if option.kind == "table":
            shared = ", ".join(f"`{each}`" for each in option.options if each in table)
            yield f"| `{prefix}{name}` | {option.text} Under each: {shared}, and |  |"
            own = {each: option.options[each] for each in option.options if each not in table}
            yield from rows(own, f"{prefix}{name}.*.")
            continue
        default = "" if option.default in (None, {}, []) else f"`{option.default}`"
        default = "**required**" if option.required else default.replace("False", "false").replace("True", "true")
        yield f"| `{prefix}{name}` | {option.text} | {default} |"


def table() -> str:
    """Return the whole block, markers included."""
    return "\n".join([BEGIN, "", "| option | what it says | default |", "| --- | --- | --- |", *rows(OPTIONS), "", END])


def written(text: str) -> str:
    """Return the block that a text has."""
    return text[text.index(BEGIN) : text.index(END) + len(END)]


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    README.write_text(text.replace(written(text), table()), encoding="utf-8")
