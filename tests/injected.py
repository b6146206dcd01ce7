"""Faults that cannot be made from outside, put into a supervisor by a `sitecustomize` of the test's."""

from __future__ import annotations

import os
from pathlib import Path


def with_fault(folder: Path, body: str) -> dict[str, str]:
    """The environment of a supervisor with `body` put into it, where it is the supervisor that starts."""
    lines = "\n".join(f"    {line[8:]}" for line in body.splitlines())
    (folder / "sitecustomize.py").write_text(
        "import os, sys\n"
        f"def over(): return os.path.exists({str(folder / 'now')!r})\n"
        "if 'run' in sys.orig_argv and '-m' in sys.orig_argv:\n"
        f"{lines}\n"
    )
    paths = (str(folder), *filter(None, [os.environ.get("PYTHONPATH")]))
    return {"PYTHONPATH": os.pathsep.join(paths)}
