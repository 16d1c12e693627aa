# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the modules that configure NGINX, certificates and the kernel."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import typing as t
from pathlib import Path

import pytest
from ansible_collections.paddock.fastapi.plugins.module_utils import _certificate, _nginx
from ansible_collections.paddock.fastapi.plugins.modules import kernel_minimum
from ansible_collections.paddock.fastapi.plugins.modules.kernel_minimum import HEADER
from ansible_collections.paddock.fastapi.tests.unit.helpers import (
    Programs,
    RunModule,
    a_key,
    certificate_pem,
    key_pem,
    write_files,
)
from cryptography import x509

# -- nginx_config ---------------------------------------------------------------------------------------------------


class Nginx:
    """A folder of configuration, and programs that judge it."""

    def __init__(self, folder: Path, programs: Programs) -> None:
        self.folder = folder / "nginx"
        self.folder.mkdir()
        self.programs = programs
        self.loads = True
        self.judge("")
        self.systemctl()

    def judge(self, script: str) -> None:
        self.programs.add("nginx", script)

    def systemctl(self, state: str = "active", more: str = "") -> None:
        self.programs.add(
            "systemctl",
            f"case $1 in show) printf 'Id=nginx.service\\nActiveState={state}\\nMainPID=7\\n' ;; esac\n{more}",
        )

    def path(self, name: str) -> str:
        return str(self.folder / name)

    @property
    def content(self) -> dict[str, bytes]:
        found = {}
        for path in sorted(self.folder.rglob("*")):
            if path.is_symlink():
                found[str(path.relative_to(self.folder))] = b"-> " + os.fsencode(path.readlink())
            elif path.is_file():
                found[str(path.relative_to(self.folder))] = path.read_bytes()
        return found

    @property
    def reloads(self) -> int:
        return self.programs.calls.count("systemctl reload nginx.service")


@pytest.fixture
def nginx(tmp_path: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch) -> Nginx:
    made = Nginx(tmp_path, programs)
    monkeypatch.setattr(_nginx, "NGINX", str(programs.folder / "nginx"))
    monkeypatch.setattr(_nginx, "ROOT", made.folder)
    monkeypatch.setattr(_nginx, "ERRORS", tmp_path / "error.log")
    monkeypatch.setattr(_nginx, "UNLOADED", tmp_path / "unloaded")
    monkeypatch.setattr(_nginx, "RELOADING", 0)
    # After each reload there are others.
    monkeypatch.setattr(_nginx, "_workers", lambda _master: {str(made.reloads if made.loads else 0)})
    return made


@pytest.fixture
def wanted(nginx: Nginx) -> dict[str, t.Any]:
    """Fill the folder, and return arguments that change all of it."""
    (nginx.folder / "nginx.conf").write_bytes(b"# caf\xe9\r\n")
    (nginx.folder / "default").symlink_to("../default.real")
    return {
        "files": {nginx.path("nginx.conf"): "new\n", nginx.path("conf.d/shop.conf"): "shop\n"},
        "absent": [nginx.path("default"), nginx.path("gone")],
    }


OURS = "# (paddock.fastapi, role nginx)\n"
BEFORE = {"nginx.conf": b"# caf\xe9\r\n", "default": b"-> ../default.real"}
AFTER = {"nginx.conf": b"new\n", "nginx.conf.before-paddock": BEFORE["nginx.conf"], "conf.d/shop.conf": b"shop\n"}
GOES_ON = "Its files are as they were before, and NGINX goes on with what it has loaded."


def test_nginx_is_changed_and_reloaded_once(nginx: Nginx, wanted: dict[str, t.Any], run_module: RunModule) -> None:
    found = run_module("nginx_config", wanted)
    assert (found["failed"], found["changed"]) == (False, True)
    assert found["written"] == sorted(nginx.path(name) for name in (*AFTER, "default"))
    assert {Path(entry["before_header"]).name: (entry["before"], entry["after"]) for entry in found["diff"]} == {
        "nginx.conf": ("# caf\ufffd\r\n", "new\n"),
        "nginx.conf.before-paddock": ("", "# caf\ufffd\r\n"),
        "shop.conf": ("", "shop\n"),
        "default": ("../default.real", ""),
    }
    assert nginx.content == AFTER
    assert nginx.reloads == 1
    again = run_module("nginx_config", wanted)
    assert (again["changed"], again["written"], again["diff"]) == (False, [], [])
    assert nginx.reloads == 1


