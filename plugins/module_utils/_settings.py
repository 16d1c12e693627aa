# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user may write for an app, and everything that follows from it.

`OPTIONS` is the one table of app options: validation, the README and the digest of a release read it.
`resolve` turns what the user wrote into settings; `size` adds what depends on one host. Both are pure.
"""

from __future__ import annotations

import difflib
import hashlib
import ipaddress
import json
import re
import shlex
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

Settings = dict[str, t.Any]

APPS_ROOT = "/srv"
TLS_ROOT = "/etc/ssl/paddock"
NGINX_ROOT = "/etc/nginx/paddock"

# What a user name may be on every distribution, and short enough that the path of a release's socket
# (/srv/NAME/releases/ID/app.sock) stays below the 107 bytes that a Unix socket address holds.
APP_NAME = re.compile(r"[a-z][a-z0-9-]{0,29}")
# RFC 1123 host names; one label is enough, because intranets have such names.
DOMAIN = re.compile(r"(?=.{1,253}$)(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*", re.IGNORECASE)
IPV4 = re.compile(r"\d+(\.\d+){3}")
MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What systemd takes as a credential's name and reads as nothing else (no colon, no specifier), as the name of a file.
CREDENTIAL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
# What systemd loads for one service, names included.
CREDENTIALS_BYTES = 2**20
SIZE = re.compile(r"\d+[kmg]?", re.IGNORECASE)
URL_PATH = re.compile(r"/[^\s?#\"']*(\?[^\s#\"']*)?")
# Of a location in NGINX: what needs no quotes there, and what no client may write in another way.
PREFIX = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+/?")
RATE = re.compile(r"[1-9]\d*r/[sm]")
# What has a meaning in a quoted text of NGINX's, or none in a header.
UNSAFE_VALUE = re.compile(r"""[^\x20-\x7e]|[$\\"]""")
HEADER_NAME = re.compile(r"[A-Za-z0-9-]+")
JSON_PATH = re.compile(r"[^.]+(\.[^.]+)*")
USER_NAME = re.compile(r"[^\s:#]+")
# crypt(3), or NGINX's own schemes.
PASSWORD_HASH = re.compile(r"(\$[0-9a-z]+\$|\{SSHA\})\S{16,}")
# Of a directive of systemd's: what needs no quotes there, and stands for nothing else.
FOLDER = re.compile(r"(?!.*/\.{1,2}(/|$))(/[A-Za-z0-9._~@+,-]+)+")
GROUP_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
# Of a shell's word between single quotes.
OTLP_URL = re.compile(r"https?://[^\s'\"\\]+")
SERVICE_NAME = re.compile(r"[A-Za-z0-9._/-]+")
SUBFOLDER = re.compile(r"(?!/)(?!.*\.\.)[A-Za-z0-9._/-]+")

# Names of accounts that every Debian or RHEL system has: an app named so would run as one of them.
SYSTEM_USERS = frozenset(
    (
        "root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc nobody sshd nginx adm ftp "
        "operator dbus systemd-network systemd-timesync systemd-resolve messagebus polkitd postgres redis mysql"
    ).split()
)
# Who is in one of them is root, by a detour.
ROOT_GROUPS = frozenset({"root", "disk", "kmem", "shadow", "docker", "lxd", "sudo", "wheel"})
# Set for every instance; an app that could override them would break its own rollout.
RESERVED_ENV = frozenset(
    {"PADDOCK_APP", "PADDOCK_RELEASE", "PADDOCK_SHARED", "CREDENTIALS_DIRECTORY", "LISTEN_FDS", "LISTEN_PID"}
)


@dataclass(frozen=True)
class Option:
    """One option of an app.

    kind: str, int, float, bool, list (of str), map (of scalars), options (a nested table) or table (options by name).
    release: whether a change of it makes a new release. What only shapes NGINX or the rollout does not.
    check: returns what is wrong with a value and how to mend it, or None.
    """

    kind: str
    text: str
    default: t.Any = None
    required: bool = False
    choices: tuple[str, ...] = ()
    minimum: float = 0
    maximum: float = 2**31
    release: bool = True
    secret: bool = False
    check: t.Callable[[t.Any], str | None] | None = None
    options: Mapping[str, Option] = field(default_factory=dict)


@dataclass(frozen=True)
class Problem:
    """One mistake: whose (nobody's if it is in no app), where, what was written, and how to mend it."""

    app: str
    option: str
    message: str

    def __str__(self) -> str:
        whose = f"app {self.app}" if self.app else ""
        return ": ".join(part for part in (whose, self.option, self.message) if part)


