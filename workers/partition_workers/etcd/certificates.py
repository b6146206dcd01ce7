"""Certificates in files that are renewed in place, as cert-manager, certbot and kubelet do it."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import grpc

from partition_workers.errors import Misconfigured
from partition_workers.etcd.options import EtcdOptions

log = logging.getLogger(__name__)


class Certificates:
    """Reads them when made, which raises Misconfigured, and again whenever they have changed."""

    def __init__(self, options: EtcdOptions) -> None:
        self._paths = options.ca_cert, options.key, options.cert
        self._seen = self._signature()
        self._credentials = self._read()

    def have_changed(self) -> bool:
        """Whether there are others by now than those in `credentials()`."""
        return self._signature() != self._seen

    def credentials(self) -> Any:
        """gRPC's, of the files as they are now; of those before, while one cannot be read."""
        seen = self._signature()
        if seen != self._seen:
            try:
                self._credentials = self._read()
            except Misconfigured as error:  # half of them renewed: the next try is soon
                log.warning("%s; going on with the one before", error)
            else:
                self._seen = seen
        return self._credentials

    def _read(self) -> Any:
        root, key, chain = map(_content, self._paths)
        return grpc.ssl_channel_credentials(root_certificates=root, private_key=key, certificate_chain=chain)

    def _signature(self) -> tuple[object, ...]:
        return tuple(map(_identity, self._paths))


def _identity(path: str | None) -> object:
    """Another one for whatever replaced the file, were it by a symbolic link on the way to it."""
    if path is None:
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _content(path: str | None) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise Misconfigured(f"cannot read etcd's certificate file {path}: {error.strerror}") from None