def test_nginx_in_check_mode(nginx: Nginx, wanted: dict[str, t.Any], run_module: RunModule) -> None:
    found = run_module("nginx_config", wanted, check=True)
    assert (found["changed"], len(found["written"])) == (True, 4)
    assert nginx.content == BEFORE
    assert nginx.programs.calls == []


def test_nginx_that_does_not_run_is_not_reloaded(nginx: Nginx, wanted: dict[str, t.Any], run_module: RunModule) -> None:
    nginx.systemctl("inactive")
    assert run_module("nginx_config", wanted)["changed"] is True
    assert nginx.reloads == 0


def test_an_empty_file_and_a_link_of_equal_content_converge(nginx: Nginx, run_module: RunModule) -> None:
    (nginx.folder / "real").write_text(OURS)
    (nginx.folder / "link").symlink_to("real")
    arguments = {"files": {nginx.path("empty"): "", nginx.path("link"): OURS}}
    assert run_module("nginx_config", arguments)["changed"] is True
    assert run_module("nginx_config", arguments)["changed"] is False
    assert nginx.content == {"empty": b"", "link": OURS.encode(), "real": OURS.encode()}


@pytest.mark.parametrize(
    ("place", "advice"),
    [
        ("/etc/nginx/other.conf:7", "/etc/nginx/other.conf (line 7) is not ours; repair or remove it, then run again"),
        ("OURS:3", "correct the settings that this comes from, then run again"),
    ],
)
def test_what_nginx_does_not_accept_is_put_back(
    nginx: Nginx, wanted: dict[str, t.Any], run_module: RunModule, place: str, advice: str
) -> None:
    emerg = f'unknown directive "x" in {place.replace("OURS", nginx.path("nginx.conf"))}'
    nginx.judge(f"echo 'nginx: [warn] careful' >&2; echo 'nginx: [emerg] {emerg}' >&2; echo 'test failed' >&2; exit 1")
    found = run_module("nginx_config", wanted)
    assert (found["failed"], found["changed"], found["written"]) == (True, False, [])
    assert found["msg"] == f"NGINX does not accept its configuration: {advice}.\n{emerg}\n{GOES_ON}"
    assert nginx.content == BEFORE
    assert nginx.reloads == 0


@pytest.mark.parametrize("killed", [False, True])
def test_what_was_put_back_is_not_loaded_again_unless_it_never_was(
    nginx: Nginx, wanted: dict[str, t.Any], run_module: RunModule, *, killed: bool
) -> None:
    """A reload closes the connections of clients that wait, so there is none without need."""
    nginx.judge("exit 1")
    if killed:  # an earlier run, after it had written
        (nginx.folder.parent / "unloaded").touch()
    assert run_module("nginx_config", wanted)["failed"] is True
    nginx.judge("")
    assert run_module("nginx_config", {"files": {}})["failed"] is False
    assert nginx.reloads == killed


def test_a_check_that_fails_without_a_word(nginx: Nginx, wanted: dict[str, t.Any], run_module: RunModule) -> None:
    nginx.judge("exit 9")
    assert "\nit ended with 9\n" in run_module("nginx_config", wanted)["msg"]
    assert nginx.content == BEFORE


def test_a_foreign_configuration_is_found_though_nothing_changes(
    nginx: Nginx, wanted: dict[str, t.Any], run_module: RunModule
) -> None:
    run_module("nginx_config", wanted)
    nginx.judge("echo 'nginx: [emerg] x in /etc/nginx/conf.d/theirs.conf:1' >&2; exit 1")
    assert "theirs.conf (line 1) is not ours" in run_module("nginx_config", wanted)["msg"]
    assert nginx.content == AFTER