class SettingsError(ValueError):
    """Everything that is wrong with the apps, all of it at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))


def _pattern(pattern: re.Pattern[str], hint: str) -> t.Callable[[t.Any], str | None]:
    def check(value: t.Any) -> str | None:
        return None if pattern.fullmatch(str(value)) else f"{value!r} is not valid; {hint}"

    return check


def _check_name(value: str) -> str | None:
    if value in SYSTEM_USERS | ROOT_GROUPS:
        return f"{value!r} is the name of a system account; choose another"
    return _pattern(
        APP_NAME, "use a lower-case letter, then letters, digits and dashes, 30 characters at most, such as 'shop'"
    )(value)


def _check_domains(values: list[str]) -> str | None:
    if not values:
        return "is empty; name at least one host name, such as [shop.example.com]"
    for value in values:
        if IPV4.fullmatch(value) or not DOMAIN.fullmatch(value):
            return f"{value!r} is not a host name; write names such as shop.example.com, without scheme, port or path"
    lowered = [value.lower() for value in values]
    doubled = next((value for value in lowered if lowered.count(value) > 1), None)
    return f"{doubled!r} is listed twice; remove one" if doubled else None


def _check_aliases(values: list[str]) -> str | None:
    return _check_domains(values) if values else None


def _check_env(values: Mapping[str, t.Any]) -> str | None:
    for name, value in values.items():
        if not ENV_NAME.fullmatch(str(name)):
            return f"{name!r} is not a name that an environment variable can have; use letters, digits and underscores"
        if name in RESERVED_ENV:
            return f"{name} is set by the collection; choose another name"
        if value is None:
            return f'{name} has no value; write "" for an empty one, or remove it'
        if "\0" in str(value):
            return f"{name} contains a NUL character, which no environment variable can hold"
    return None


def _check_credentials(values: Mapping[str, t.Any]) -> str | None:
    for name, value in values.items():
        if not CREDENTIAL_NAME.fullmatch(str(name)):
            return (
                f"{name!r} is not a name that a credential can have; "
                "use letters, digits, '_', '-' and '.', 128 at most, the first a letter, a digit or '_'"
            )
        # YAML turns 0123 into 83, and a secret must arrive as it was written.
        if not isinstance(value, str) or not value:
            return f"{name} is not text, or empty; put its value in quotes, or remove it"
    if sum(len(str(name)) + len(value.encode()) for name, value in values.items()) > CREDENTIALS_BYTES:
        return "are more than the 1 MiB that systemd loads for one service; put what is large into a file in shared"
    return None


def _check_folders(values: list[str]) -> str | None:
    wrong = next((value for value in values if not FOLDER.fullmatch(value)), None)
    if wrong is None:
        return None
    return f"{wrong!r} is not a folder; write an absolute path such as /data/uploads, without spaces"


def _check_groups(values: list[str]) -> str | None:
    for value in values:
        if not GROUP_NAME.fullmatch(value):
            return f"{value!r} is not the name of a group"
        if value in ROOT_GROUPS:
            return f"who is in {value!r} can become root, which no app should; leave it out"
    return None


def _check_command(value: str) -> str | None:
    try:
        return None if shlex.split(value) else "is empty; write a command, or leave the option out"
    except ValueError as error:
        return f"{value!r} cannot be split into words ({error}); check its quotes"


def _check_addresses(values: list[str]) -> str | None:
    for value in values:
        try:
            ipaddress.ip_network(value)
        except ValueError as error:
            return f"{value!r} is no address ({error}); write such as 192.0.2.7 or 10.0.0.0/8"
    return None


def _check_users(values: Mapping[str, t.Any]) -> str | None:
    for name, value in values.items():
        if not USER_NAME.fullmatch(str(name)):
            return f"{name!r} is not a user name; leave out spaces and colons"
        if not PASSWORD_HASH.fullmatch(str(value)):
            return f"the password of {name} is not hashed; write what 'openssl passwd -6' prints"
    return None


def _check_headers(values: Mapping[str, t.Any]) -> str | None:
    for name, value in values.items():
        if not HEADER_NAME.fullmatch(str(name)):
            return f"{name!r} is not the name of a header; use letters, digits and dashes"
        if UNSAFE_VALUE.search(str(value or "")):
            return f"{name} has a value with a quote, backslash, dollar sign or line break; use the option nginx for it"
    return None


def _check_paths(values: Mapping[str, t.Any]) -> str | None:
    seen: dict[str, str] = {}
    for path in map(str, values):
        if path == "/":
            return "'/' is the whole app; write its options beside its name"
        if not PREFIX.fullmatch(path):
            return f"{path!r} is not a path; write one such as /admin, of letters, digits, '.', '_', '~' and '-'"
        if other := seen.get(path.rstrip("/")):
            return f"{other!r} and {path!r} are the same; write one of them"
        seen[path.rstrip("/")] = path
    return None


def _check_pattern(value: str) -> str | None:
    try:
        re.compile(value)
    except re.error as error:
        return f"{value!r} is no regular expression ({error}); correct it, or write text into contains"
    return None


def _check_json(values: Mapping[str, t.Any]) -> str | None:
    wrong = next((str(path) for path in values if not JSON_PATH.fullmatch(str(path))), None)
    if wrong is None:
        return None
    return f"{wrong!r} is no path to a value; write its names with dots between them, such as database.status"


def _check_expected_headers(values: Mapping[str, t.Any]) -> str | None:
    for name, value in values.items():
        if not HEADER_NAME.fullmatch(str(name)):
            return f"{name!r} is not the name of a header; use letters, digits and dashes"
        # YAML turns yes into true, which no header says so.
        if isinstance(value, bool):
            return f"{name} is not text; put its value in quotes"
    return None


HEALTH = {
    "path": Option(
        "str",
        "Path that answers when the app can serve.",
        "/healthz",
        check=_pattern(URL_PATH, "write a path such as /healthz"),
    ),
    "status": Option("int", "HTTP status that it must answer.", 200, minimum=100, maximum=599),
    "contains": Option("str", "Text that the answer's body must contain."),
    "pattern": Option(
        "str", "Regular expression, as Python has them, that must be found in its body.", check=_check_pattern
    ),
    "json": Option(
        "map",
        "Values that its body, as JSON, must have, each by its path: `database.status: up`, or `checks.0.ok: true` in "
        "a list.",
        {},
        check=_check_json,
    ),
    "headers": Option(
        "map",
        "Headers of the app that it must have, each with a text that its value must contain; with an empty one it must "
        "only be there.",
        {},
        check=_check_expected_headers,
    ),
    "max_seconds": Option(
        "float", "Seconds that one answer may take, such as `0.5`. Default: 3.", minimum=0.001, maximum=60
    ),
    "successes": Option(
        "int", "Healthy answers in a row that a new instance needs to pass the gate.", 1, minimum=1, maximum=100
    ),
    "timeout": Option("int", "Seconds that a new instance has to pass the gate.", 60, minimum=1, maximum=3600),
}
TLS = {
    "mode": Option(
        "str",
        "`acme`: from a CA such as Let's Encrypt; `selfsigned`; `provided`: a certificate of yours; `off`: plain HTTP. "
        "Default: `acme` if there is an `email`, else `selfsigned`.",
        choices=("acme", "selfsigned", "provided", "off"),
    ),
    "email": Option(
        "str",
        "With `acme`: address that the CA writes to, and that agrees to its terms.",
        check=_pattern(EMAIL, "write an address such as ops@example.com"),
    ),
    "hsts": Option(
        "bool",
        "Browsers never ask over plain HTTP again, for two years (`Strict-Transport-Security`). Default: with `acme`.",
    ),
    "certificate": Option("str", "With `provided`: file on the control node, PEM, the leaf first, then its chain."),
    "key": Option("str", "With `provided`: file on the control node, PEM, not encrypted."),
}
# What NGINX does with requests, for the whole app or under a path. What a path leaves out is as for the app.
PROXY = {
    "max_body_size": Option(
        "str", "Largest request body.", release=False, check=_pattern(SIZE, "write a size such as 10m or 1g")
    ),
    "buffer_requests": Option(
        "bool",
        "NGINX takes in a whole request before the app sees any of it, so slow clients cost the app nothing. "
        "`false` streams uploads.",
        release=False,
    ),
    "rate": Option(
        "str",
        "Requests that a client address may make, such as `10r/s` or `30r/m`; beyond that it is answered 429.",
        release=False,
        check=_pattern(RATE, "write such as 10r/s or 30r/m"),
    ),
    "burst": Option(
        "int", "Requests beyond `rate` that are let through before that. Default: 20.", maximum=100000, release=False
    ),
    "connections": Option(
        "int",
        "Requests of a client address that may be under way at a time; beyond that it is answered 429.",
        minimum=1,
        maximum=100000,
        release=False,
    ),
    "allow": Option(
        "list",
        "Addresses and networks that may ask; others are answered 403. The host itself always may; `[]`: nobody else.",
        release=False,
        check=_check_addresses,
    ),
    "users": Option(
        "map",
        "Users that may ask, after a password: names, and what `openssl passwd -6` prints.",
        release=False,
        secret=True,
        check=_check_users,
    ),
}
PATH = {
    "static": Option(
        "str",
        "Folder of the source that NGINX serves there, instead of the app: such as `shop/static`.",
        check=_pattern(SUBFOLDER, "write a folder of the source, such as shop/static"),
    ),
    **PROXY,
}
LIMITS = {
    "nofile": Option(
        "int",
        "Open files and connections per process. Default: 65536, or what the host allows if that is less.",
        minimum=256,
        maximum=2**30,
    ),
    "tasks_max": Option(
        "int",
        "Processes and threads of the app, all together. Default: 256 for each worker, at least 1024.",
        minimum=64,
        maximum=2**22,
    ),
    "memory_high": Option(
        "int",
        "MiB, all processes together, beyond which the kernel slows the app down and takes back what it can.",
        minimum=16,
    ),
    "memory_max": Option(
        "int",
        "MiB, all processes together, beyond which the kernel kills one of them: a worker, which is replaced.",
        minimum=16,
    ),
    "cpu_quota": Option(
        "int",
        "CPU time, all processes together, in percent of one CPU: `150` is one and a half.",
        minimum=5,
        maximum=102400,
    ),
}
# What follows from timeout and graceful_timeout unless it is written: see timeouts().
TIMEOUTS = {
    "client_idle": Option(
        "int",
        "Seconds that NGINX keeps a connection on which its client asks nothing. Default: 75.",
        minimum=1,
        maximum=3600,
        release=False,
    ),
    "keepalive": Option(
        "int",
        "Seconds that the server keeps a connection on which NGINX asks nothing. Default: 75.",
        minimum=1,
        maximum=3600,
    ),
    "stall": Option(
        "int",
        "With `gunicorn`: seconds that a worker's event loop may stand still before it is killed. Default: 60, or "
        "twice `graceful_timeout` if that is more.",
        minimum=2,
        maximum=86400,
    ),
    "drain": Option(
        "int",
        "Seconds that a worker which stops has to end its requests before it answers them with an error. Default: 2 "
        "to 5 less than `graceful_timeout`.",
        minimum=1,
        maximum=3600,
    ),
    "stop": Option(
        "int",
        "Seconds that an instance has to stop before systemd kills it. Default: twice `graceful_timeout`, and 10.",
        minimum=1,
        maximum=86400,
    ),
}
# What a real app may need off, and which one. All else in the sandbox stays.
SANDBOX = {
    "memory_deny_write_execute": Option(
        "bool",
        "No memory is both writable and executable. `false` for code that is made at run time: Numba, PyTorch's "
        "compiler, PyPy, callbacks of cffi.",
        default=True,
    ),
    "system_call_filter": Option(
        "bool",
        "No system calls but those that services need. `false` for what pins threads to CPUs or sets priorities "
        "(OpenMP, `os.nice`), for profilers such as py-spy, and for browsers.",
        default=True,
    ),
    "restrict_namespaces": Option(
        "bool",
        "No namespaces. `false` for what brings a sandbox of its own: Chromium (with Playwright, say), Bubblewrap.",
        default=True,
    ),
    "restrict_address_families": Option(
        "bool",
        "No sockets but Unix and internet ones. `false` for what lists network interfaces (psutil, zeroconf), for "
        "Bluetooth, for CAN.",
        default=True,
    ),
    "private_devices": Option(
        "bool", "No devices. `false` for GPUs, cameras, serial ports; a group may be needed as well.", default=True
    ),
    "private_tmp": Option(
        "bool",
        "A `/tmp` and `/var/tmp` of its own. `false` for files or sockets there that other services share.",
        default=True,
    ),
    "protect_home": Option(
        "bool", "No homes. `false` for data or models that lie there, and that the app's user may read.", default=True
    ),
    "protect_proc": Option(
        "bool", "No processes of other users are seen. `false` for what watches the whole host.", default=True
    ),
    "write_paths": Option(
        "list",
        "Folders that the app may write to, besides its shared one. They must be there, and its user must have the "
        "right to.",
        [],
        check=_check_folders,
    ),
    "supplementary_groups": Option(
        "list",
        "Groups that its processes are in as well, for devices, sockets and files that these may use. They must be "
        "there.",
        [],
        check=_check_groups,
    ),
}

LOG = {
    "format": Option(
        "str",
        "`json`: each record is one line, with the id of its request; `text`: for people.",
        "json",
        choices=("json", "text"),
    ),
    "level": Option(
        "str",
        "Least level that is logged, unless the app says so itself.",
        "info",
        choices=("debug", "info", "warning", "error", "critical"),
    ),
    "burst": Option(
        "int", "Records in 30 seconds beyond which journald drops the rest, and says how many.", 100000, minimum=100
    ),
}
TRACING = {
    "endpoint": Option(
        "str",
        "Receiver of OTLP over HTTP, such as `http://127.0.0.1:4318`. Default: no traces.",
        check=_pattern(OTLP_URL, "write a URL such as http://127.0.0.1:4318"),
    ),
    "sample_percent": Option(
        "int", "Traces that are recorded, of a hundred that begin here.", 10, minimum=1, maximum=100
    ),
    "service_name": Option(
        "str",
        "What the app is called in traces. Default: its name.",
        check=_pattern(SERVICE_NAME, "use letters, digits, '.', '_', '/' and '-'"),
    ),
    "operation_spans": Option(
        "bool",
        "Record FastAPI's own spans: of a request, its dependencies, endpoint and answer. A recorded request costs "
        "three times as much then.",
        default=False,
    ),
}

# Sorted as a reader needs them: what must be written, what runs, how it is served, how it is rolled out.
OPTIONS: dict[str, Option] = {
    "name": Option(
        "str", "Name of the app: its user, its folder under `/srv`, its units.", required=True, check=_check_name
    ),
    "source": Option(
        "str",
        "What to deploy: a directory, `GIT-URL@REF`, a wheel or sdist file, or a requirement such as `shop==1.4.2`. "
        "Paths are relative to the inventory.",
        required=True,
        release=False,  # its fingerprint counts, not where it lay
    ),
    "module": Option(
        "str",
        "ASGI import string, `package.module:attribute`.",
        required=True,
        check=_pattern(MODULE, "write package.module:attribute, such as shop.main:app"),
    ),
    "domains": Option(
        "list",
        "Host names that it answers to, the canonical one first.",
        required=True,
        release=False,
        check=_check_domains,
    ),
    "factory": Option("bool", "The attribute is a function that returns the app.", default=False),
    "app_dir": Option("str", "Folder of the source that imports start from. Default: `src` if the package is there."),
    "env": Option("map", "Environment variables; may hold secrets.", {}, secret=True, check=_check_env),
    "credentials": Option(
        "map",
        "Secrets that the app reads from files: the one called NAME from `$CREDENTIALS_DIRECTORY/NAME`. Unlike "
        "what is in `env`, the programs that it starts do not inherit them.",
        {},
        secret=True,
        check=_check_credentials,
    ),
    "python": Option("str", "Interpreter on the host: a command or path.", "python3"),
    "requirements": Option(
        "str",
        "Requirements file, in the source (directory, git) or on the control node (wheel, sdist, requirement). "
        "Default: `uv.lock`, `pylock.toml` or `requirements.txt` of the source, in this order.",
    ),
    "index_url": Option("str", "Package index to use instead of the public one; may hold credentials.", secret=True),
    "extra_index_url": Option(
        "str",
        "Package index that is asked first; what it has is never taken from elsewhere. May hold credentials.",
        secret=True,
    ),
    "migrate": Option(
        "str",
        "Command that migrates the database, run once per rollout before the new release starts.",
        check=_check_command,
    ),
    "migrate_on": Option(
        "str",
        "Hosts that run it: the `first` for all, or `all`, where each host has a database of its own.",
        "first",
        choices=("first", "all"),
        release=False,
    ),
    "server": Option(
        "str",
        "Process model: `gunicorn` (with UvicornWorker) or `uvicorn`.",
        "gunicorn",
        choices=("gunicorn", "uvicorn"),
    ),
    "workers": Option(
        "int", "Worker processes. Default: one per CPU, at least 2, as far as the memory lasts.", minimum=1, maximum=512
    ),
    "worker_memory": Option("int", "MiB that one worker needs, for the default of `workers`.", 256, minimum=16),
    "max_requests": Option(
        "int",
        "Requests after which a worker is replaced, or up to a fifth more, so that not all go at once: for apps that "
        "leak. Needs two workers. Default: never.",
        minimum=100,
    ),
    "timeout": Option(
        "int", "Seconds that a client waits for the next byte of an answer.", 60, minimum=1, maximum=86400
    ),
    "graceful_timeout": Option(
        "int", "Seconds that requests have to finish when an instance stops.", 30, minimum=5, maximum=3600
    ),
    "timeouts": Option("options", "What differs from the time-outs that follow from the two above.", options=TIMEOUTS),
    "limits": Option("options", "Resource limits of the app's processes.", options=LIMITS),
    "sandbox": Option("options", "What keeps the app from doing harm.", options=SANDBOX),
    "log": Option("options", "What the app and its server log, to journald.", options=LOG),
    "metrics": Option("bool", "Figures for Prometheus at `/metrics`, of all workers together.", default=True),
    "tracing": Option("options", "Traces, by OpenTelemetry.", options=TRACING),
    "root_path": Option(
        "str",
        "Path under which the app is reached, such as `/api`, if it is not the whole domain. The app's routes, and the "
        "paths below, are written without it.",
        check=_pattern(PREFIX, "write a path such as /api"),
    ),
    "aliases": Option(
        "list",
        "Further host names, which are redirected to the first of `domains`.",
        [],
        release=False,
        check=_check_aliases,
    ),
    **PROXY,
    "max_body_size": replace(PROXY["max_body_size"], default="10m"),
    "buffer_requests": replace(PROXY["buffer_requests"], default=True),
    "paths": Option(
        "table",
        "What is different under some paths, by path. `/metrics` is for the host itself alone, unless it is here.",
        {},
        release=False,  # but for the static ones: see digest
        secret=True,
        options=PATH,
        check=_check_paths,
    ),
    "headers": Option(
        "map",
        "Headers of all answers, instead of what the app or the collection sends. An empty value leaves one out.",
        {},
        release=False,
        check=_check_headers,
    ),
    "nginx": Option("str", "Further directives for the app's `server` block of NGINX, as they are.", release=False),
    "tls": Option("options", "Certificate that NGINX shows.", release=False, options=TLS),
    "health": Option("options", "What a healthy instance answers.", release=False, options=HEALTH),
    "keep_releases": Option(
        "int", "Releases to keep, the live one included.", 5, minimum=2, maximum=100, release=False
    ),
    "standby": Option(
        "int", "Seconds that the old instance stays warm after a switch.", 60, minimum=0, maximum=86400, release=False
    ),
}


def _suggest(word: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known options: {', '.join(names)}"


def _wrong_type(option: Option, value: t.Any) -> str | None:
    """Say which type was expected, or None if it is that type."""
    scalar = isinstance(value, str | int | float | bool)
    right, wanted = {
        "str": (isinstance(value, str) and bool(value.strip()), "text"),
        "int": (isinstance(value, int) and not isinstance(value, bool), "a whole number"),
        "float": (isinstance(value, int | float) and not isinstance(value, bool), "a number"),
        "bool": (isinstance(value, bool), "true or false"),
        "list": (isinstance(value, list) and all(isinstance(v, str) for v in value), "a list of texts"),
        "map": (
            isinstance(value, Mapping) and not any(isinstance(v, Mapping | list) for v in value.values()),
            "a mapping of names to values",
        ),
        "options": (isinstance(value, Mapping), "a mapping of options"),
        "table": (
            isinstance(value, Mapping) and all(isinstance(v, Mapping | None) for v in value.values()),
            "a mapping of names to options",
        ),
    }[option.kind]
    if right:
        return None
    shown = repr(value) if scalar and not option.secret else "it"
    return f"{shown} is not {wanted}"


def _number(kind: str, value: t.Any) -> t.Any:
    """Inventories in INI form and `-e` give numbers as text."""
    if not isinstance(value, str):
        return value
    if re.fullmatch(r"\d+", value):
        return int(value)
    return float(value) if kind == "float" and re.fullmatch(r"\d+\.\d+", value) else value


def _complaint(option: Option, value: t.Any) -> str | None:
    """Say what is wrong with a value and how to mend it, or None."""
    if wrong := _wrong_type(option, value):
        return wrong
    if option.choices and value not in option.choices:
        close = difflib.get_close_matches(str(value), option.choices, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(option.choices)}"
        return f"{value!r} is not known; {hint}"
    if option.kind in {"int", "float"} and not option.minimum <= value <= option.maximum:
        return f"{value} is out of range; write {option.minimum} to {option.maximum}"
    return option.check(value) if option.check else None


def read_table(
    app: str, raw: Mapping[str, t.Any], table: Mapping[str, Option], prefix: str = ""
) -> tuple[Settings, list[Problem]]:
    """Check what was written against a table and fill in its defaults."""
    problems = [
        Problem(app, f"{prefix}{name}", f"unknown option; {_suggest(str(name), table)}")
        for name in raw
        if name not in table
    ]
    values: Settings = {}
    for name, option in table.items():
        where = f"{prefix}{name}"
        value = raw.get(name)
        if option.kind == "options":
            value = {} if value is None else value
        elif option.kind in {"int", "float"}:
            value = _number(option.kind, value)
        values[name] = option.default
        if value is None:
            if option.required:
                problems.append(Problem(app, where, f"is missing; {option.text}"))
        elif wrong := _complaint(option, value):
            problems.append(Problem(app, where, wrong))
        elif option.kind == "options":
            values[name], nested = read_table(app, value, option.options, f"{where}.")
            problems += nested
        elif option.kind == "table":
            values[name] = {}
            for key, row in value.items():
                values[name][str(key)], nested = read_table(app, row or {}, option.options, f"{where}[{key}].")
                problems += nested
        else:
            values[name] = value
    return values, problems


def _relations(app: str, values: Settings) -> list[Problem]:
    """Check what two options must be to each other."""
    problems = []
    tls = values["tls"] or {}
    if tls.get("mode") == "acme" and not tls.get("email"):
        problems.append(Problem(app, "tls.email", "is missing; tls.mode 'acme' needs an address that the CA writes to"))
    elif tls.get("email") and tls.get("mode") not in {"acme", None}:
        problems.append(Problem(app, "tls.email", f"is not used with tls.mode {tls['mode']!r}; remove one of them"))
    if tls.get("mode") == "provided":
        problems += [
            Problem(app, f"tls.{name}", "is missing; tls.mode 'provided' needs both certificate and key")
            for name in ("certificate", "key")
            if not tls.get(name)
        ]
    elif tls.get("certificate") or tls.get("key"):
        problems.append(Problem(app, "tls.mode", "a certificate or key is given; set mode to 'provided' to use it"))
    if tls.get("mode") == "off" and tls.get("hsts"):
        problems.append(
            Problem(app, "tls.hsts", "needs a certificate; remove it, or choose another tls.mode than 'off'")
        )
    if values["max_requests"] and values["workers"] == 1:
        problems.append(Problem(app, "max_requests", f"{ALONE}; set workers to 2 or more, or remove it"))
    problems += _timeout_relations(app, values)
    problems += _limit_relations(app, values) + _folder_relations(app, values)
    domains = {domain.lower() for domain in values["domains"] or []}
    doubled = next((alias for alias in values["aliases"] or [] if alias.lower() in domains), None)
    if doubled:
        problems.append(Problem(app, "aliases", f"{doubled!r} is in domains as well; remove it from one"))
    return problems


def _timeout_relations(app: str, values: Settings) -> list[Problem]:
    written = {name: value for name, value in (values["timeouts"] or {}).items() if value is not None}
    problems = []
    if "stall" in written and values["server"] == "uvicorn":
        message = "is what Gunicorn kills a worker after, and server is 'uvicorn'; remove it"
        problems.append(Problem(app, "timeouts.stall", message))
    chain = timeouts(values["timeout"], values["graceful_timeout"], written)
    for order in ORDERS:
        if not order.holds(chain):
            # Without what was written all hold, so one of the two was.
            option = order.more if order.more in written else order.less
            problems.append(Problem(app, f"timeouts.{option}", order.complaint(chain)))
    return problems


def _limit_relations(app: str, values: Settings) -> list[Problem]:
    limits = values["limits"] or {}
    high, most, worker = limits.get("memory_high"), limits.get("memory_max"), values["worker_memory"]
    problems = [
        Problem(
            app,
            f"limits.{name}",
            f"{value} holds not even one worker, which takes {worker} MiB; raise it, or lower worker_memory",
        )
        for name, value in (("memory_high", high), ("memory_max", most))
        if value is not None and value < worker
    ]
    if high is not None and most is not None and high >= most:
        problems.append(
            Problem(app, "limits.memory_high", f"{high} is not below limits.memory_max, {most}; lower it, or remove it")
        )
    return problems


def _folder_relations(app: str, values: Settings) -> list[Problem]:
    """Refuse folders to write to that the rest of the sandbox takes away again, or that must not change."""
    sandbox = values["sandbox"] or {}
    taken = {
        "protect_home": ("/home", "/root", "/run/user"),
        "private_tmp": ("/tmp", "/var/tmp"),  # noqa: S108 - nothing is written there
        "private_devices": ("/dev",),
    }
    root = f"{APPS_ROOT}/{values['name']}"
    problems = []
    for folder in sandbox.get("write_paths") or []:
        reasons = [
            f"{folder!r} is not the host's own while sandbox.{switch} is on; set that to false, or choose another"
            for switch, places in taken.items()
            if sandbox[switch] and any(_is_within(folder, place) for place in places)
        ]
        if _is_within(root, folder) or (_is_within(folder, root) and not _is_within(folder, f"{root}/shared")):
            reasons.append(
                f"{folder!r} holds releases, which never change; choose a folder in {root}/shared, or others"
            )
        if any(_is_within(folder, place) for place in ("/proc", "/sys")):
            reasons.append(f"{folder!r} is the kernel's; leave it out")
        problems += [Problem(app, "sandbox.write_paths", reason) for reason in reasons]
    return problems


def _is_within(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder}/")


def _where(domain: str, values: Settings) -> str:
    return "domains" if domain in (values["domains"] or []) else "aliases"


def _across(apps: Sequence[tuple[str, Settings]]) -> list[Problem]:
    """Check what apps of one host must be to each other. apps: with how messages call them."""
    problems = []
    names: set[str] = set()
    owners: dict[str, int] = {}
    for position, (label, values) in enumerate(apps):
        if values["name"] in names:
            problems.append(Problem(label, "name", f"two apps are called {label!r}; a name is used once per host"))
        elif values["name"]:
            names.add(values["name"])
        for domain in (*(values["domains"] or []), *(values["aliases"] or [])):
            owner = owners.setdefault(domain.lower(), position)
            if apps[owner][0] != label:
                problems.append(
                    Problem(
                        label,
                        _where(domain, values),
                        f"{domain!r} belongs to app {apps[owner][0]} already; remove it from one",
                    )
                )
    return problems


@dataclass(frozen=True)
class Order:
    """Which time-out must be over before which other: `times` * `less` < `more`, names of timeouts()."""

    less: str
    more: str
    why: str
    times: int = 1

    def holds(self, chain: Mapping[str, int]) -> bool:
        """Tell whether it is so."""
        return self.times * chain[self.less] < chain[self.more]

    def complaint(self, chain: Mapping[str, int]) -> str:
        """Say what is wrong, in the words of the options."""
        twice = f"{self.times} * " if self.times > 1 else ""
        less, more = (_LINKS.get(name, f"timeouts.{name}") for name in (self.less, self.more))
        numbers = f"{twice}{chain[self.less]} < {chain[self.more]}"
        return f"breaks {twice}{less} < {more} ({numbers} is not so): {self.why}"


# As users know them: what is not among the options called timeouts.
_LINKS = {"graceful": "graceful_timeout", "upstream_idle": "NGINX's own"}
ORDERS = (
    Order("drain", "graceful", "the server must answer what is under way before its worker is killed"),
    Order(
        "drain", "stall", "a worker that drains shows no sign of life, and must not be taken for a hung one", times=2
    ),
    Order("graceful", "stop", "systemd must not kill what is about to stop while it reloads", times=2),
    Order("upstream_idle", "keepalive", "NGINX must close kept connections first, or a request meets a closing server"),
)


def timeouts(timeout: int, graceful: int, written: Mapping[str, int] | None = None) -> dict[str, int]:
    """Work out the whole chain of time-outs, in seconds, from the two that a user sets.

    written: links of it that differ. Whatever the two are, all ORDERS hold unless a link is written.
    """
    chain = {
        "request": timeout,
        "connect": 5,
        "client_idle": 75,
        "upstream_idle": 2,
        "keepalive": 75,
        "stall": max(60, 2 * graceful),
        "graceful": graceful,
        "drain": graceful - max(2, min(5, graceful // 5)),
        "stop": 2 * graceful + 10,
        **(written or {}),
    }
    # Clients are told less, so that they close first.
    return {**chain, "client_told": max(1, chain["client_idle"] - 5)}


def resolve(apps: t.Any) -> list[Settings]:
    """Validate every app of a host and work out all that does not depend on the host.

    Raises SettingsError with every problem that was found.
    """
    if not isinstance(apps, list):
        raise SettingsError([Problem("?", "", "fastapi_apps is not a list; begin each app with '- name: …'")])
    resolved: list[tuple[str, Settings]] = []
    problems: list[Problem] = []
    for position, raw in enumerate(apps, start=1):
        if not isinstance(raw, Mapping):
            problems.append(Problem(f"number {position}", "", f"{raw!r} is not a mapping of options"))
            continue
        written = raw.get("name")
        name = written if isinstance(written, str) and written else f"number {position}"
        values, found = read_table(name, raw, OPTIONS)
        resolved.append((name, values))
        problems += found + _relations(name, values)
    problems += _across(resolved)
    if problems:
        raise SettingsError(problems)
    return [_derive(values) for _label, values in resolved]


def _writable(shared: str, sandbox: Settings) -> list[str]:
    """Return the folders that the app may write to; all others of the host are read-only for it."""
    hosts_own = [] if sandbox["private_tmp"] else ["/tmp", "/var/tmp"]  # noqa: S108 - nothing is written there
    return [shared, *hosts_own, *sandbox["write_paths"]]


def _derive(values: Settings) -> Settings:
    name = values["name"]
    root = f"{APPS_ROOT}/{name}"
    tls = dict(values["tls"])
    tls["mode"] = tls["mode"] or ("acme" if tls["email"] else "selfsigned")
    if tls["mode"] != "off":
        tls |= {"certificate_path": f"{TLS_ROOT}/{name}.crt", "key_path": f"{TLS_ROOT}/{name}.key"}
    tls["hsts"] = tls["mode"] == "acme" if tls["hsts"] is None else tls["hsts"]
    root_path = (values["root_path"] or "").rstrip("/")
    health = {**values["health"], "public_path": root_path + values["health"]["path"]}
    return {
        **values,
        "migrate": shlex.split(values["migrate"] or ""),
        "tls": tls,
        "root_path": root_path,
        "names": [*values["domains"], *values["aliases"]],
        "health": health,
        "locations": _locations(name, {**values, "root_path": root_path}),
        "max_requests_jitter": int((values["max_requests"] or 0) * JITTER),
        # NGINX must be able to read them.
        "static": sorted({rules["static"] for rules in values["paths"].values() if rules["static"]}),
        "maintenance": f"{root}/maintenance.html",
        "user": name,
        "root": root,
        "releases": f"{root}/releases",
        "shared": f"{root}/shared",
        "writable": _writable(f"{root}/shared", values["sandbox"]),
        "current": f"{root}/current",
        "timeouts": timeouts(
            values["timeout"],
            values["graceful_timeout"],
            {name: value for name, value in values["timeouts"].items() if value is not None},
        ),
    }


def _locations(name: str, values: Settings) -> list[Settings]:
    """Work out the locations of NGINX: the app, what is different under some paths, and the health check.

    Each has the options of PROXY, and
    match: what NGINX compares the path with, such as "= /exactly" or "^~ /all/beneath/"
    static: folder of the source that is served instead of the app, or None
    health: whether it is the health check, which is not limited and needs no password
    rate_zone, connections_zone: where requests are counted, by the app and path that set the limit
    users_file: file with the users that may ask, or None
    """
    root = values["root_path"]
    health = values["health"]["path"].partition("?")[0]
    # Who sees an app's figures sees its business, and often its users.
    paths = {"/metrics": {"allow": []}} | {path.rstrip("/"): rules for path, rules in values["paths"].items()}
    app = _rules(name, "", values)
    found = [{**app, "match": f"^~ {root}/" if root else "/"}]
    for path, written in sorted(paths.items()):
        rules = {**app, **_rules(name, path, written)}
        found.append({**rules, "match": f"^~ {root}{path}/"})
        if path != health and not rules["static"]:
            found.append({**rules, "match": f"= {root}{path}"})
    open_to_checks = dict.fromkeys(("rate", "connections", "users_file", "static")) | {"health": True}
    found.append({**app, **_rules(name, health, paths.get(health, {})), **open_to_checks, "match": f"= {root}{health}"})
    return found


def _rules(name: str, path: str, written: Settings) -> Settings:
    """Return what is written for the app (no path) or a path, and where it counts and keeps its users."""
    # A dot, because no name of an app has one.
    key = f"{name}.{hashlib.sha256(path.encode()).hexdigest()[:8]}" if path else name
    rules = {option: written.get(option) for option in PROXY if not path or written.get(option) is not None}
    rules |= {f"{limit}_zone": f"{key}-{limit}" for limit in ("rate", "connections") if limit in rules}
    if "users" in rules:
        rules["users_file"] = users_file(key) if rules.pop("users") else None
    return rules | {"static": written.get("static"), "health": False}


def users_file(key: str) -> str:
    """Return where NGINX reads the users of an app or path."""
    return f"{NGINX_ROOT}/{key}.users"


def users_files(settings: Settings) -> dict[str, str]:
    """Return what NGINX reads the users of an app and its paths from: contents by file. They are secret."""
    everything = {"": settings, **{path.rstrip("/"): rules for path, rules in settings["paths"].items()}}
    return {
        _rules(settings["name"], path, rules)["users_file"]: "".join(
            f"{user}:{password}\n" for user, password in rules["users"].items()
        )
        for path, rules in everything.items()
        if rules["users"]
    }


def read_health(app: str, raw: Mapping[str, t.Any]) -> Settings:
    """Check what a task says of an app's health as that option is checked. Raises SettingsError."""
    written = {name: value for name, value in raw.items() if name != "public_path"}
    values, problems = read_table(app, written, HEALTH, "health.")
    if problems:
        raise SettingsError(problems)
    return {**values, "public_path": raw.get("public_path") or values["path"]}


