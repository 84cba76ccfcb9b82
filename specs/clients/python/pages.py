"""The documents of the repository, and the code blocks in them."""

from __future__ import annotations

import re
import subprocess
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
#: Written by `tidegate schema --markdown`, and tested beside it.
GENERATED = ROOT / "docs" / "reference.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"] + sorted(set(ROOT.glob("docs/*.md")) - {GENERATED})

FENCE = re.compile(r"^(?P<indent> *)```(?P<info>.*)\n(?P<text>(?:.*\n)*?)(?P=indent)```$", re.MULTILINE)


@dataclass
class Block:
    """A fenced code block: its language, the file that it is quoted from, and its text."""

    page: Path
    line: int
    language: str
    source: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path, *languages: str) -> list[Block]:
    """The blocks of a page in these languages, or in any."""
    text = page.read_text()
    found = []
    for fence in FENCE.finditer(text):
        language, _, source = fence["info"].partition(" ")
        if languages and language not in languages:
            continue
        line = text.count("\n", 0, fence.start()) + 1
        content = textwrap.dedent(fence["text"]) if fence["indent"] else fence["text"]
        found.append(Block(page, line, language, source, content))
    return found


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """What a link to a heading of the page may end with."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(block: Block) -> list[str]:
    """The commands of a shell block, each with the lines that it takes."""
    found: list[str] = []
    lines: list[str] = []
    for line in block.text.splitlines():
        lines.append(line)
        command = "\n".join(lines)
        check = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True)
        # A here-document without its end is no more than a warning.
        if check.returncode == 0 and not check.stderr and not line.endswith("\\"):
            found.append(command if len(lines) > 1 else re.sub(r"\s+#.*$", "", command).strip())
            lines = []
    assert not lines, f"{block}: this command does not end: {lines}"
    return [command for command in found if command]