def test_a_failed_reload_puts_back_so_that_the_next_run_tries_again(
    nginx: Nginx, wanted: dict[str, t.Any], run_module: RunModule
) -> None:
    nginx.systemctl(more='case $1 in reload) echo "Job failed." >&2; exit 1 ;; esac')
    found = run_module("nginx_config", wanted)
    assert found["msg"] == (f"NGINX cannot be configured: systemctl reload nginx.service: Job failed.\n{GOES_ON}")
    assert nginx.content == BEFORE
    nginx.systemctl()
    assert run_module("nginx_config", wanted)["changed"] is True


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (["bind() to 0.0.0.0:8443 failed (98: Address already in use)"], 0),
        # It does not wait for what will not come.
        (["bind() to 0.0.0.0:8443 failed (98: Address already in use)", "still could not bind()"], 3600),
    ],
)
def test_what_nginx_accepts_and_cannot_use_is_put_back(
    nginx: Nginx,
    wanted: dict[str, t.Any],
    run_module: RunModule,
    monkeypatch: pytest.MonkeyPatch,
    said: list[str],
    seconds: int,
) -> None:
    """Its service says that all is well: only the log of NGINX tells, and that no worker is new."""
    log = nginx.folder.parent / "error.log"
    log.write_text("2026/11/22 22:00:00 [emerg] 1#1: long ago\n")
    lines = [f"2026/11/22 23:00:0{n} [emerg] 1#1: {text}" for text in said for n in range(5)]
    # A worker that still serves.
    lines.append("2026/11/22 23:00:09 [crit] 2#2: *3 connect() to unix:/srv/shop/current/app.sock failed")
    nginx.systemctl(more="case $1 in reload) printf '%s\\n' " + shlex.join(lines) + f" >>{log} ;; esac")
    nginx.loads = False
    monkeypatch.setattr(_nginx, "RELOADING", seconds)
    found = run_module("nginx_config", wanted)
    expected = "\n".join(["NGINX did not load it:", *said, GOES_ON])
    assert found["msg"] == f"NGINX cannot be configured: {expected}"
    assert nginx.content == BEFORE
    nginx.loads = True
    assert run_module("nginx_config", wanted)["changed"] is True


def test_the_check_is_of_a_copy(nginx: Nginx, wanted: dict[str, t.Any], run_module: RunModule) -> None:
    """What NGINX does not accept never lies where it would load it, if it began anew at that moment."""
    nginx.judge(f'cat "$(dirname "$3")"/conf.d/shop.conf {nginx.folder}/conf.d/shop.conf >&2; exit 1')
    said = run_module("nginx_config", wanted)["msg"]
    assert "shop\n" in said
    assert f"{nginx.folder}/conf.d/shop.conf: No such file" in said


def test_secret_files_are_for_few_and_not_shown(nginx: Nginx, run_module: RunModule) -> None:
    arguments = {"files": {}, "secret": {nginx.path("users"): "alice:geheim\n"}, "group": "root"}
    found = run_module("nginx_config", arguments)
    assert (found["changed"], "geheim" in str(found)) == (True, False)
    assert nginx.content == {"users": b"alice:geheim\n"}
    assert (nginx.folder / "users").stat().st_mode & 0o7777 == 0o640
    assert run_module("nginx_config", arguments)["changed"] is False


def test_files_that_are_no_longer_wanted_go(nginx: Nginx, run_module: RunModule) -> None:
    for name in ("shop.users", "shop.0a.users", "shop.1b.users", "shop-2.users"):
        write_files(nginx.folder, {f"paddock/{name}": "a:b\n"})
    arguments = {
        "files": {nginx.path("paddock/shop.0a.users"): "a:b\n"},
        "secret": {nginx.path("paddock/shop.1b.users"): "a:b\n"},
        "group": "root",
        "exclusive": [nginx.path("paddock/shop.users"), nginx.path("paddock/shop.*.users")],
    }
    assert run_module("nginx_config", arguments)["written"] == [nginx.path("paddock/shop.users")]
    assert set(nginx.content) == {f"paddock/{name}.users" for name in ("shop.0a", "shop.1b", "shop-2")}


