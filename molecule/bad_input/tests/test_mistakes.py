"""The mistakes of DESIGN section 8: the message says where and how to mend it, and what serves is not touched.

An index that is unreachable, a disk that fills up, and a foreign file that NGINX does not accept are in `failures`.
"""

import datetime
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fleet import Fleet, Played

PROJECT = Path(__file__).parents[3]
VARIABLES = yaml.safe_load((Path(__file__).parents[1] / "vars/apps.yml").read_text())
GOOD: dict[str, Any] = VARIABLES["apps"][0]

# What serves: the release, its processes and their restarts, NGINX's master, and what it answers.
STATE = """
    live=$(readlink /srv/notes/current) && echo "$live"
    systemctl show "notes@$(basename "$live").service" --property=ActiveState,MainPID,NRestarts
    systemctl list-units --plain --no-legend --state=active,activating 'notes@*' | cut -d ' ' -f 1 | sort
    systemctl show nginx.service --property=ActiveState,MainPID
    find /etc/nginx/nginx.conf /etc/nginx/conf.d /etc/ssl/paddock -type f | sort | xargs sha256sum
    curl -sS --max-time 10 --cacert /etc/ssl/paddock/notes.crt --connect-to ::127.0.0.1: -o /dev/null \\
        -w '%{http_code} %header{x-paddock-release}\\n' https://notes.example.com/readyz
"""


def state(fleet: Fleet) -> dict[str, str]:
    return fleet.each(STATE)


@pytest.fixture(autouse=True)
def untouched(fleet: Fleet) -> Iterator[None]:
    """Whatever the mistake: what serves is exactly what served before."""
    before = state(fleet)
    assert all("\n200 2" in text for text in before.values()), before
    yield
    assert state(fleet) == before


def refused(fleet: Fleet, playbook: str, *apps: dict[str, Any]) -> str:
    """Run a playbook that must fail, and return what it said, on one line."""
    played = fleet.play(playbook, fastapi_apps=list(apps))
    assert played.code != 0, played.output
    return flat(played)


def flat(played: Played) -> str:
    return " ".join(played.output.split())


def without(option: str) -> dict[str, Any]:
    return {name: value for name, value in GOOD.items() if name != option}


# -- seen on the control node: no host is touched -------------------------------------------------------------------

WRITTEN = [
    pytest.param(
        [{**GOOD, "domian": ["x.example.com"]}],
        "app notes: domian: unknown option; did you mean 'domains'?",
        id="misspelt",
    ),
    pytest.param(
        [{**GOOD, "colour": "red"}], "app notes: colour: unknown option; known options: aliases,", id="unknown"
    ),
    pytest.param(
        [{**GOOD, "tls": {"mod": "off"}}],
        "app notes: tls.mod: unknown option; did you mean 'mode'?",
        id="misspelt-nested",
    ),
    pytest.param([without("module")], "app notes: module: is missing; ASGI import string", id="missing"),
    pytest.param(
        [{**GOOD, "server": "gunicron"}],
        "app notes: server: 'gunicron' is not known; did you mean 'gunicorn'?",
        id="choice",
    ),
    pytest.param(
        [{**GOOD, "source": "../no/such/app"}],
        "/no/such/app; paths are relative to the inventory's folder",
        id="no-source",
    ),
    pytest.param(
        [{**GOOD, "source": "what is this"}],
        "app notes: source: 'what is this' is no known kind of source; write a directory, GIT-URL@REF, a wheel",
        id="no-kind",
    ),
    pytest.param(
        [{**GOOD, "source": "notes>=1"}],
        "app notes: source: 'notes>=1' is not pinned; write the one version",
        id="not-pinned",
    ),
    pytest.param(
        [{**GOOD, "module": "notes.mian:app"}],
        "app notes: module: 'notes.mian:app' cannot be imported: the source has no notes/mian.py",
        id="no-module",
    ),
    pytest.param(
        [{**GOOD, "module": "notes/main.py"}],
        "app notes: module: 'notes/main.py' is not valid; write package.module:attribute",
        id="no-import-string",
    ),
    pytest.param(
        [{**GOOD, "domains": ["https://notes.example.com"]}],
        "app notes: domains: 'https://notes.example.com' is not a host name; write names such as",
        id="invalid-domain",
    ),
    pytest.param(
        [GOOD, {**GOOD, "name": "other"}],
        "app other: domains: 'notes.example.com' belongs to app notes already",
        id="duplicate-domain",
    ),
    pytest.param(
        [GOOD, {**GOOD, "domains": ["b.example.com"]}],
        "app notes: name: two apps are called 'notes'",
        id="duplicate-name",
    ),
    pytest.param(
        [{**GOOD, "env": {"TOKEN": "{{ vault_token }}"}}],
        "app notes: env.TOKEN: 'vault_token' is undefined; define it, in a vault file",
        id="undefined-secret",
    ),
    pytest.param(
        [{**GOOD, "limits": {"nofile": 1_000_000_000}}], "is above what this host allows,", id="nofile-above-the-host"
    ),
    pytest.param(
        [{**GOOD, "python": "python3.99"}],
        "app notes: python: the host has no interpreter 'python3.99'",
        id="no-interpreter",
    ),
    pytest.param(
        [{**GOOD, "source": "https://127.0.0.1:9/shop.git@main"}],
        "app notes: source: the git server cannot be used:",
        id="git-unreachable",
    ),
]


