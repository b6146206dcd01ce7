"""Text of handlers that a deployment brings: good ones, and those that cannot be imported."""

from __future__ import annotations

GOOD = "from partition_supervisor.dev.demo.checking import check as handle\n"
RAISES = "raise RuntimeError('this code is broken')\n"
ENDS = "import os\nos._exit(7)\n"
HANGS = "import time\ntime.sleep(600)\n"
BROKEN = {"raises": RAISES, "ends the process": ENDS, "hangs": HANGS}