def test_what_somebody_else_wrote_is_neither_replaced_nor_removed(nginx: Nginx, run_module: RunModule) -> None:
    write_files(nginx.folder, {"conf.d/shop.conf": "theirs\n", "conf.d/blog.conf": f"{OURS}old\n"})
    arguments = {"files": {nginx.path(f"conf.d/{app}.conf"): f"{OURS}new\n" for app in ("shop", "blog")}}
    before = nginx.content
    for check in (True, False):
        assert run_module("nginx_config", arguments, check=check) == {
            "failed": True,
            "msg": f"NGINX cannot be configured: {nginx.path('conf.d/shop.conf')} would be replaced, and is not ours; "
            "rename it, or call the app otherwise. Nothing was changed.",
        }
    # Nor where a name leads out of its folder.
    exclusive = [nginx.path(name) for name in ("conf.d/*.conf", "conf.d/../nginx.conf")]
    write_files(nginx.folder, {"nginx.conf": "theirs\n"})
    found = run_module("nginx_config", {"files": {}, "exclusive": exclusive})
    assert found["written"] == [nginx.path("conf.d/blog.conf")]
    assert nginx.content == {"conf.d/shop.conf": before["conf.d/shop.conf"], "nginx.conf": b"theirs\n"}


@pytest.mark.parametrize(
    ("content", "known", "goes"),
    [
        ("the package's\n", "$2", True),
        ("mine\n", "$2", False),
        ("the package's\n", "/elsewhere", False),  # no package has it
    ],
)
def test_what_the_package_brought_goes_unless_it_was_changed(
    nginx: Nginx, run_module: RunModule, content: str, known: str, *, goes: bool
) -> None:
    write_files(nginx.folder, {"available/default": content})
    link = nginx.folder / "enabled/default"
    link.parent.mkdir()
    link.symlink_to("../available/default")
    path, md5 = link.resolve(), hashlib.md5(b"the package's\n", usedforsecurity=False).hexdigest()
    nginx.programs.add(
        "dpkg-query",
        f"case $1 in --search) test {known} = {path} && echo 'nginx-common: {path}' ;;\n"
        f"--show) echo ' /etc/other 00'; echo ' {path} {md5}' ;; esac",
    )
    assert run_module("nginx_config", {"files": {}, "absent": [str(link)]})["written"] == [str(link)] * goes
    assert link.is_symlink() is not goes
    assert path.read_text() == content


def test_the_first_configuration_is_kept(nginx: Nginx, wanted: dict[str, t.Any], run_module: RunModule) -> None:
    run_module("nginx_config", wanted)
    # Somebody has put back the package's.
    write_files(nginx.folder, {"nginx.conf": "the package's\n"})
    assert run_module("nginx_config", wanted)["written"] == [nginx.path("nginx.conf")]
    assert nginx.content == AFTER


def test_a_host_without_nginx(nginx: Nginx, wanted: dict[str, t.Any], run_module: RunModule) -> None:
    (nginx.programs.folder / "nginx").unlink()
    found = run_module("nginx_config", wanted)
    assert found["msg"].startswith("NGINX cannot be configured: [Errno 2] No such file or directory: ")
    assert nginx.content == BEFORE


# -- selfsigned_certificate -----------------------------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path: Path) -> dict[str, t.Any]:
    return {
        "certificate": str(tmp_path / "a.crt"),
        "key": str(tmp_path / "a.key"),
        "domains": ["shop.example.com", "www.example.com"],
    }


def certificate(pair: dict[str, t.Any]) -> x509.Certificate:
    return x509.load_pem_x509_certificate(Path(pair["certificate"]).read_bytes())


