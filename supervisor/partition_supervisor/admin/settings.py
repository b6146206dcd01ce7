"""Settings from files: one TOML file for everything, Java properties for Kafka, and values that live elsewhere.

Pure but for reading what is named. Errors say which file, which key, and the nearest right one.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from partition_workers.errors import Misconfigured

FILE_NAME = "partition-supervisor.toml"
#: How the variable of every option begins, and the one that names the file.
VARIABLE_PREFIX = "PARTITION_SUPERVISOR_"
CONFIG_VARIABLE = f"{VARIABLE_PREFIX}CONFIG"
#: What stands for a secret wherever settings are shown.
MASK = "********"

_SECRET = re.compile(r"password|passwd|secret|token|jaas|credential|\.key$|key\.pem|keystore|private", re.IGNORECASE)
#: Java's properties that librdkafka does not have, with what it has instead.
_JAVA = {
    "sasl.jaas.config": "sasl.username and sasl.password",
    "ssl.truststore.location": "ssl.ca.location, a PEM file",
    "ssl.truststore.password": "ssl.ca.location, a PEM file",
    "ssl.truststore.type": "ssl.ca.location, a PEM file",
    "ssl.keystore.type": "ssl.keystore.location takes PKCS#12, ssl.certificate.location and ssl.key.location PEM",
    "key.deserializer": "nothing: a handler gets bytes",
    "value.deserializer": "nothing: a handler gets bytes",
    "key.serializer": "nothing: a handler gives bytes",
    "value.serializer": "nothing: a handler gives bytes",
}


@dataclass(frozen=True, slots=True)
class FileSettings:
    """What a TOML file says. `options`: as written, with dashes; `kafka`: librdkafka properties, values as text."""

    path: Path
    options: dict[str, Any] = field(default_factory=dict)
    kafka: dict[str, str] = field(default_factory=dict)


def find_file(named: str | None, environment: Mapping[str, str], folder: Path) -> Path | None:
    """The file to read: the one that is `named`, else the first that is there; none at all for /dev/null. Raises
    Misconfigured."""
    if named == os.devnull:
        return None
    if named:
        try:
            is_there = Path(named).is_file()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it cannot be the name of a file"
            raise Misconfigured(f"--config {named}: cannot be read: {reason}") from None
        if not is_there:
            raise Misconfigured(f"--config {named}: there is no such file")
        return Path(named)
    user = Path(environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME", "/")) / ".config")
    places = (folder / FILE_NAME, *(each / "partition-supervisor" / "config.toml" for each in (user, Path("/etc"))))
    return next((place for place in places if os.path.isfile(place)), None)  # what we may not look at is not there


def read_file(path: Path, known: Collection[str]) -> FileSettings:
    """`known`: the key of each setting of any command, as in `lease-ttl`.

    Keys may be written with dashes or underscores. Raises Misconfigured.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Misconfigured(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # besides TOML's own: no text, thousands of digits or of brackets
        raise Misconfigured(f"{path}: is not TOML: {error}") from None
    kafka = content.pop("kafka", {})
    if not isinstance(kafka, dict):
        raise Misconfigured(f"{path}: kafka must be a table of librdkafka properties: [kafka]")
    options = {}
    for key, value in content.items():
        written = key.replace("_", "-")
        if written not in known:
            raise Misconfigured(f"{path}: there is no setting {key!r}{nearest(written, known)}")
        if isinstance(value, dict):
            raise Misconfigured(f"{path}: {key} must be a value, not a table")
        _refuse_endless(f"{path}: {key}", value)
        options[written] = resolved(f"{path}: {key}", value) if isinstance(value, str) else value
    return FileSettings(path, options, dict(_properties(path, kafka)))


def _properties(path: Path, table: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """`security.protocol = "SSL"` is nested tables to TOML; to librdkafka it is one name."""
    for key, value in table.items():
        name = prefix + key
        if isinstance(value, dict):
            yield from _properties(path, value, f"{name}.")
        elif isinstance(value, bool):
            yield name, str(value).lower()
        elif isinstance(value, str | int | float):
            _refuse_endless(f"{path}: [kafka] {name}", value)
            yield name, _property(f"{path}: [kafka] {name}", name, str(value))
        else:
            raise Misconfigured(f"{path}: [kafka] {name} must be text, a number or true or false")


def _refuse_endless(where: str, value: Any) -> None:
    """TOML's integers have 64 bits; those that Python reads may have more digits than it would write."""
    if any(isinstance(each, int) and abs(each) >= 2**63 for each in (value if isinstance(value, list) else [value])):
        raise Misconfigured(f"{where} is a number of more than 64 bits")


def read_properties(path: Path) -> dict[str, str]:
    """A file of Java's properties, continued lines and escapes included. Raises Misconfigured."""
    import javaproperties  # brings a reader of XML along, which every other command would wait for

    try:
        found = javaproperties.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Misconfigured(f"-F {path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, javaproperties.InvalidUEscapeError) as error:
        raise Misconfigured(f"-F {path}: is no file of properties: {error}") from None
    for key in found:
        if key in _JAVA:
            raise Misconfigured(f"-F {path}: {key} is a property of Java's client. Here it is: {_JAVA[key]}")
    return {key: _property(f"-F {path}: {key}", key, value) for key, value in found.items()}


def read_pairs(pairs: Iterable[str]) -> dict[str, str]:
    """`KEY=VALUE` of -X. An error names the key alone: what is behind it may be half a password."""
    properties = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key.strip():
            shown = key.strip() if separator or re.fullmatch(r"[a-z0-9.]+", key.strip()) else MASK
            raise Misconfigured(f"-X {shown}: write it as KEY=VALUE")
        properties[key.strip()] = _property(f"-X {key.strip()}", key, value)
    return properties


def _property(where: str, name: str, value: str) -> str:
    if not (found := resolved(where, value)).strip() and _SECRET.search(name):
        raise Misconfigured(f"{where} is empty: give what belongs there, or leave it out")
    return found


def resolved(where: str, value: str) -> str:
    """`file:/path` is what the file holds, without the newline at its end; `env:NAME` a variable's value. Raises
    Misconfigured, also when there is nothing in it."""
    if value.startswith("file:/"):
        try:
            found = Path(value.removeprefix("file:")).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise Misconfigured(f"{where}: {value} cannot be read: {reason}") from None
    elif value.startswith("env:"):
        name = value.removeprefix("env:")
        if name not in os.environ:
            raise Misconfigured(f"{where}: there is no variable {name} in the environment")
        found = os.environ[name]
    else:
        return value
    if not found.strip():
        raise Misconfigured(f"{where}: {value} is empty: give what belongs there, or leave the setting out")
    return found


def nearest(written: str, known: Collection[str]) -> str:
    """`: did you mean ...?`, or nothing."""
    near = difflib.get_close_matches(written, known, n=1)
    return f": did you mean {near[0]!r}?" if near else f". There are: {', '.join(sorted(known))}"


def masked(name: str, value: str) -> str:
    """The value, unless its name says that it is a secret; of a user with a password, the user. Where the file with
    a password is may be seen."""
    if name in ("etcd-user", "etcd_user") and ":" in value:
        return f"{value.partition(':')[0]}:{MASK}"
    is_secret = _SECRET.search(name) and name not in ("etcd-password-file", "etcd_password_file")
    return MASK if value and is_secret else value