@pytest.mark.parametrize(("apps", "message"), WRITTEN)
def test_a_mistake_in_the_inventory(fleet: Fleet, apps: list[dict[str, Any]], message: str) -> None:
    """Before any host is touched: nothing was changed on one, as its recap says."""
    played = fleet.play("site" if "undefined" in message else "deploy", fastapi_apps=apps)
    assert played.code != 0
    assert message in flat(played)
    assert all(played.recap(name, "changed") == 0 for name in fleet.hosts)


def test_the_hosts_ceiling_is_named(fleet: Fleet) -> None:
    output = refused(fleet, "deploy", {**GOOD, "limits": {"nofile": 1_000_000_000}})
    found = re.search(r"limits.nofile: 1000000000 is above what this host allows, (\d+); ask for less", output)
    assert found
    assert 1024 < int(found.group(1)) < 1_000_000_000


def copy_of_the_app(folder: Path) -> Path:
    copy = folder / "app"
    shutil.copytree(PROJECT / "sample_app", copy, ignore=shutil.ignore_patterns(".venv", "__pycache__", "tests"))
    return copy


def test_an_interpreter_that_is_too_old(fleet: Fleet, tmp_path: Path) -> None:
    project = copy_of_the_app(tmp_path) / "pyproject.toml"
    text, changed = re.subn(r'requires-python = ".*"', 'requires-python = ">=3.99"', project.read_text())
    assert changed == 1
    project.write_text(text)
    output = refused(fleet, "deploy", {**GOOD, "source": str(project.parent)})
    assert re.search(
        r"app notes: python: the app asks for Python >=3.99, but python3 on the host is 3\.1\d\.\d+; set python", output
    )


def make_pair(folder: Path, name: str, *, days: int = 90) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "notes.example.com")])
    names = [x509.DNSName(domain) for domain in GOOD["domains"]]
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=100)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=100 + days))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / f"{name}.crt").write_bytes(certificate.public_bytes(encoding))
    (folder / f"{name}.key").write_bytes(private)
    return folder / f"{name}.crt", folder / f"{name}.key"


def test_a_certificate_of_another_key(fleet: Fleet, tmp_path: Path) -> None:
    certificate, _ = make_pair(tmp_path, "one")
    _, key = make_pair(tmp_path, "two")
    tls = {"mode": "provided", "certificate": str(certificate), "key": str(key)}
    output = refused(fleet, "site", {**GOOD, "tls": tls})
    assert (
        f"app notes: tls.key: {key} is not the key of {certificate}; name the pair that was issued together" in output
    )


def test_a_certificate_that_has_expired(fleet: Fleet, tmp_path: Path) -> None:
    certificate, key = make_pair(tmp_path, "old", days=-1)
    tls = {"mode": "provided", "certificate": str(certificate), "key": str(key)}
    output = refused(fleet, "site", {**GOOD, "tls": tls})
    assert re.search(
        rf"app notes: tls.certificate: {re.escape(str(certificate))} expired on \d{{4}}-\d\d-\d\d; renew it", output
    )


# -- seen on the host -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "message"),
    [
        pytest.param(
            "notes.main:application",
            "Hint: notes.main has no application: correct the app's option module",
            id="no-attribute",
        ),
        pytest.param("notes.main:__doc__", "Hint: the attribute in option module is no ASGI app", id="not-callable"),
    ],
)
def test_an_import_string_that_is_no_app(fleet: Fleet, module: str, message: str) -> None:
    output = refused(fleet, "deploy", {**GOOD, "module": module})
    assert "Nothing was switched on any host, and what was live is live. app notes: release" in output
    assert message in output


TAKEN = "already, which this collection did not make; choose another name"