def test_a_certificate_is_made_once(pair: dict[str, t.Any], run_module: RunModule) -> None:
    found = run_module("selfsigned_certificate", {**pair, "days": 90})
    assert (found["failed"], found["changed"], found["reason"]) == (False, True, "there is none")
    made = certificate(pair)
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == pair["domains"]
    assert (made.not_valid_after_utc - made.not_valid_before_utc).days == 90
    assert Path(pair["key"]).stat().st_mode & 0o7777 == 0o600
    assert Path(pair["certificate"]).stat().st_mode & 0o7777 == 0o644
    assert "PRIVATE" not in Path(pair["certificate"]).read_text()
    assert run_module("selfsigned_certificate", pair) == {"failed": False, "changed": False, "reason": ""}


@pytest.mark.parametrize(
    ("domains", "last", "matching", "reason"),
    [
        (["shop.example.com"], 90, True, "it names other hosts"),
        (["shop.example.com", "www.example.com", "x.example.com"], 90, True, "it names other hosts"),
        (["www.example.com", "shop.example.com"], 29, True, "it expires within 30 days"),
        (["www.example.com", "shop.example.com"], -1, True, "it expires within 30 days"),
        (["www.example.com", "shop.example.com"], 31, False, "it does not belong to its key"),
        (["www.example.com", "shop.example.com"], 31, True, ""),
    ],
)
def test_a_certificate_is_made_anew_for_a_reason(
    pair: dict[str, t.Any], run_module: RunModule, domains: list[str], last: float, *, matching: bool, reason: str
) -> None:
    key = a_key()
    before = certificate_pem(key, domains, first=-9, last=last)
    Path(pair["certificate"]).write_bytes(before)
    Path(pair["key"]).write_bytes(key_pem(key if matching else a_key()))
    checked = run_module("selfsigned_certificate", pair, check=True)
    assert (checked["changed"], checked["reason"]) == (bool(reason), reason)
    assert Path(pair["certificate"]).read_bytes() == before
    found = run_module("selfsigned_certificate", pair)
    assert (found["changed"], found["reason"]) == (bool(reason), reason)
    if reason:
        assert found["diff"]["before"] == f"{reason}\n"
        assert found["diff"]["after"] == "for shop.example.com, www.example.com\n"
        assert run_module("selfsigned_certificate", pair)["changed"] is False


def test_a_file_that_is_no_certificate(pair: dict[str, t.Any], run_module: RunModule) -> None:
    for name in ("certificate", "key"):
        Path(pair[name]).write_text("text")
    assert run_module("selfsigned_certificate", pair)["reason"] == "it cannot be read"
    assert certificate(pair)


