"""How long the page takes in a real browser: until it paints, until the group is painted, and until a change is.

`python -m tests.benchmarks page`, with playwright installed by hand (`pip install playwright`) and a Chromium of the
distribution. Screenshots go to the current folder, for eyes.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from partition_workers.errors import Misconfigured
from tests.benchmarks.recorded import Recorded
from tests.commands import environment

#: Milliseconds: what goes on longer is noticed.
GOAL = 200.0
UPDATES = 20
#: Name, width, height, and the colours that the system asks for.
SCREENS = (
    ("wide", 1280, 760, "light"),
    ("wide, dark", 1280, 760, "dark"),
    ("phone", 390, 844, "light"),
    ("phone, dark", 390, 844, "dark"),
)

#: Runs in the page before anything of its own: remembers when the group was first painted, and each token.
_WATCH = """
window.painted = null; window.tokens = {}; window.longest = 0;
new PerformanceObserver((list) => { for (const each of list.getEntries())
  window.longest = Math.max(window.longest, each.duration); }).observe({ type: "longtask", buffered: true });
new MutationObserver(() => {
  const cells = document.querySelectorAll("#grid .owner");
  if (!cells.length) return;
  if (window.painted === null) requestAnimationFrame(() => setTimeout(() => {
    if (window.painted === null) window.painted = performance.now(); }));
  const lit = [...document.querySelectorAll("#grid .lit")].map((each) => each.title + " " + each.textContent);
  if (lit.length) requestAnimationFrame(() => setTimeout(() => {
    for (const each of lit) window.tokens[each] ??= Date.now(); }));
}).observe(document, { childList: true, subtree: true });
"""

_FIRST = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


@dataclass(frozen=True, slots=True)
class Shown:
    """Milliseconds: from the navigation to the browser's first paint with anything in it, and to the group; from each
    write to its cell; and of the longest task."""

    screen: str
    first: float
    whole: float
    updates: tuple[float, ...]
    longest_task: float


def measured(group: Recorded, addresses: dict[str, str], say: Callable[[str], None]) -> Iterator[Shown]:
    """On each screen. Raises Misconfigured when there is no browser."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise Misconfigured("the page is measured with playwright: pip install playwright") from None
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    if browser_path is None:
        raise Misconfigured("the page is measured in Chromium, and there is none on the PATH")
    with _server(group, addresses) as url, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        moved = 0
        for name, width, height, scheme in SCREENS:
            context = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="no-preference"
            )
            tab = context.new_page()
            errors: list[str] = []
            tab.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
            tab.add_init_script(_WATCH)
            tab.goto(url)
            _until(tab, "window.painted !== null")
            first, whole = float(tab.evaluate(_FIRST)), float(tab.evaluate("window.painted"))
            updates = []
            for number in range(3, 3 + UPDATES):
                moved += 1
                updates.append(_update(tab, group, number, moved))
            path = Path(f"page-{name.replace(', ', '-')}.png")
            tab.screenshot(path=path)
            say(f"{name}: {path}{f', errors: {errors}' if errors else ''}")
            yield Shown(name, first, whole, tuple(updates), float(tab.evaluate("window.longest")))
            context.close()
        browser.close()


def _until(tab: Any, holds: str) -> None:
    """Asked from outside: the page's policy lets nothing be evaluated inside. Raises TimeoutError after 10 s."""
    until = time.monotonic() + 10.0
    while not tab.evaluate(holds):
        if time.monotonic() > until:
            raise TimeoutError(f"not within 10 s on the page: {holds}")
        time.sleep(0.02)


def _update(tab: Any, group: Recorded, number: int, moved: int) -> float:
    """From the moment before the write to the paint of the new owner's cell."""
    before = time.time() * 1000
    group.take_over(number, moved)
    mark = f"pid {10_000 + number} "
    found = f"Object.entries(window.tokens).filter(([name, at]) => name.startsWith('{mark}') && at >= {before})"
    _until(tab, f"{found}.length > 0")
    return float(tab.evaluate(f"Math.min(...{found}.map((each) => each[1]))")) - before


@contextmanager
def _server(group: Recorded, addresses: dict[str, str]) -> Iterator[str]:
    """The page's own process."""
    with subprocess.Popen(
        [sys.executable, "-m", "partition_supervisor", "ui", "--http", "127.0.0.1:0", "--group", group.group],
        stderr=subprocess.PIPE, text=True, env=environment(addresses),
    ) as process:  # fmt: skip
        try:
            assert process.stderr is not None
            yield process.stderr.readline().split()[0]
        finally:
            process.kill()


def table(found: list[Shown], say: Callable[[str], None]) -> None:
    say("| screen | first paint | the whole group | an update, median | longest | longest task |  |")
    say("| --- | ---: | ---: | ---: | ---: | ---: | --- |")
    for each in found:
        middle, longest = statistics.median(each.updates), max(each.updates)
        verdict = "" if max(each.first, middle) <= GOAL else f"**more than {GOAL:g} ms**"
        times = each.first, each.whole, middle, longest, each.longest_task
        say(f"| {each.screen} | {' | '.join(f'{time:.0f} ms' for time in times)} | {verdict} |")