def public(settings: Settings) -> Settings:
    """Leave out what must not be printed: Ansible shows results and loop items."""
    shown = {name: value for name, value in settings.items() if not (name in OPTIONS and OPTIONS[name].secret)}
    # A git URL may hold a password, up to its last @.
    return shown | {"source": re.sub(r"//[^/\s]*@", "//", settings["source"])}


def digest(settings: Settings, fingerprint: str, recipe: str) -> str:
    """Return the digest that names a release: 12 hex digits over all that shapes what runs.

    fingerprint: of the source. recipe: of the collection's own part (templates, server packages).
    """
    shaping = {name: _shaping(option, settings[name]) for name, option in OPTIONS.items() if option.release}
    shaping["static"] = settings["static"]
    for name in ("index_url", "extra_index_url"):
        # A new password for an index changes nothing that runs.
        shaping[name] = shaping[name] and re.sub(r"//[^/@]*@", "//", shaping[name])
    text = json.dumps([shaping, fingerprint, recipe], sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _shaping(option: Option, value: t.Any) -> t.Any:
    """Leave out of nested options what makes no new release."""
    if option.kind != "options":
        return value
    return {name: value[name] for name, nested in option.options.items() if nested.release}


DEFAULT_NOFILE = 65536
# A worker has 40 threads for what is not async, and as many again for each process or thread pool of its app.
TASKS_PER_WORKER = 256
LEAST_TASKS = 1024
# Of a number of requests, at random, on top of it.
JITTER = 0.2
ALONE = "needs two workers, so that one answers while the other is replaced"
# What a host needs besides its apps, in MiB.
RESERVED_MEMORY = 256


def size(settings: Settings, host: Mapping[str, t.Any]) -> Settings:
    """Work out what depends on the host: `host` is the result of the host_facts module.

    workers: one per CPU, because an async worker fills a core; at least 2, so that one that is being replaced
    leaves another to answer; never more than the memory holds. CPUs and memory are the host's, or what the app's
    limits leave of them.
    One worker is too few where workers are to be replaced.
    nofile: what was asked for, which the host must allow, or the default as far as the host allows it.
    tasks_max: what was asked for, which must hold the workers, or what they may need.

    Raises SettingsError when the host cannot give what was asked for.
    """
    limits = settings["limits"]
    ceiling = host["nofile_ceiling"]
    wanted = limits["nofile"]
    if wanted is not None and wanted > ceiling:
        raise SettingsError(
            [
                Problem(
                    settings["name"],
                    "limits.nofile",
                    f"{wanted} is above what this host allows, {ceiling}; ask for less, "
                    f"or raise {host['nofile_ceiling_from']} on the host",
                )
            ]
        )
    memory = [host["memory_mb"] - RESERVED_MEMORY, limits["memory_high"], limits["memory_max"]]
    room = max(1, min(mib for mib in memory if mib is not None) // settings["worker_memory"])
    # A part of a CPU still wants a worker.
    cpus = min(host["cpus"], -(-(limits["cpu_quota"] or 100 * host["cpus"]) // 100))
    workers = settings["workers"] or min(max(2, cpus), room)
    if settings["max_requests"] and workers == 1:
        message = (
            f"{ALONE}, but the memory holds one worker of {settings['worker_memory']} MiB; "
            "lower worker_memory, set workers, or remove it"
        )
        raise SettingsError([Problem(settings["name"], "max_requests", message)])
    if limits["tasks_max"] is not None and limits["tasks_max"] <= workers:
        message = f"{limits['tasks_max']} do not hold a server and its {workers} workers; raise it, or lower workers"
        raise SettingsError([Problem(settings["name"], "limits.tasks_max", message)])
    sizes = {
        "nofile": wanted or min(DEFAULT_NOFILE, ceiling),
        "tasks_max": limits["tasks_max"] or max(LEAST_TASKS, TASKS_PER_WORKER * workers),
    }
    return {**settings, "workers": workers, "limits": {**limits, **sizes}}


def environment_file(values: Mapping[str, t.Any]) -> str:
    """Write variables as systemd's EnvironmentFile= reads them (systemd.exec(5)): quoted, so that any text survives."""

    def text(value: t.Any) -> str:
        # YAML's true and false as most settings libraries spell them.
        return str(value).lower() if isinstance(value, bool) else str(value)

    quoted = {name: re.sub(r'([\\"`$])', r"\\\1", text(value)) for name, value in values.items()}
    return "".join(f'{name}="{value}"\n' for name, value in sorted(quoted.items()))
