"""PID 1 of the container: it starts the command, passes signals on, reaps what nobody else does, and goes last.

Going last is why it is not one of the usual small inits. When PID 1 ends, the kernel kills every process of the
container. The usual ones end with their child; so the death of the supervisor alone would be that of the whole host,
and what its workers had in hand would be done again elsewhere. The workers of a dead supervisor finish their record,
commit and release within two seconds; here they get the time. Besides, the usual ones keep TTIN and TTOU to
themselves, which a supervisor obeys.
"""

import os
import signal
import sys
import time

#: Seconds for what is left when the command has ended.
PATIENCE = 4.0

#: Those that nobody can wait for, and those that a fault of our own raises.
NOT_PASSED_ON = {
    signal.SIGKILL, signal.SIGSTOP, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT,
    signal.SIGTRAP, signal.SIGSYS,
}  # fmt: skip
#: What Python ignores, and a program expects not to be ignored.
IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


def main(command: list[str]) -> int:
    """Run the command; return its exit code, as a shell tells it."""
    waited_for = signal.valid_signals() - NOT_PASSED_ON
    signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
    # In a process group of its own, or Ctrl-C in a terminal would reach it twice.
    child = os.posix_spawnp(command[0], command, os.environ, setpgroup=0, setsigmask=(), setsigdef=IGNORED_BY_PYTHON)
    if os.isatty(0):
        os.tcsetpgrp(0, child)
    code = None
    until = float("inf")
    while time.monotonic() < until:
        got = signal.sigtimedwait(waited_for, min(PATIENCE, until - time.monotonic()))
        if got is not None and got.si_signo != signal.SIGCHLD and code is None:
            os.kill(child, got.si_signo)
        ended, left = reap()
        if child in ended:
            code = ended[child]
            until = time.monotonic() + PATIENCE
        if not left:
            break
    return 1 if code is None else code if code >= 0 else 128 - code


def reap() -> tuple[dict[int, int], bool]:
    """The exit code of each child that has ended, and whether any is left."""
    ended = {}
    try:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return ended, True
            ended[pid] = os.waitstatus_to_exitcode(status)
    except ChildProcessError:
        return ended, False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