def called(name: str) -> dict[str, Any]:
    """Return a second app, of that name."""
    return {**without("migrate"), "name": name, "domains": [f"{name}.example.com"]}


def test_a_name_that_a_user_of_the_host_has(fleet: Fleet) -> None:
    look = "getent passwd alice"
    fleet.each("useradd --create-home --shell /bin/bash alice")
    try:
        before = fleet.each(look)
        output = refused(fleet, "deploy", GOOD, called("alice"))
        assert f"app alice: name: the host has a user alice (its home is /home/alice) {TAKEN}" in output
        output = flat(fleet.play("remove", app="alice", purge=True, fastapi_apps=[GOOD]))
        assert "a user alice (its home is /home/alice) on this host is somebody else's" in output
        assert fleet.each(look) == before
    finally:
        fleet.each("userdel --remove alice 2>/dev/null")


def test_a_name_that_a_folder_of_the_host_has(fleet: Fleet) -> None:
    look = "find /srv/git -printf '%p %u %m\\n' | sort"
    fleet.each(
        "install --directory --owner www-data --mode 700 /srv/git/project.git && touch /srv/git/project.git/HEAD"
    )
    try:
        before = fleet.each(look)
        assert f"app git: name: the host has /srv/git {TAKEN}" in refused(fleet, "deploy", GOOD, called("git"))
        for purge in (False, True):
            output = flat(fleet.play("remove", app="git", purge=purge, fastapi_apps=[GOOD]))
            assert "app git: /srv/git on this host is somebody else's, not an app's; nothing was removed" in output
        assert fleet.each(look) == before
    finally:
        fleet.each("rm -r /srv/git")


def test_a_name_that_a_site_of_nginx_has(fleet: Fleet) -> None:
    site = "/etc/nginx/conf.d/legacy.conf"
    fleet.each(f"echo '# mine' >{site}")
    try:
        output = refused(fleet, "site", GOOD, called("legacy"))
        assert f"{site} would be replaced, and is not ours; rename it, or call the app otherwise" in output
        # Its certificate was there before NGINX was asked.
        assert fleet.play("remove", app="legacy", fastapi_apps=[GOOD]).code == 0
        assert set(fleet.each(f"cat {site}").values()) == {"# mine"}
    finally:
        fleet.each(f"rm {site}")


def test_a_site_that_lies_where_the_package_had_its_own(fleet: Fleet) -> None:
    site, link = "/etc/nginx/sites-available/default", "/etc/nginx/sites-enabled/default"
    fleet.each(f"echo '# mine' >>{site} && ln -s {site} {link}")
    try:
        output = refused(fleet, "site", GOOD)
        assert re.search(rf"{link} \(line \d+\) is not ours; repair or remove it, then run again", output)
        assert set(fleet.each(f"readlink {link}").values()) == {site}
    finally:
        fleet.each(f"sed -i '$d' {site}")
    # As the package brought it, it goes.
    assert fleet.play("site", fastapi_apps=[GOOD]).code == 0
    assert set(fleet.each(f"test -L {link} || echo gone").values()) == {"gone"}


def test_a_disk_that_is_too_full(fleet: Fleet) -> None:
    app = {**without("migrate"), "name": "tiny", "domains": ["tiny.example.com"]}
    message = "the disk is too full for a release: /srv/tiny/releases has"
    assert message in refused(fleet, "deploy", GOOD, app)
    assert set(fleet.each("ls /srv/tiny/releases").values()) == {""}


def test_a_host_without_systemd(fleet: Fleet, tmp_path: Path) -> None:
    """A real one: a container whose PID 1 only sleeps."""
    name = f"plain-{os.getpid()}"
    scripts = PROJECT / "tests/hosts"
    subprocess.run([scripts / "up", name, "12", "--no-systemd"], check=True)
    try:
        subprocess.run([scripts / "ssh_config", "--output", tmp_path / "ssh", name], check=True)
        inventory = tmp_path / "inventory.yml"
        host = {"ansible_ssh_args": f"-F {tmp_path / 'ssh'}", "ansible_ssh_common_args": "", "ansible_user": "root"}
        source = str(PROJECT / "sample_app")
        apps = [{**GOOD, "source": source}]
        inventory.write_text(yaml.safe_dump({"fastapi": {"hosts": {name: {**host, "fastapi_apps": apps}}}}))
        played = fleet.play("site", inventory=inventory)
        assert played.code != 0
        assert "this host is not run by systemd (PID 1 is sleep); apps run as systemd units" in flat(played)
        assert played.recap(name, "changed") == 0
    finally:
        subprocess.run([scripts / "down", name], check=True)
