"""What is renewed while we run: certificates in place, passwords in a file. On a real etcd of our own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from partition_workers.errors import Denied, Misconfigured, Retry
from partition_workers.etcd.client import Etcd
from partition_workers.etcd.options import EtcdOptions
from tests.contract.calls import put
from tests.eventually import eventually
from tests.own_etcd import OwnEtcd


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def make_certificates(folder: Path) -> None:
    """An authority of its own, and one certificate of it that serves both sides."""
    folder.mkdir()
    ca, key, request = folder / "ca.pem", folder / "key.pem", folder / "request.pem"
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={folder.name}", "-days", 2,
            "-keyout", folder / "ca.key", "-out", ca)  # fmt: skip
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-keyout", key, "-out", request)
    (folder / "san").write_text("subjectAltName=IP:127.0.0.1")
    openssl("x509", "-req", "-in", request, "-CA", ca, "-CAkey", folder / "ca.key", "-CAcreateserial", "-days", 2,
            "-extfile", folder / "san", "-out", folder / "cert.pem")  # fmt: skip


def is_answered(etcd: Etcd) -> bool:
    try:
        put(etcd, "/a", b"1")
    except Retry:
        return False
    return True


@pytest.mark.timeout(90)
def test_certificates_renewed_in_place(tmp_path: Path) -> None:
    """By files that are replaced, and by a link that leads to others, as in Kubernetes; no process is restarted."""
    for name in ("first", "second", "third"):
        make_certificates(tmp_path / name)
    now = tmp_path / "now"
    shutil.copytree(tmp_path / "first", now)
    tls = (
        f"--trusted-ca-file={now}/ca.pem --cert-file={now}/cert.pem --key-file={now}/key.pem --client-cert-auth=true"
    )
    with OwnEtcd(tmp_path / "etcd", *tls.split(), scheme="https") as server:
        paths = {"ca_cert": f"{now}/ca.pem", "cert": f"{now}/cert.pem", "key": f"{now}/key.pem"}
        etcd = Etcd(EtcdOptions((f"https://{server.address}",), **paths))  # type: ignore[arg-type]
        try:
            eventually("it answers", lambda: is_answered(etcd), deadline=20.0)
            server.stop()
            for each in (tmp_path / "second").iterdir():
                shutil.copy(each, now)
            server.start()
            eventually("it answers with the second ones", lambda: is_answered(etcd), deadline=20.0)
            server.stop()
            shutil.rmtree(now)
            (now).symlink_to(tmp_path / "third")
            server.start()
            eventually("it answers with the third ones", lambda: is_answered(etcd), deadline=20.0)
        finally:
            etcd.close()


@pytest.mark.timeout(90)
def test_a_password_in_a_file(tmp_path: Path) -> None:
    """It is wrong for a while: denied, not refused for good."""
    password = tmp_path / "password"
    password.write_text("first\n")
    with OwnEtcd(tmp_path / "etcd") as server:
        for command in ("user add root:first", "role add root", "user grant-role root root", "auth enable"):
            server.ctl(*command.split())
        etcd = Etcd(EtcdOptions((server.address,), user="root", password_file=str(password)))
        try:
            put(etcd, "/a", b"1")
            server.ctl("user", "passwd", "root", "--interactive=false", user="root:first", types="second\n")
            server.stop()
            server.start()
            with pytest.raises(Denied):
                eventually("it is denied", lambda: put(etcd, "/a", b"2"))
            password.write_text("second\n")
            eventually("it is let in", lambda: is_answered(etcd))
            server.ctl("auth", "disable", user="root:second")
            eventually("nobody is asked for a name", lambda: is_answered(etcd))
        finally:
            etcd.close()


def test_a_password_file_that_is_not_there(tmp_path: Path) -> None:
    """One clear error at the start."""
    with pytest.raises(Misconfigured, match="password file"):
        EtcdOptions(("a:1",), user="u", password_file=str(tmp_path / "none"))
