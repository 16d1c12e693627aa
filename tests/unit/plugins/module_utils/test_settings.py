# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what users write for an app."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.paddock.fastapi.plugins.module_utils._settings import (
    APP_NAME,
    DEFAULT_NOFILE,
    HEALTH,
    LIMITS,
    OPTIONS,
    PROXY,
    RESERVED_ENV,
    ROOT_GROUPS,
    SANDBOX,
    SYSTEM_USERS,
    TLS,
    Option,
    Settings,
    SettingsError,
    digest,
    environment_file,
    public,
    resolve,
    size,
    timeouts,
    users_files,
)
from ansible_collections.paddock.fastapi.tests.unit.helpers import NEW, an_app
from hypothesis import given
from hypothesis import strategies as st

HOST = {"nofile_ceiling": 1048576, "nofile_ceiling_from": "fs.nr_open", "memory_mb": 4096, "cpus": 4}
HOST_NAME = "write names such as shop.example.com, without scheme, port or path"
NAME = "use a lower-case letter, then letters, digits and dashes, 30 characters at most, such as 'shop'"
TIME = "write 1 to 86400"
HASHED = "$6$saltsaltsalt$" + "x" * 86


def settings(**options: t.Any) -> Settings:
    return resolve([an_app(**options)])[0]


def errors(*apps: t.Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        resolve(list(apps))
    assert [str(problem) for problem in caught.value.problems] == str(caught.value).splitlines()
    return str(caught.value).splitlines()


def nest(path: str, value: t.Any) -> dict[str, t.Any]:
    head, _, rest = path.partition(".")
    return {head: nest(rest, value) if rest else value}


VALID: list[tuple[str, t.Any]] = [
    ("name", "a"),
    ("name", "shop-2"),
    ("name", "a" + "b" * 29),
    ("source", "https://git.example.com/shop.git@v1"),
    ("module", "main:app"),
    ("module", "a.b_2.c:api.app"),
    ("domains", ["localhost"]),
    ("domains", ["Shop.Example.COM", "www.example.com", "xn--bcher-kva.example", "1.example", "a" * 63 + ".example"]),
    ("factory", True),
    ("app_dir", "backend/src"),
    ("env", {}),
    ("env", {"A": 1, "_b2": True, "C": 1.5, "D": ""}),
    ("credentials", {}),
    ("credentials", {"token": "a\nb ü", "_key": " ", "db.url-2": "x" * 1000, "9": "x"}),
    ("python", "/usr/bin/python3.13"),
    ("requirements", "requirements/prod.txt"),
    ("index_url", "https://user:secret@pypi.example.com/simple"),
    ("extra_index_url", "https://user:secret@ours.example.com/simple"),
    ("migrate_on", "all"),
    ("migrate_on", "first"),
    ("server", "uvicorn"),
    ("workers", 1),
    ("workers", 512),
    ("worker_memory", 16),
    ("max_requests", 100),
    ("timeout", 1),
    ("timeout", 86400),
    ("graceful_timeout", 5),
    ("graceful_timeout", 3600),
    ("timeouts.client_idle", 1),
    ("timeouts.client_idle", 3600),
    ("timeouts.keepalive", 3),
    ("timeouts.stall", 51),
    ("timeouts.drain", 29),
    ("timeouts.stop", 61),
    ("limits.nofile", 256),
    ("limits.nofile", 2**30),
    ("limits.tasks_max", 64),
    ("limits.memory_high", 256),
    ("limits.memory_max", 256),
    ("limits.cpu_quota", 5),
    ("limits.cpu_quota", 102400),
    *[(f"sandbox.{name}", False) for name, option in SANDBOX.items() if option.kind == "bool"],
    ("sandbox.write_paths", ["/data", "/mnt/a.b/.cache/c_d-e", "/srv/shop/shared/x", "/srv/shop-2", "/homes/a"]),
    ("sandbox.supplementary_groups", ["video", "_ssl-cert2"]),
    *[("log.format", choice) for choice in ("json", "text")],
    *[("log.level", choice) for choice in ("debug", "critical")],
    ("log.burst", 100),
    ("metrics", False),
    ("tracing.endpoint", "https://me:secret@otlp.example.com:4318/path"),
    ("tracing.sample_percent", 1),
    ("tracing.sample_percent", 100),
    ("tracing.service_name", "shop/web-2.x"),
    ("tracing.operation_spans", True),
    ("max_body_size", "0"),
    ("max_body_size", "100M"),
    ("root_path", "/api"),
    ("root_path", "/v1/shop-2"),
    ("aliases", ["www.shop.example.com"]),
    ("buffer_requests", False),
    ("rate", "10r/s"),
    ("burst", 0),
    ("connections", 1),
    ("allow", []),
    ("allow", ["192.0.2.7", "10.0.0.0/8", "2001:db8::/32"]),
    ("users", {"alice": HASHED}),
    ("headers", {"X-Frame-Options": "DENY", "Referrer-Policy": ""}),
    ("nginx", "location /a { return 404; }"),
    ("paths", {}),
    ("tls.hsts", True),
    ("tls.mode", "off"),
    ("tls.email", "ops@example.com"),
    ("health.path", "/health/ready?deep=1"),
    ("health.status", 204),
    ("health.contains", '"ok"'),
    ("health.pattern", r"(?i)^ok\b|\d{2}"),
    ("health.json", {}),
    ("health.json", {"status": "ok", "checks.0.ok": True, "a b.c-d.ä": None, "version": 1.5}),
    ("health.headers", {}),
    ("health.headers", {"Content-Type": "application/json", "X-Load": 5, "ETag": None, "Vary": ""}),
    ("health.max_seconds", 0.001),
    ("health.max_seconds", 60),
    ("health.successes", 1),
    ("health.successes", 100),
    ("health.timeout", 3600),
    ("keep_releases", 2),
    ("standby", 0),
]


@pytest.mark.parametrize(("path", "value"), VALID)
def test_valid_values_are_taken_over(path: str, value: t.Any) -> None:
    result: t.Any = settings(**nest(path, value))
    for part in path.split("."):
        result = result[part]
    assert result == value


INVALID: list[tuple[str, t.Any, str]] = [
    ("name", "Shop", f"'Shop' is not valid; {NAME}"),
    ("name", "2shop", f"'2shop' is not valid; {NAME}"),
    ("name", "shop\n", f"'shop\\n' is not valid; {NAME}"),
    ("name", "s" * 31, f"'{'s' * 31}' is not valid; {NAME}"),
    ("name", "../etc", f"'../etc' is not valid; {NAME}"),
    ("name", "nginx", "'nginx' is the name of a system account; choose another"),
    ("source", ["../shop"], "it is not text"),
    ("source", "  ", "'  ' is not text"),
    ("module", "shop.main", "'shop.main' is not valid; write package.module:attribute, such as shop.main:app"),
    (
        "module",
        "shop/main.py:app",
        "'shop/main.py:app' is not valid; write package.module:attribute, such as shop.main:app",
    ),
    ("module", "a:b;c", "'a:b;c' is not valid; write package.module:attribute, such as shop.main:app"),
    ("domains", [], "is empty; name at least one host name, such as [shop.example.com]"),
    ("domains", "shop.example.com", "'shop.example.com' is not a list of texts"),
    ("domains", [1], "it is not a list of texts"),
    ("domains", ["https://shop.example.com"], f"'https://shop.example.com' is not a host name; {HOST_NAME}"),
    ("domains", ["shop.example.com:8443"], f"'shop.example.com:8443' is not a host name; {HOST_NAME}"),
    ("domains", ["shop_1.example.com"], f"'shop_1.example.com' is not a host name; {HOST_NAME}"),
    ("domains", ["-a.example.com"], f"'-a.example.com' is not a host name; {HOST_NAME}"),
    ("domains", ["a-.example.com"], f"'a-.example.com' is not a host name; {HOST_NAME}"),
    ("domains", ["a..b"], f"'a..b' is not a host name; {HOST_NAME}"),
    ("domains", ["a" * 64], f"'{'a' * 64}' is not a host name; {HOST_NAME}"),
    ("domains", [".".join(["a" * 63] * 4)], f"'{'.'.join(['a' * 63] * 4)}' is not a host name; {HOST_NAME}"),
    ("domains", ["192.0.2.1"], f"'192.0.2.1' is not a host name; {HOST_NAME}"),
    ("domains", ["2001:db8::1"], f"'2001:db8::1' is not a host name; {HOST_NAME}"),
    ("domains", ["a.example; }"], f"'a.example; }}' is not a host name; {HOST_NAME}"),
    ("domains", ["a.example\n"], f"'a.example\\n' is not a host name; {HOST_NAME}"),
    ("domains", ["a.example", "A.Example"], "'a.example' is listed twice; remove one"),
    ("factory", "yes", "'yes' is not true or false"),
    ("app_dir", 5, "5 is not text"),
    ("env", ["A=1"], "it is not a mapping of names to values"),
    ("env", {"A": {"b": 1}}, "it is not a mapping of names to values"),
    (
        "env",
        {"A-B": "1"},
        "'A-B' is not a name that an environment variable can have; use letters, digits and underscores",
    ),
    ("env", {1: "1"}, "1 is not a name that an environment variable can have; use letters, digits and underscores"),
    (
        "env",
        {"A\n": "1"},
        "'A\\n' is not a name that an environment variable can have; use letters, digits and underscores",
    ),
    ("env", {"A": None}, 'A has no value; write "" for an empty one, or remove it'),
    ("env", {"A": "b\0c"}, "A contains a NUL character, which no environment variable can hold"),
    ("credentials", ["token"], "it is not a mapping of names to values"),
    *[
        (
            "credentials",
            {name: "x"},
            f"{name!r} is not a name that a credential can have; "
            "use letters, digits, '_', '-' and '.', 128 at most, the first a letter, a digit or '_'",
        )
        for name in ("", ".", "..", ".a", "-a", "a/b", "a:b", "a b", "a%n", "a\n", "ä", "a" * 129)
    ],
    *[
        ("credentials", {"pin": value}, "pin is not text, or empty; put its value in quotes, or remove it")
        for value in (123, True, None, "")
    ],
    (
        "credentials",
        {"a": "ü" * 2**19},
        "are more than the 1 MiB that systemd loads for one service; put what is large into a file in shared",
    ),
    ("python", 3.12, "3.12 is not text"),
    ("requirements", True, "True is not text"),
    ("index_url", 5, "it is not text"),
    ("extra_index_url", 5, "it is not text"),
    (
        "migrate",
        "alembic 'upgrade",
        '"alembic \'upgrade" cannot be split into words (No closing quotation); check its quotes',
    ),
    ("migrate_on", "frist", "'frist' is not known; did you mean 'first'?"),
    ("server", "gunicron", "'gunicron' is not known; did you mean 'gunicorn'?"),
    ("server", "daphne", "'daphne' is not known; choose one of gunicorn, uvicorn"),
    ("workers", 0, "0 is out of range; write 1 to 512"),
    ("workers", "many", "'many' is not a whole number"),
    ("workers", True, "True is not a whole number"),
    ("workers", 2.5, "2.5 is not a whole number"),
    ("workers", "-1", "'-1' is not a whole number"),
    ("worker_memory", 15, "15 is out of range; write 16 to 2147483648"),
    ("max_requests", 99, "99 is out of range; write 100 to 2147483648"),
    ("timeout", 0, f"0 is out of range; {TIME}"),
    ("timeout", 86401, f"86401 is out of range; {TIME}"),
    ("graceful_timeout", 4, "4 is out of range; write 5 to 3600"),
    ("timeouts.client_idle", 0, "0 is out of range; write 1 to 3600"),
    (
        "timeouts.keepalive",
        2,
        "breaks NGINX's own < timeouts.keepalive (2 < 2 is not so): "
        "NGINX must close kept connections first, or a request meets a closing server",
    ),
    (
        "timeouts.stall",
        50,
        "breaks 2 * timeouts.drain < timeouts.stall (2 * 25 < 50 is not so): "
        "a worker that drains shows no sign of life, and must not be taken for a hung one",
    ),
    ("timeouts.drain", 0, "0 is out of range; write 1 to 3600"),
    (
        "timeouts.stop",
        60,
        "breaks 2 * graceful_timeout < timeouts.stop (2 * 30 < 60 is not so): "
        "systemd must not kill what is about to stop while it reloads",
    ),
    ("log.format", "jsn", "'jsn' is not known; did you mean 'json'?"),
    ("log.level", "INFO", "'INFO' is not known; choose one of debug, info, warning, error, critical"),
    ("log.burst", 99, "99 is out of range; write 100 to 2147483648"),
    ("metrics", "yes", "'yes' is not true or false"),
    ("tracing.endpoint", "127.0.0.1:4318", "'127.0.0.1:4318' is not valid; write a URL such as http://127.0.0.1:4318"),
    ("tracing.endpoint", "http://a'b", '"http://a\'b" is not valid; write a URL such as http://127.0.0.1:4318'),
    ("tracing.sample_percent", 0, "0 is out of range; write 1 to 100"),
    ("tracing.sample_percent", 101, "101 is out of range; write 1 to 100"),
    ("tracing.operation_spans", "often", "'often' is not true or false"),
    ("tracing.service_name", "my shop", "'my shop' is not valid; use letters, digits, '.', '_', '/' and '-'"),
    ("limits", 5, "5 is not a mapping of options"),
    ("limits.nofile", 255, "255 is out of range; write 256 to 1073741824"),
    ("limits.nofiles", 1024, "unknown option; did you mean 'nofile'?"),
    ("limits.tasks_max", 63, "63 is out of range; write 64 to 4194304"),
    ("limits.memory_high", "512M", "'512M' is not a whole number"),
    (
        "limits.memory_high",
        255,
        "255 holds not even one worker, which takes 256 MiB; raise it, or lower worker_memory",
    ),
    ("limits.memory_max", 15, "15 is out of range; write 16 to 2147483648"),
    (
        "limits.memory_max",
        255,
        "255 holds not even one worker, which takes 256 MiB; raise it, or lower worker_memory",
    ),
    ("limits.cpu_quota", "50%", "'50%' is not a whole number"),
    ("limits.cpu_quota", 4, "4 is out of range; write 5 to 102400"),
    *[
        (f"sandbox.{name}", "no", "'no' is not true or false")
        for name, option in SANDBOX.items()
        if option.kind == "bool"
    ],
    ("sandbox.private_temp", False, "unknown option; did you mean 'private_tmp'?"),
    *[
        (
            "sandbox.write_paths",
            [path],
            f"{path!r} is not a folder; write an absolute path such as /data/uploads, without spaces",
        )
        for path in ("", "/", "data", "/a b", "/a/", "/a/../b", "/a/..", "/./a", "/a%n", "-/a", "/a\n", '/a"')
    ],
    ("sandbox.write_paths", "/data", "'/data' is not a list of texts"),
    ("sandbox.supplementary_groups", ["a b"], "'a b' is not the name of a group"),
    *[
        (
            "sandbox.supplementary_groups",
            [name],
            f"who is in {name!r} can become root, which no app should; leave it out",
        )
        for name in sorted(ROOT_GROUPS)
    ],
    ("max_body_size", "10 MB", "'10 MB' is not valid; write a size such as 10m or 1g"),
    ("root_path", "api", "'api' is not valid; write a path such as /api"),
    ("root_path", "/a b", "'/a b' is not valid; write a path such as /api"),
    ("aliases", ["a b"], f"'a b' is not a host name; {HOST_NAME}"),
    ("buffer_requests", "off", "'off' is not true or false"),
    ("rate", "10", "'10' is not valid; write such as 10r/s or 30r/m"),
    ("rate", "0r/s", "'0r/s' is not valid; write such as 10r/s or 30r/m"),
    ("burst", -1, "-1 is out of range; write 0 to 100000"),
    ("connections", 0, "0 is out of range; write 1 to 100000"),
    (
        "allow",
        ["10.0.0.1/8"],
        "'10.0.0.1/8' is no address (10.0.0.1/8 has host bits set); write such as 192.0.2.7 or 10.0.0.0/8",
    ),
    ("users", {"a:b": HASHED}, "'a:b' is not a user name; leave out spaces and colons"),
    (
        "users",
        {"alice": "geheim"},
        "the password of alice is not hashed; write what 'openssl passwd -6' prints",
    ),
    ("headers", {"X Y": "1"}, "'X Y' is not the name of a header; use letters, digits and dashes"),
    (
        "headers",
        {"X": 'a"b'},
        "X has a value with a quote, backslash, dollar sign or line break; use the option nginx for it",
    ),
    ("paths", ["/a"], "it is not a mapping of names to options"),
    ("paths", {"/a": 1}, "it is not a mapping of names to options"),
    ("paths", {"/": {}}, "'/' is the whole app; write its options beside its name"),
    (
        "paths",
        {"/a b": {}},
        "'/a b' is not a path; write one such as /admin, of letters, digits, '.', '_', '~' and '-'",
    ),
    ("paths", {"/a/": {}, "/a": {}}, "'/a/' and '/a' are the same; write one of them"),
    ("tls", "off", "'off' is not a mapping of options"),
    ("tls.mode", "self-signed", "'self-signed' is not known; did you mean 'selfsigned'?"),
    ("tls.mode", "letsencrypt", "'letsencrypt' is not known; choose one of acme, selfsigned, provided, off"),
    ("tls.email", "ops", "'ops' is not valid; write an address such as ops@example.com"),
    ("health.path", "healthz", "'healthz' is not valid; write a path such as /healthz"),
    ("health.path", "/a b", "'/a b' is not valid; write a path such as /healthz"),
    ("health.status", 99, "99 is out of range; write 100 to 599"),
    ("health.contains", 5, "5 is not text"),
    (
        "health.pattern",
        "(ok",
        "'(ok' is no regular expression (missing ), unterminated subpattern at position 0); "
        "correct it, or write text into contains",
    ),
    ("health.json", "status", "'status' is not a mapping of names to values"),
    ("health.json", {"status": {"db": "ok"}}, "it is not a mapping of names to values"),
    *[
        (
            "health.json",
            {path: "ok"},
            f"{path!r} is no path to a value; write its names with dots between them, such as database.status",
        )
        for path in ("", ".", ".a", "a.", "a..b")
    ],
    ("health.headers", ["ETag"], "it is not a mapping of names to values"),
    ("health.headers", {"X Y": "1"}, "'X Y' is not the name of a header; use letters, digits and dashes"),
    ("health.headers", {"X-Ready": True}, "X-Ready is not text; put its value in quotes"),
    ("health.max_seconds", 0, "0 is out of range; write 0.001 to 60"),
    ("health.max_seconds", 60.1, "60.1 is out of range; write 0.001 to 60"),
    ("health.max_seconds", float("nan"), "nan is out of range; write 0.001 to 60"),
    ("health.max_seconds", "500ms", "'500ms' is not a number"),
    ("health.max_seconds", True, "True is not a number"),
    ("health.successes", 0, "0 is out of range; write 1 to 100"),
    ("health.successes", 1.5, "1.5 is not a whole number"),
    ("health.timeout", 0, "0 is out of range; write 1 to 3600"),
    ("keep_releases", 1, "1 is out of range; write 2 to 100"),
    ("standby", -1, "-1 is out of range; write 0 to 86400"),
    ("worker", 2, "unknown option; did you mean 'workers'?"),
    ("zzz", 2, f"unknown option; known options: {', '.join(sorted(OPTIONS))}"),
]


@pytest.mark.parametrize(("path", "value", "message"), INVALID)
def test_invalid_values_are_named_with_app_option_and_fix(path: str, value: t.Any, message: str) -> None:
    name = value if path == "name" else "shop"
    assert str(errors_of(an_app(**nest(path, value)))) == f"app {name}: {path}: {message}"


def errors_of(app: t.Any) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        resolve([app])
    assert len(caught.value.problems) == 1
    return caught.value


def test_every_option_has_valid_and_invalid_values_here() -> None:
    def leaves(table: t.Mapping[str, Option], prefix: str = "") -> set[str]:
        return {
            leaf
            for name, option in table.items()
            for leaf in (leaves(option.options, f"{name}.") if option.kind == "options" else {f"{prefix}{name}"})
        }

    provided = {"tls.certificate", "tls.key"}  # below: they depend on tls.mode
    assert {path for path, _value in VALID} >= leaves(OPTIONS) - provided - {"migrate"}
    free_text = {"nginx", "tls.hsts"}
    assert {path for path, _value, _message in INVALID} >= leaves(OPTIONS) - provided - free_text


@pytest.mark.parametrize("name", sorted(SYSTEM_USERS | ROOT_GROUPS))
def test_system_accounts_are_refused(name: str) -> None:
    assert "is the name of a system account; choose another" in errors(an_app(name=name))[0]


@pytest.mark.parametrize("name", sorted(RESERVED_ENV))
def test_variables_of_the_collection_are_refused(name: str) -> None:
    expected = f"app shop: env: {name} is set by the collection; choose another name"
    assert errors(an_app(env={name: "1"})) == [expected]


@pytest.mark.parametrize("value", [["geheim"], {"a": ["geheim"]}, {"A B": "geheim"}, {"A": "geheim\0"}])
def test_values_that_may_be_secret_are_never_shown(value: t.Any) -> None:
    assert "geheim" not in errors(an_app(env=value))[0]
    assert "geheim" not in errors(an_app(credentials={"a": value}))[0]
    assert "geheim" not in errors(an_app(index_url=value))[0]


@pytest.mark.parametrize("option", [name for name, option in OPTIONS.items() if option.required])
def test_required_options_are_named_when_they_are_missing(option: str) -> None:
    app = an_app()
    del app[option]
    label = "number 1" if option == "name" else "shop"
    assert errors(app) == [f"app {label}: {option}: is missing; {OPTIONS[option].text}"]


@pytest.mark.parametrize("option", [name for name, option in OPTIONS.items() if not option.required])
def test_null_is_the_default(option: str) -> None:
    assert settings(**{option: None}) == settings()


OPEN = {
    "max_body_size": "10m",
    "buffer_requests": True,
    "rate": None,
    "burst": None,
    "connections": None,
    "allow": None,
    "users_file": None,
    "rate_zone": "shop-rate",
    "connections_zone": "shop-connections",
    "static": None,
    "health": False,
}


def test_defaults() -> None:
    assert settings() == {
        **{name: option.default for name, option in OPTIONS.items()},
        **an_app(),
        "migrate": [],
        "limits": dict.fromkeys(LIMITS),
        "log": {"format": "json", "level": "info", "burst": 100000},
        "tracing": {"endpoint": None, "sample_percent": 10, "service_name": None, "operation_spans": False},
        "sandbox": {name: option.default for name, option in SANDBOX.items()},
        "health": {**{name: option.default for name, option in HEALTH.items()}, "public_path": "/healthz"},
        "root_path": "",
        "names": ["shop.example.com"],
        "max_requests_jitter": 0,
        "static": [],
        "maintenance": "/srv/shop/maintenance.html",
        "locations": [
            {**OPEN, "match": "/"},
            {**OPEN, "match": "^~ /metrics/", "allow": []},
            {**OPEN, "match": "= /metrics", "allow": []},
            {**OPEN, "match": "= /healthz", "health": True},
        ],
        "tls": {
            **{name: option.default for name, option in TLS.items()},
            "mode": "selfsigned",
            "hsts": False,
            "certificate_path": "/etc/ssl/paddock/shop.crt",
            "key_path": "/etc/ssl/paddock/shop.key",
        },
        "user": "shop",
        "root": "/srv/shop",
        "releases": "/srv/shop/releases",
        "shared": "/srv/shop/shared",
        "writable": ["/srv/shop/shared"],
        "current": "/srv/shop/current",
        "timeouts": timeouts(60, 30),
    }


def test_commands_are_split_into_words() -> None:
    assert settings(migrate="alembic -x 'a b' upgrade head")["migrate"] == ["alembic", "-x", "a b", "upgrade", "head"]


def test_an_address_is_all_that_a_ca_needs() -> None:
    assert settings(tls={"email": "ops@example.com"})["tls"]["mode"] == "acme"


@pytest.mark.parametrize(("mode", "hsts"), [("acme", True), ("selfsigned", False), ("provided", False), ("off", False)])
def test_browsers_are_bound_to_tls_only_by_a_certificate_that_renews_itself(mode: str, *, hsts: bool) -> None:
    more = {"acme": {"email": "a@b"}, "provided": {"certificate": "a", "key": "b"}}.get(mode, {})
    assert settings(tls={"mode": mode, **more})["tls"]["hsts"] is hsts
    if mode != "off":
        assert settings(tls={"mode": mode, **more, "hsts": not hsts})["tls"]["hsts"] is not hsts


def test_browsers_cannot_be_bound_to_tls_without_tls() -> None:
    assert errors(an_app(tls={"mode": "off", "hsts": True})) == [
        "app shop: tls.hsts: needs a certificate; remove it, or choose another tls.mode than 'off'"
    ]


def test_a_domain_is_no_alias_of_itself() -> None:
    assert errors(an_app(aliases=["SHOP.example.com"])) == [
        "app shop: aliases: 'SHOP.example.com' is in domains as well; remove it from one"
    ]


def test_an_alias_belongs_to_one_app() -> None:
    other = an_app(name="blog", domains=["blog.example.com"], aliases=["shop.example.com"])
    assert errors(an_app(), other) == [
        "app blog: aliases: 'shop.example.com' belongs to app shop already; remove it from one"
    ]


# -- locations ------------------------------------------------------------------------------------------------------


def located(**options: t.Any) -> dict[str, dict[str, t.Any]]:
    """Return the locations of an app by what they match, each with what differs from the app's."""
    first, *others = settings(**options)["locations"]
    return {first["match"]: first} | {
        rules["match"]: {name: value for name, value in rules.items() if value != first[name] and name != "match"}
        for rules in others
    }


def test_a_path_differs_in_what_it_says_and_counts_for_itself() -> None:
    found = located(
        rate="5r/s", burst=3, connections=9, paths={"/login": {"rate": "1r/m"}, "/big/": {"max_body_size": "1g"}}
    )
    assert (found["/"]["rate_zone"], found["/"]["connections_zone"]) == ("shop-rate", "shop-connections")
    zone = found["= /login"]["rate_zone"]
    assert zone != "shop-rate"
    assert found["= /login"] == found["^~ /login/"] == {"rate": "1r/m", "rate_zone": zone}
    assert found["= /big"] == found["^~ /big/"] == {"max_body_size": "1g"}


def test_health_is_neither_limited_nor_behind_a_password() -> None:
    app = settings(rate="5r/s", connections=9, users={"a": HASHED}, allow=["10.0.0.0/8"])
    health = app["locations"][-1]
    assert (health["match"], health["health"], health["allow"]) == ("= /healthz", True, ["10.0.0.0/8"])
    assert (health["rate"], health["connections"], health["users_file"]) == (None, None, None)


def test_health_may_have_rules_of_its_own() -> None:
    found = settings(paths={"/healthz": {"allow": ["10.0.0.0/8"], "rate": "1r/s"}}, health={"path": "/healthz?deep=1"})
    matches = [rules["match"] for rules in found["locations"]]
    assert len(set(matches)) == len(matches)
    assert (found["locations"][-1]["allow"], found["locations"][-1]["rate"]) == (["10.0.0.0/8"], None)
    assert found["health"]["public_path"] == "/healthz?deep=1"


@pytest.mark.parametrize("path", ["/metrics", "/metrics/"])
def test_metrics_are_opened_by_naming_them(path: str) -> None:
    assert located()["= /metrics"] == {"allow": []}
    assert located(paths={path: {"allow": ["10.0.0.0/8"]}})["= /metrics"] == {"allow": ["10.0.0.0/8"]}
    assert located(paths={path: None})["= /metrics"] == {}


def test_under_a_path_everything_is_under_that_path() -> None:
    app = settings(root_path="/api/", paths={"/assets": {"static": "shop/assets"}})
    assert (app["root_path"], app["health"]["public_path"], app["health"]["path"]) == (
        "/api",
        "/api/healthz",
        "/healthz",
    )
    assert [rules["match"] for rules in app["locations"]] == [
        "^~ /api/",
        "^~ /api/assets/",
        "^~ /api/metrics/",
        "= /api/metrics",
        "= /api/healthz",
    ]
    assert app["static"] == ["shop/assets"]


def test_users_are_named_in_files_and_nowhere_else() -> None:
    app = settings(users={"alice": HASHED}, paths={"/admin": {"users": {"bob": HASHED}}, "/open": {"users": {}}})
    by_match = {rules["match"]: rules["users_file"] for rules in app["locations"]}
    assert by_match["/"] == "/etc/nginx/paddock/shop.users"
    assert by_match["= /open"] is None
    assert users_files(app) == {
        by_match["/"]: f"alice:{HASHED}\n",
        by_match["= /admin"]: f"bob:{HASHED}\n",
    }
    assert HASHED not in str(public(app))


def test_what_is_served_from_a_release_makes_another_and_what_only_guards_it_does_not() -> None:
    def digested(**options: t.Any) -> str:
        return digest(settings(**options), "source", "recipe")

    assert digested(paths={"/a": {"allow": []}}, rate="1r/s", headers={"X": "1"}, aliases=["a.example"]) == digested()
    assert digested(paths={"/a": {"static": "a"}}) != digested()
    assert digested(root_path="/a") != digested()


def test_plain_http_has_no_certificate() -> None:
    assert "certificate_path" not in settings(tls={"mode": "off"})["tls"]


@pytest.mark.parametrize("path", ["workers", "timeout", "limits.nofile", "health.status"])
def test_numbers_may_be_written_as_text(path: str) -> None:
    assert settings(**nest(path, "500")) == settings(**nest(path, 500))


def test_all_mistakes_are_named_at_once() -> None:
    found = errors(
        an_app(workers=0, servre="uvicorn"),
        an_app(name="blog", domains=["blog.example.com"], module="x", health={"path": "x", "stauts": 5}),
        "text",
        {},
    )
    assert [line.split(": ")[:2] for line in found] == [
        ["app shop", "servre"],
        ["app shop", "workers"],
        ["app blog", "module"],
        ["app blog", "health.stauts"],
        ["app blog", "health.path"],
        ["app number 3", "'text' is not a mapping of options"],
        ["app number 4", "name"],
        ["app number 4", "source"],
        ["app number 4", "module"],
        ["app number 4", "domains"],
    ]


@pytest.mark.parametrize("apps", [None, "shop", {"name": "shop"}, 5])
def test_apps_are_a_list(apps: t.Any) -> None:
    with pytest.raises(SettingsError, match=r"^app \?: fastapi_apps is not a list; begin each app with '- name: …'$"):
        resolve(apps)


def test_no_apps_are_fine() -> None:
    assert resolve([]) == []


@pytest.mark.parametrize(
    ("tls", "expected"),
    [
        (
            {"mode": "provided"},
            [
                "app shop: tls.certificate: is missing; tls.mode 'provided' needs both certificate and key",
                "app shop: tls.key: is missing; tls.mode 'provided' needs both certificate and key",
            ],
        ),
        (
            {"mode": "provided", "key": "a.key"},
            ["app shop: tls.certificate: is missing; tls.mode 'provided' needs both certificate and key"],
        ),
        (
            {"certificate": "a.crt"},
            ["app shop: tls.mode: a certificate or key is given; set mode to 'provided' to use it"],
        ),
        (
            {"mode": "off", "key": "a.key"},
            ["app shop: tls.mode: a certificate or key is given; set mode to 'provided' to use it"],
        ),
        (
            {"mode": "acme"},
            ["app shop: tls.email: is missing; tls.mode 'acme' needs an address that the CA writes to"],
        ),
        (
            {"mode": "off", "email": "ops@example.com"},
            ["app shop: tls.email: is not used with tls.mode 'off'; remove one of them"],
        ),
        (
            {"mode": "provided", "certificate": 5, "key": "a.key"},
            [
                "app shop: tls.certificate: 5 is not text",
                "app shop: tls.certificate: is missing; tls.mode 'provided' needs both certificate and key",
            ],
        ),
    ],
)
def test_what_belongs_to_a_mode(tls: dict[str, t.Any], expected: list[str]) -> None:
    assert errors(an_app(tls=tls)) == expected


def test_a_provided_certificate() -> None:
    found = settings(tls={"mode": "provided", "certificate": "a.crt", "key": "a.key"})["tls"]
    assert (found["certificate"], found["key"]) == ("a.crt", "a.key")


def test_a_name_is_used_once() -> None:
    assert errors(an_app(), an_app(domains=["other.example.com"])) == [
        "app shop: name: two apps are called 'shop'; a name is used once per host"
    ]


def test_a_domain_belongs_to_one_app() -> None:
    assert errors(an_app(), an_app(name="blog", domains=["blog.example.com", "SHOP.example.com"])) == [
        "app blog: domains: 'SHOP.example.com' belongs to app shop already; remove it from one"
    ]


def test_apps_without_a_valid_name_are_no_duplicates_of_each_other() -> None:
    app = an_app()
    del app["name"]
    found = errors(an_app(name="A", domains=["a.example"]), an_app(name="B", domains=["b.example"]), app, app)
    assert [line.partition(";")[0] for line in found] == [
        "app A: name: 'A' is not valid",
        "app B: name: 'B' is not valid",
        "app number 3: name: is missing",
        "app number 4: name: is missing",
        "app number 4: domains: 'shop.example.com' belongs to app number 3 already",
    ]


@given(
    st.integers(int(OPTIONS["timeout"].minimum), int(OPTIONS["timeout"].maximum)),
    st.integers(int(OPTIONS["graceful_timeout"].minimum), int(OPTIONS["graceful_timeout"].maximum)),
)
def test_timeouts_hold_together(timeout: int, graceful: int) -> None:
    chain = timeouts(timeout, graceful)
    assert chain["request"] == timeout
    assert chain["graceful"] == graceful
    assert 0 < chain["drain"] < chain["graceful"], "uvicorn must end requests before Gunicorn kills the worker"
    assert 2 * chain["drain"] < chain["stall"], "Gunicorn must not take a draining worker for a hung one"
    assert chain["stop"] > 2 * chain["graceful"], "systemd must wait for a stop during a reload"
    assert chain["upstream_idle"] < chain["keepalive"], "NGINX must close kept connections first"
    assert all(isinstance(value, int) and value > 0 for value in chain.values())


TIMES = st.integers(1, 200)


@given(
    st.integers(5, 120),
    st.dictionaries(st.sampled_from(["client_idle", "keepalive", "drain", "stop"]), TIMES),
    st.none() | st.integers(2, 200),
    st.sampled_from(["gunicorn", "uvicorn"]),
)
def test_timeouts_that_are_written_hold_together_or_are_refused(
    graceful: int, written: dict[str, int], stall: int | None, server: str
) -> None:
    written |= {"stall": stall} if stall is not None and server == "gunicorn" else {}
    app = an_app(graceful_timeout=graceful, server=server, timeouts=written)
    chain = timeouts(60, graceful) | written
    holds = {
        "drain": chain["drain"] < graceful,
        "stall": 2 * chain["drain"] < chain["stall"],
        "stop": 2 * graceful < chain["stop"],
        "keepalive": chain["keepalive"] > chain["upstream_idle"],
    }
    if all(holds.values()):
        found = settings(**{name: value for name, value in app.items() if name not in an_app()})["timeouts"]
        assert found == chain | {"client_told": max(1, chain["client_idle"] - 5)}
        return
    complaints = errors(app)
    assert len(complaints) == list(holds.values()).count(False)
    blamed = {line.split(": ")[1].removeprefix("timeouts.") for line in complaints}
    assert blamed <= set(written), "only what was written can be at fault"
    assert all("is not so): " in line for line in complaints)


def test_requests_end_before_their_worker_does() -> None:
    assert errors(an_app(graceful_timeout=20, timeouts={"drain": 20})) == [
        "app shop: timeouts.drain: breaks timeouts.drain < graceful_timeout (20 < 20 is not so): "
        "the server must answer what is under way before its worker is killed"
    ]


def test_uvicorn_has_no_stall() -> None:
    assert errors(an_app(server="uvicorn", timeouts={"stall": 90})) == [
        "app shop: timeouts.stall: is what Gunicorn kills a worker after, and server is 'uvicorn'; remove it"
    ]


def test_a_timeout_of_nginx_makes_no_new_release() -> None:
    def digested(**written: int) -> str:
        return digest(settings(timeouts=written), "source", "recipe")

    assert digested(client_idle=5) == digested()
    assert len({digested(), *(digested(**{name: 55}) for name in ("keepalive", "stall"))}) == 3


def test_no_socket_path_is_too_long() -> None:
    longest = "a" + "b" * 29
    assert APP_NAME.fullmatch(longest)
    assert not APP_NAME.fullmatch(f"{longest}c")
    assert len(f"{settings(name=longest)['releases']}/{NEW}/app.sock") <= 107


OTHER: dict[str, t.Any] = {
    "name": "blog",
    "source": "../blog",
    "module": "blog.main:app",
    "domains": ["blog.example.com"],
    "factory": True,
    "app_dir": "src",
    "env": {"A": "1"},
    "credentials": {"token": "1"},
    "python": "python3.13",
    "requirements": "a.txt",
    "index_url": "https://index.example.com/simple",
    "extra_index_url": "https://ours.example.com/simple",
    "migrate": "alembic upgrade head",
    "migrate_on": "all",
    "server": "uvicorn",
    "workers": 3,
    "worker_memory": 512,
    "max_requests": 1000,
    "timeout": 61,
    "graceful_timeout": 31,
    "timeouts": {"keepalive": 90},
    "limits": {"nofile": 1024},
    "sandbox": {"private_tmp": False},
    "log": {"format": "text"},
    "metrics": False,
    "tracing": {"endpoint": "http://127.0.0.1:4318"},
    "root_path": "/api",
    "aliases": ["www.example.com"],
    "max_body_size": "11m",
    "buffer_requests": False,
    "rate": "1r/s",
    "burst": 2,
    "connections": 3,
    "allow": [],
    "users": {"alice": HASHED},
    "paths": {"/a": {"rate": "1r/s"}},
    "headers": {"X": "1"},
    "nginx": "return 404;",
    "tls": {"mode": "off"},
    "health": {"path": "/other"},
    "keep_releases": 6,
    "standby": 61,
}
SERVES_ONLY = {"source", "domains", "migrate_on", "tls", "health", "keep_releases", "standby"}
SERVES_ONLY |= {"aliases", "paths", "headers", "nginx", *PROXY}


@given(st.lists(st.sampled_from(sorted(OPTIONS)), unique=True, min_size=1))
def test_the_digest_changes_exactly_with_what_shapes_what_runs(changed: list[str]) -> None:
    same = digest(settings(), "f", "r")
    found = digest(settings(**{name: OTHER[name] for name in changed}), "f", "r")
    assert (found != same) == bool(set(changed) - SERVES_ONLY)


def test_the_digest_covers_source_and_recipe() -> None:
    found = {digest(settings(), *pair) for pair in (("f", "r"), ("g", "r"), ("f", "s"), ("r", "f"))}
    assert len(found) == 4
    assert all(len(value) == 12 and int(value, 16) >= 0 for value in found)


def test_the_digest_depends_on_no_order() -> None:
    assert digest(settings(env={"A": "1", "B": "2"}), "f", "r") == digest(settings(env={"B": "2", "A": "1"}), "f", "r")
    assert digest(settings(env={"A": 1}), "f", "r") != digest(settings(env={"A": "1"}), "f", "r")


def test_secrets_are_not_public() -> None:
    found = public(
        settings(env={"A": "geheim"}, credentials={"a": "geheim"}, index_url="https://geheim@index.example.com/simple")
    )
    assert "geheim" not in str(found)
    assert set(settings()) - set(found) == {"env", "credentials", "index_url", "extra_index_url", "users", "paths"}


def test_the_password_of_a_source_is_not_public() -> None:
    found = public(settings(source="git+https://me:ge@heim@git.example.com/shop.git@v1"))
    assert found["source"] == "git+https://git.example.com/shop.git@v1"


@pytest.mark.parametrize(
    ("host", "options", "workers"),
    [
        ({}, {}, 4),
        ({"cpus": 1}, {}, 2),
        ({"cpus": 64}, {}, 15),
        ({"cpus": 64, "memory_mb": 65536}, {}, 64),
        ({"memory_mb": 300}, {}, 1),
        ({"memory_mb": 0}, {}, 1),
        ({"memory_mb": 1280}, {"worker_memory": 512}, 2),
        ({"memory_mb": 300}, {"workers": 9}, 9),
        ({"cpus": 64}, {"limits": {"memory_max": 1024}}, 4),
        ({"cpus": 64}, {"limits": {"memory_max": 2048, "memory_high": 1023}}, 3),
        ({"cpus": 64, "memory_mb": 1024}, {"limits": {"memory_max": 8192}}, 3),
        ({"cpus": 64}, {"limits": {"cpu_quota": 301}}, 4),
        ({"cpus": 64}, {"limits": {"cpu_quota": 50}}, 2),
        ({"cpus": 3}, {"limits": {"cpu_quota": 6400}}, 3),
        ({"cpus": 64}, {"workers": 9, "limits": {"cpu_quota": 50, "memory_max": 256}}, 9),
    ],
)
def test_workers_fit_the_host(host: dict[str, t.Any], options: dict[str, t.Any], workers: int) -> None:
    assert size(settings(**options), HOST | host)["workers"] == workers


@pytest.mark.parametrize("server", ["gunicorn", "uvicorn"])
def test_workers_are_not_replaced_where_there_is_but_one(server: str) -> None:
    assert errors(an_app(server=server, workers=1, max_requests=1000)) == [
        "app shop: max_requests: needs two workers, so that one answers while the other is replaced; "
        "set workers to 2 or more, or remove it"
    ]
    app = settings(server=server, max_requests=1000)
    assert size(app, HOST | {"cpus": 1})["workers"] == 2
    with pytest.raises(SettingsError) as caught:
        size(app, HOST | {"memory_mb": 767})
    assert str(caught.value) == (
        "app shop: max_requests: needs two workers, so that one answers while the other is replaced, "
        "but the memory holds one worker of 256 MiB; lower worker_memory, set workers, or remove it"
    )
    assert size(settings(server=server, max_requests=1000, workers=2), HOST | {"memory_mb": 767})["workers"] == 2


@given(st.integers(int(OPTIONS["max_requests"].minimum), int(OPTIONS["max_requests"].maximum)))
def test_workers_are_not_replaced_all_at_once(requests: int) -> None:
    jitter = settings(max_requests=requests)["max_requests_jitter"]
    assert requests / 10 < jitter <= requests / 4


@pytest.mark.parametrize(
    ("ceiling", "wanted", "nofile"),
    [(1048576, None, DEFAULT_NOFILE), (4096, None, 4096), (4096, 4096, 4096), (1048576, 300000, 300000)],
)
def test_open_files_fit_the_host(ceiling: int, wanted: int | None, nofile: int) -> None:
    app = settings(limits={"nofile": wanted})
    assert size(app, HOST | {"nofile_ceiling": ceiling})["limits"]["nofile"] == nofile
    assert app["limits"]["nofile"] == wanted


@pytest.mark.parametrize(("workers", "wanted", "tasks"), [(1, None, 1024), (8, None, 2048), (63, 64, 64)])
def test_tasks_are_enough_for_the_workers(workers: int, wanted: int | None, tasks: int) -> None:
    app = settings(workers=workers, limits={"tasks_max": wanted})
    assert size(app, HOST)["limits"]["tasks_max"] == tasks


def test_tasks_that_do_not_hold_the_workers_are_refused() -> None:
    with pytest.raises(SettingsError) as caught:
        size(settings(workers=64, limits={"tasks_max": 64}), HOST)
    assert str(caught.value) == (
        "app shop: limits.tasks_max: 64 do not hold a server and its 64 workers; raise it, or lower workers"
    )


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("/home", "is not the host's own while sandbox.protect_home is on; set that to false, or choose another"),
        ("/root/a", "is not the host's own while sandbox.protect_home is on; set that to false, or choose another"),
        (
            "/var/tmp/a",  # noqa: S108 - nothing is written there
            "is not the host's own while sandbox.private_tmp is on; set that to false, or choose another",
        ),
        ("/dev/a", "is not the host's own while sandbox.private_devices is on; set that to false, or choose another"),
        ("/srv", "holds releases, which never change; choose a folder in /srv/shop/shared, or others"),
        ("/srv/shop", "holds releases, which never change; choose a folder in /srv/shop/shared, or others"),
        ("/srv/shop/current", "holds releases, which never change; choose a folder in /srv/shop/shared, or others"),
        ("/proc/sys", "is the kernel's; leave it out"),
        ("/sys", "is the kernel's; leave it out"),
    ],
)
def test_folders_that_cannot_be_written_to(folder: str, reason: str) -> None:
    app = an_app(sandbox={"write_paths": [folder]})
    assert errors(app) == [f"app shop: sandbox.write_paths: {folder!r} {reason}"]