def test_a_host_without_openssl(pair: dict[str, t.Any], run_module: RunModule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    expected = {"failed": True, "msg": "openssl is not installed on the host; install it (role tls does)"}
    assert run_module("selfsigned_certificate", pair) == expected


def test_a_folder_that_is_not_there(tmp_path: Path, pair: dict[str, t.Any], run_module: RunModule) -> None:
    found = run_module("selfsigned_certificate", {**pair, "key": str(tmp_path / "gone/a.key")})
    assert found["msg"].startswith("the certificate cannot be written: [Errno 2]")
    assert found["msg"].endswith("make its folder first (role tls does)")
    (tmp_path / "file").touch()
    found = run_module("selfsigned_certificate", {**pair, "key": str(tmp_path / "file/a.key")})
    assert found["msg"].startswith("the certificate cannot be written: [Errno 20]")


def test_openssl_that_fails(pair: dict[str, t.Any], programs: Programs, run_module: RunModule) -> None:
    programs.add("openssl", "echo 'unknown curve' >&2; exit 1")
    assert run_module("selfsigned_certificate", pair)["msg"] == (
        "openssl cannot make a certificate for shop.example.com, www.example.com: unknown curve"
    )


# -- provided_certificate -------------------------------------------------------------------------------------------


class Provided:
    """A pair that is provided, and the files that it is for."""

    def __init__(self, folder: Path) -> None:
        self.certificate, self.key = folder / "a.crt", folder / "a.key"
        self.give()

    def give(self, *, first: float = -1, last: float = 90) -> None:
        key = a_key()
        self.pem = certificate_pem(key, ["shop.example.com"], first=first, last=last).decode()
        self.key_pem = key_pem(key).decode()

    @property
    def arguments(self) -> dict[str, t.Any]:
        contents = {"certificate_content": self.pem, "key_content": self.key_pem}
        return {"certificate": str(self.certificate), "key": str(self.key), **contents}

    @property
    def there(self) -> tuple[str, str] | None:
        return (self.certificate.read_text(), self.key.read_text()) if self.certificate.exists() else None


@pytest.fixture
def provided(tmp_path: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch) -> Provided:
    monkeypatch.setattr(_nginx, "NGINX", str(programs.folder / "nginx"))
    folder = tmp_path / "tls"
    folder.mkdir()
    return Provided(folder)


def test_a_provided_pair_is_installed_once(provided: Provided, run_module: RunModule) -> None:
    checked = run_module("provided_certificate", provided.arguments, check=True)
    assert (checked["changed"], provided.there) == (True, None)
    found = run_module("provided_certificate", provided.arguments)
    assert (found["changed"], found["reason"], provided.there) == (
        True,
        "there is none",
        (provided.pem, provided.key_pem),
    )
    assert [path.stat().st_mode & 0o7777 for path in (provided.certificate, provided.key)] == [0o644, 0o600]
    assert "PRIVATE KEY" not in str(found)
    assert run_module("provided_certificate", provided.arguments)["changed"] is False
    provided.key.chmod(0o644)
    assert run_module("provided_certificate", provided.arguments)["reason"] == "it has another owner or mode"
    assert provided.key.stat().st_mode & 0o7777 == 0o600
    provided.give()
    assert run_module("provided_certificate", provided.arguments)["reason"] == "another one was provided"
    # Nothing else is left in the folder.
    assert sorted(path.name for path in provided.key.parent.iterdir()) == ["a.crt", "a.key"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"certificate_content": "text"}, "the certificate is no PEM certificate; provide the one that was issued"),
        ({"key_content": "text"}, "the key is no PEM key without a passphrase; provide the one"),
        ({"key_content": key_pem(a_key(), b"secret").decode()}, "the key is no PEM key without a passphrase; provide"),
        (
            {"key_content": key_pem(a_key()).decode()},
            "the key is not the key of the certificate; provide the pair that",
        ),
        ({"last": -0.5}, r"the certificate expired on \d{4}-\d\d-\d\d; renew it"),
        ({"first": 1}, r"the certificate is valid only from \d{4}-\d\d-\d\d; provide one that is valid now"),
    ],
)
def test_a_provided_pair_that_is_no_good(
    provided: Provided, run_module: RunModule, change: dict[str, t.Any], message: str
) -> None:
    run_module("provided_certificate", provided.arguments)
    before = provided.there
    provided.give(**{name: value for name, value in change.items() if isinstance(value, int | float)})
    arguments = provided.arguments | {name: value for name, value in change.items() if isinstance(value, str)}
    for check in (True, False):
        found = run_module("provided_certificate", arguments, check=check)
        assert found["failed"] is True
        assert re.match(f"{provided.certificate} stays as it is: {message}", found["msg"])
    assert provided.there == before


@pytest.mark.parametrize("first", [True, False])
def test_a_provided_pair_that_nginx_does_not_accept(
    provided: Provided, run_module: RunModule, programs: Programs, *, first: bool
) -> None:
    if not first:
        run_module("provided_certificate", provided.arguments)
    before = provided.there
    provided.give()
    (provided.key.parent.parent / "new").write_text(provided.pem)
    programs.add(
        "nginx", f"cmp -s {provided.key.parent.parent}/new {provided.certificate} || exit 0; echo no >&2; exit 1"
    )
    found = run_module("provided_certificate", provided.arguments)
    assert found["msg"] == f"{provided.certificate} stays as it is: NGINX does not accept the one provided.\nno"
    assert provided.there == before


def test_what_nginx_does_not_accept_anyway_stops_no_pair(
    provided: Provided, run_module: RunModule, programs: Programs
) -> None:
    """Such as the certificate of another app, which was lost as well."""
    programs.add("nginx", "exit 1")
    assert run_module("provided_certificate", provided.arguments)["changed"] is True
    assert provided.there == (provided.pem, provided.key_pem)


