"""What an error means while the process is ending already: nothing, for it may be what came of that."""

from __future__ import annotations

from unittest import mock

import pytest

from partition_supervisor import termination as module
from partition_supervisor.assembly import supervise
from partition_supervisor.termination import Termination
from partition_workers.errors import Misconfigured


class Stayed(Exception):
    """In place of staying until the end."""


@pytest.mark.parametrize("is_ending", [True, False])
def test_what_cannot_start_is_said_unless_a_signal_has_begun_to_end_it(is_ending: bool) -> None:
    """The fork server is killed on the way out, and that looks like a handler that ends the process."""
    termination = Termination.__new__(Termination)  # it would take over the signals of this process
    termination._ending = is_ending
    fork_server = mock.Mock()
    fork_server.start.side_effect = Misconfigured("importing it ends the process")
    with (
        mock.patch.object(module, "_stay", side_effect=Stayed),
        pytest.raises(Stayed if is_ending else Misconfigured),
    ):
        supervise(mock.Mock(), fork_server, termination, mock.Mock())