def test_folders_that_a_switch_opens() -> None:
    off = {"protect_home": False, "private_tmp": False, "private_devices": False}
    folders = ["/home/a", "/tmp/a", "/dev/a"]  # noqa: S108 - nothing is written there
    assert settings(sandbox={**off, "write_paths": folders})["sandbox"]["write_paths"] == folders


def test_memory_slows_down_before_it_ends() -> None:
    assert errors(an_app(limits={"memory_high": 512, "memory_max": 512})) == [
        "app shop: limits.memory_high: 512 is not below limits.memory_max, 512; lower it, or remove it"
    ]
    assert settings(limits={"memory_high": 511, "memory_max": 512})["limits"]["memory_high"] == 511
    assert settings(worker_memory=16, limits={"memory_max": 16})["limits"]["memory_max"] == 16


def test_open_files_above_the_ceiling_name_what_the_host_allows() -> None:
    with pytest.raises(SettingsError) as caught:
        size(settings(limits={"nofile": 4097}), HOST | {"nofile_ceiling": 4096})
    assert str(caught.value) == (
        "app shop: limits.nofile: 4097 is above what this host allows, 4096; ask for less, "
        "or raise fs.nr_open on the host"
    )


def parse(text: str) -> dict[str, str]:
    """Read double-quoted assignments as systemd.exec(5) describes them."""
    found: dict[str, str] = {}
    rest = iter(text)
    while True:
        name = ""
        for letter in rest:
            if letter == "=":
                break
            name += letter
        else:
            assert name == ""
            return found
        assert next(rest) == '"'
        value = ""
        for letter in rest:
            if letter == '"':
                break
            if letter == "\\":
                following = next(rest)
                value += following if following in '"\\`$' else f"\\{following}"
            else:
                value += letter
        assert next(rest) == "\n"
        found[name] = value


@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True),
        st.one_of(
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
            st.text(alphabet="\"\\`$'\n\r\t #;=%ab"),
            st.integers(),
        ),
    )
)
def test_every_value_survives_the_environment_file(values: dict[str, t.Any]) -> None:
    assert parse(environment_file(values)) == {name: str(value) for name, value in values.items()}


def test_booleans_are_written_as_settings_libraries_spell_them() -> None:
    assert environment_file({"B": True, "A": False, "C": 1.5}) == 'A="false"\nB="true"\nC="1.5"\n'