def test_a_run_that_is_killed_leaves_a_pair(
    provided: Provided, run_module: RunModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it is before the first of the renames: all that could fail has been done."""
    run_module("provided_certificate", provided.arguments)
    before = provided.there
    provided.give()

    def killed(_path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_certificate, "put", killed)
    with pytest.raises(KeyboardInterrupt):
        run_module("provided_certificate", provided.arguments)
    assert provided.there == before


# -- kernel_minimum -------------------------------------------------------------------------------------------------


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "sys"
    folder.mkdir()
    for name, value in (("net.core.somaxconn", "128\n"), ("fs.file-max", "1000\n"), ("kernel.hostname", "web\n")):
        (folder / name).write_text(value)
    monkeypatch.setattr(kernel_minimum, "parameter", lambda name: folder / name)
    return folder


def minimums(kernel: Path, **values: t.Any) -> dict[str, t.Any]:
    return {
        "minimums": {name.replace("__", "."): value for name, value in values.items()},
        "path": str(kernel.parent / "60.conf"),
    }


def test_parameters_lie_in_folders() -> None:
    assert str(kernel_minimum.parameter("net.core.somaxconn")) == "/proc/sys/net/core/somaxconn"


def test_what_is_too_low_is_raised_and_kept(kernel: Path, run_module: RunModule) -> None:
    arguments = {**minimums(kernel), "minimums": {"net.core.somaxconn": 4096, "fs.file-max": "500"}}
    path = Path(arguments["path"])
    checked = run_module("kernel_minimum", arguments, check=True)
    assert not path.exists()
    assert (kernel / "net.core.somaxconn").read_text() == "128\n"
    found = run_module("kernel_minimum", arguments)
    assert found == checked
    text = f"{HEADER}net.core.somaxconn = 4096\n"
    assert (found["changed"], found["raised"], found["diff"]["after"]) == (True, {"net.core.somaxconn": 128}, text)
    assert path.read_text() == text
    assert (kernel / "net.core.somaxconn").read_text() == "4096"
    assert (kernel / "fs.file-max").read_text() == "1000\n"
    again = run_module("kernel_minimum", arguments)
    assert (again["changed"], again["raised"]) == (False, {})
    assert path.read_text() == text


def test_what_is_no_longer_asked_for_is_not_kept(kernel: Path, run_module: RunModule) -> None:
    run_module("kernel_minimum", minimums(kernel, net__core__somaxconn=4096))
    found = run_module("kernel_minimum", minimums(kernel))
    assert (found["changed"], found["raised"], found["diff"]["after"]) == (True, {}, "")
    assert not (kernel.parent / "60.conf").exists()


def test_higher_values_stay(kernel: Path, run_module: RunModule) -> None:
    found = run_module("kernel_minimum", minimums(kernel, net__core__somaxconn=100))
    assert (found["changed"], found["raised"]) == (False, {})
    assert not (kernel.parent / "60.conf").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"net__none": 1}, "net.none does not exist on this host; remove it from the minimums"),
        ({"kernel__hostname": 1}, "kernel.hostname is no whole number; only such parameters have a minimum"),
        ({"net__core__somaxconn": "many"}, "invalid literal for int() with base 10: 'many'"),
    ],
)
def test_parameters_without_a_minimum(
    kernel: Path, run_module: RunModule, values: dict[str, t.Any], message: str
) -> None:
    assert run_module("kernel_minimum", minimums(kernel, **values)) == {"failed": True, "msg": message}


def test_what_the_host_does_not_allow(kernel: Path, run_module: RunModule, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(_path: Path, _text: str, **_options: t.Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "write_text", read_only)
    assert run_module("kernel_minimum", minimums(kernel, net__core__somaxconn=4096))["msg"] == (
        "net.core.somaxconn cannot be raised to 4096 (Read-only file system): this host allows 128; "
        "ask for no more, or raise it where the host gets it from (a container's engine, for one)"
    )
    assert not (kernel.parent / "60.conf").exists()
