"""Options whose value is a secret: it may live elsewhere, and is never empty."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import click
from click.core import ParameterSource

from partition_supervisor.admin.settings import resolved
from partition_supervisor.commands.settings import file_of, key_of
from partition_workers.errors import Misconfigured


class SecretOption(click.Option):
    """From a flag or its own variable, `file:/path` and `env:NAME` are looked up, as all values of the file are.

    What etcdctl's variables hold is taken as etcdctl takes it. A secret that is given and empty is refused: it was
    to guard something.
    """

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Also an empty one, which click takes for none."""
        own = os.environ.get(self._variables[0])
        return super().resolve_envvar_value(ctx) if own is None else own

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> tuple[Any, ParameterSource]:
        value, source = super().consume_value(ctx, opts)
        if not isinstance(value, str) or source is ParameterSource.DEFAULT:
            return value, source
        where = self._where(ctx, source)
        if source is not ParameterSource.DEFAULT_MAP and where not in self._variables[1:]:
            if value.startswith("file:") and not value.startswith("file:/"):
                raise Misconfigured(f"{where}: {value}: write the path from the root on, as in file:/run/secrets/it")
            value = resolved(where, value)
        if not value.strip():
            raise Misconfigured(f"{where} is empty: give what belongs there, or leave it out")
        return value, source

    @property
    def _variables(self) -> list[str]:
        return [self.envvar] if isinstance(self.envvar, str) else list(self.envvar or ())

    def _where(self, ctx: click.Context, source: ParameterSource) -> str:
        """For a message."""
        if source is ParameterSource.ENVIRONMENT:
            return next(name for name in self._variables if name in os.environ)
        found = file_of(ctx) if source is ParameterSource.DEFAULT_MAP else None
        return f"{found.path}: {key_of(self)}" if found else max(self.opts, key=len)
