"""Options that several commands share. Each may also come from its variable PARTITION_SUPERVISOR_<OPTION>."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from partition_supervisor.admin.settings import VARIABLE_PREFIX, resolved
from partition_supervisor.bounds import Bounds
from partition_supervisor.commands.secret_option import SecretOption
from partition_workers.etcd.options import EtcdOptions, parse_endpoints

#: It has no flag: a command line can be read by others.
ETCD_PASSWORD = f"{VARIABLE_PREFIX}ETCD_PASSWORD"

F = TypeVar("F", bound=Callable[..., Any])

BOOTSTRAP_SERVERS = "127.0.0.1:9092"
ETCD_ENDPOINTS = "127.0.0.1:2379"


class Within(click.FloatRange):
    """The click type of a number that has bounds. For click's own, nan lies between any two."""

    def __init__(self, bounds: Bounds) -> None:
        super().__init__(bounds.least, bounds.most)
        self._bounds = bounds

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(click.FLOAT.convert(value, param, ctx))
        if complaint := self._bounds.complaint(number):
            self.fail(f"{value}: {complaint}", param, ctx)
        return number


def option(*names: str, **settings: Any) -> Callable[[F], F]:
    """A click option with an environment variable named after it, shown in --help, and so a key in files.

    `called`: another name for both, where the option of another command has this one and means something else.
    """
    long_name = next(name for name in names if name.startswith("--")).split("/")[0]
    called = settings.pop("called", long_name.removeprefix("--"))
    variable = VARIABLE_PREFIX + called.replace("-", "_").upper()
    envvar = [variable, *settings.pop("also", [])]
    return click.option(*names, envvar=envvar, show_envvar=True, **settings)


def kafka_options(command: F) -> F:
    command = option("-X", "--kafka-property", "properties", multiple=True, metavar="KEY=VALUE",
                     help="Any other librdkafka property, e.g. security.protocol=SASL_SSL. Repeatable.",
                     )(command)  # fmt: skip
    return option("-b", "--bootstrap-servers", default=BOOTSTRAP_SERVERS, show_default=True, metavar="HOST:PORT,...",
                  help="Kafka's brokers.")(command)  # fmt: skip


def etcd_options(command: F) -> F:
    """The variables of etcdctl serve as well: a shell in which etcdctl works is a shell in which this works."""
    for made in reversed((
        option("-e", "--etcd-endpoints", default=ETCD_ENDPOINTS, show_default=True, metavar="HOST:PORT,...",
               also=["ETCDCTL_ENDPOINTS"], help="All members of etcd."),
        option("--etcd-cacert", metavar="FILE", also=["ETCDCTL_CACERT"], help="The CA of etcd's certificate."),
        option("--etcd-cert", metavar="FILE", also=["ETCDCTL_CERT"], help="Our certificate for etcd."),
        option("--etcd-key", metavar="FILE", also=["ETCDCTL_KEY"], help="The key of that certificate."),
        option("--etcd-user", metavar="NAME[:PASSWORD]", also=["ETCDCTL_USER"], cls=SecretOption,
               help="Our user in etcd; the password may come from ETCDCTL_PASSWORD. file:/path or env:NAME: where"
               " they are."),
        option("--etcd-password-file", metavar="FILE",
               help="A file with that user's password, read for every login: it may be renewed in place."),
        option("--etcd-timeout", type=Within(Bounds(0.1, 30.0)), default=1.0, show_default=True,
               metavar="SECONDS", help="How long a member of etcd may take for an answer before the next is asked."),
        option("--etcd-prefix", default="partition-supervisor", show_default=True,
               help="The first part of every key in etcd."),
        option("-g", "--group", default="partition-supervisor", show_default=True,
               help="Supervisors of one group share their partitions, states and offsets."),
    )):  # fmt: skip
        command = made(command)
    return command


def etcd_from(values: dict[str, Any]) -> EtcdOptions:
    """Take the etcd options out of a command's values."""
    user = values.pop("etcd_user")
    password_file = values.pop("etcd_password_file")
    password: str | None
    if user and ":" in user:
        user, _, password = user.partition(":")
    else:
        password = _password_of_environment() if user and not password_file else None
    return EtcdOptions(
        parse_endpoints(values.pop("etcd_endpoints")),
        ca_cert=values.pop("etcd_cacert"),
        cert=values.pop("etcd_cert"),
        key=values.pop("etcd_key"),
        user=user or None,
        password=password,
        timeout=values.pop("etcd_timeout"),
        password_file=password_file if user else None,
    )


def _password_of_environment() -> str | None:
    """Ours may say where it is; etcdctl's is the password itself."""
    own = os.environ.get(ETCD_PASSWORD)
    return os.environ.get("ETCDCTL_PASSWORD") if own is None else resolved(ETCD_PASSWORD, own)
