"""The command lines that README and docs/ show: which there are, and which of them a test runs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
}
PROGRAM = "partition-supervisor"

#: What the pages call, beside our own program.
PROGRAMS = {
    PROGRAM, "/opt/partition-supervisor/bin/pip", "cd", "curl", "docker", "etcdctl", "eval", "git", "groupadd",
    "install", "kill", "kubectl", "ln", "make", "pgrep", "pip", "pkill", "python3", "sed", "systemctl",
}  # fmt: skip

#: Lines that tests/system/test_documents_followed.py does not run, by how they begin, each with the reason.
NOT_RUN = {
    "cd /etc/partition-supervisor": "needs root, who made it",
    "cd docker": "it is for Docker",
    "docker ": "needs Docker: tests/system/test_compose.py runs the compose file where there is one",
    "etcdctl del ": "removes a group",
    "etcdctl role ": "changes the users of the etcd that all tests share",
    "etcdctl user ": "changes the users of the etcd that all tests share",
    "groupadd ": "needs root",
    "install -": "needs root, and systemd",
    "kill -9 PID": "the PID is to be filled in; many tests do so",
    "kubectl ": "needs Kubernetes",
    "ln -s /opt": "needs root; tests/system/test_package.py installs the wheel",
    "make ": "is about this checkout; that the target is there is tested",
    "partition-supervisor run app.py:handle --topic events --group orders": "has the addresses of others",
    "partition-supervisor run app.py:handle --topic events --output": "tests/system/test_outputs.py does so",
    "partition-supervisor services": "tests/system/test_services.py does so",
    "partition-supervisor ui": "tests/system/test_ui.py does so, at a free port",
    "/opt/partition-supervisor/bin/pip install": "needs root; tests/system/test_package.py installs the wheel",
    "pip install": "tests/system/test_package.py installs the wheel",
    "pkill ": "would end the owners of every group on this machine",
    "python3 -m venv /opt": "needs root; tests/system/test_package.py installs the wheel",
    "sed -i": "changes the unit that was installed",
    "systemctl ": "needs root, and systemd",
}


@dataclass(frozen=True, slots=True)
class Line:
    page: str
    text: str

    @property
    def not_run(self) -> str | None:
        """Why, or None if it is run."""
        return next((reason for begun, reason in NOT_RUN.items() if self.text.startswith(begun)), None)


def fenced(text: str) -> Iterator[str]:
    """The blocks that name no language, or a shell."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if language in ("", "sh", "bash", "console"):
            yield re.sub(r"\\\n\s*", "", block)


def lines() -> list[Line]:
    """Every line of a block that is a command, in the order of the pages. What a session prints is none."""
    found = []
    for page, text in PAGES.items():
        for block in fenced(text):
            written = block.splitlines()
            if any(each.startswith("$ ") for each in written):
                written = [each.removeprefix("$ ") for each in written if each.startswith("$ ")]
            found += [Line(page, each) for each in written if each.split(" ")[0] in PROGRAMS]
    return found


def options() -> list[Line]:
    """Every line of a block that shows options without a command."""
    return [
        Line(page, each)
        for page, text in PAGES.items()
        for block in fenced(text)
        for each in block.splitlines()
        if each.startswith("-")
    ]


def inline(text: str) -> list[str]:
    """What stands in backticks outside of blocks."""
    found: list[str] = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return found


def calls(line: str) -> Iterator[list[str]]:
    """The words of each call of our program in a line of a shell: behind `docker compose exec`, before a pipe."""
    line = re.sub(r'eval "\$\((.*)\)"', r"\1", line)
    splitter = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    splitter.whitespace_split = True
    words: list[str] | None = None
    for word in [*splitter, ";"]:
        if re.fullmatch(r"[|&;<>]+", word):
            if words is not None:
                yield words
            words = None
        elif words is not None:
            words.append(word)
        elif word == PROGRAM:
            words = []
