"""What NGINX is told depends on its version and on the role's variables, and the test hosts have only some of them."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import lookup_loader
from ansible.template import Templar
from ansible_collections.paddock.fastapi.plugins.module_utils._settings import public, resolve
from ansible_collections.paddock.fastapi.tests.unit.helpers import an_app, trusted

ROLE = Path(__file__).parents[2] / "roles/nginx"
FACTS = {"nginx_http3": True, "os_family": "Debian", "ipv6": True, "nofile_ceiling": 1048576, "cpus": 4}


@pytest.fixture(autouse=True)
def lookups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Ansible find its own lookups, though it has not been started as a program."""
    find = lookup_loader.get
    monkeypatch.setattr(lookup_loader, "get", lambda name, **rest: find(name.removeprefix("ansible.builtin."), **rest))


def files(
    version: str = "1.26.3",
    app: dict[str, t.Any] | None = None,
    facts: dict[str, t.Any] | None = None,
    **variables: t.Any,
) -> dict[str, str]:
    """Return what the role writes for an app, contents by the name of the file."""
    known: dict[str, t.Any] = {}
    for name in ("defaults", "vars"):
        known |= trusted(yaml.safe_load((ROLE / name / "main.yml").read_text()))
    known |= {"ansible_facts": {"paddock": {**FACTS, "nginx": version, **(facts or {})}}}
    known["__nginx_apps"] = [public(settings) for settings in resolve([app or an_app()])]
    known |= {"role_path": str(ROLE), "ansible_search_path": [str(ROLE)], "ansible_managed": "managed", **variables}
    loader = DataLoader()
    loader.set_basedir(str(ROLE))
    written = Templar(loader, variables=known).template(trusted("{{ __nginx_files }}"))
    return {Path(path).name: text for path, text in written.items()}


@pytest.mark.parametrize(
    ("version", "http2_directive", "spares_kept_connections"),
    [
        ("1.22.1", False, False),
        ("1.25.0", False, False),
        ("1.25.1", True, False),
        ("1.26.3", True, False),
        ("1.27.3", True, False),
        ("1.27.4", True, True),
        ("1.30.6", True, True),
        ("", True, True),  # unknown: the newest
    ],
)
def test_what_a_version_can(version: str, *, http2_directive: bool, spares_kept_connections: bool) -> None:
    found = files(version)
    assert ("    http2 on;" in found["shop.conf"]) is http2_directive
    assert ("listen 443 ssl http2;" in found["shop.conf"]) is not http2_directive
    assert ("keepalive_min_timeout 10s;" in found["nginx.conf"]) is spares_kept_connections
    assert "    keepalive_timeout 75s 70s;\n" in found["shop.conf"]
    assert ("keepalive_timeout 0;" in found["shop.conf"]) is not spares_kept_connections


@pytest.mark.parametrize("able", [True, False])
def test_http3_where_it_is_compiled_in(*, able: bool) -> None:
    found = files(facts={"nginx_http3": able})
    assert ("listen [::]:443 quic default_server reuseport;" in found["nginx.conf"]) is able
    assert ("listen 443 quic;" in found["shop.conf"]) is able
    assert ("Alt-Svc" in found["shop.conf"]) is able
    assert "quic" not in "".join(files(nginx_http3=False).values())


def test_the_proxy_protocol_is_for_others_than_the_host_itself() -> None:
    found = files(nginx_proxy_protocol=True, nginx_trusted_proxies=["10.0.0.0/8"])
    assert "listen 443 ssl proxy_protocol;" in found["shop.conf"]
    assert "listen 127.0.0.1:443 ssl;" in found["shop.conf"]
    assert "quic" not in "".join(found.values())
    assert "set_real_ip_from 10.0.0.0/8;" in found["nginx.conf"]
    assert "real_ip_header proxy_protocol;" in found["nginx.conf"]


def test_nobody_is_believed_unless_named() -> None:
    assert "set_real_ip_from" not in files()["nginx.conf"]


def test_modern_tls() -> None:
    found = files(nginx_tls_policy="modern")["nginx.conf"]
    assert "ssl_protocols TLSv1.3;" in found
    assert "ssl_ciphers" not in found
    assert "Mozilla's guideline 6.0, modern." in found


def test_other_distributions_have_no_brotli() -> None:
    assert "brotli on;" in files()["nginx.conf"]
    assert "brotli" not in files(facts={"os_family": "RedHat"})["nginx.conf"]
    assert "brotli" not in files(nginx_brotli=False)["nginx.conf"]


def test_directives_of_the_user_are_taken_over() -> None:
    app = an_app(nginx="location /a {\n    return 404;\n}\n")
    found = files(app=app, nginx_http_options="server_names_hash_max_size 1024;\n")
    assert "    server_names_hash_max_size 1024;\n" in found["nginx.conf"]
    assert "\n    location /a {\n        return 404;\n    }\n" in found["shop.conf"]


def test_headers_of_the_user_replace_the_default_ones() -> None:
    found = files(app=an_app(headers={"x-frame-options": "DENY", "Referrer-Policy": ""}))["shop.conf"]
    assert 'add_header x-frame-options "DENY" always;' in found
    assert "proxy_hide_header x-frame-options;" in found
    assert "X-Frame-Options $" not in found
    assert "add_header Referrer-Policy" not in found
    assert "add_header X-Content-Type-Options $paddock_x_content_type_options always;" in found


def test_no_line_is_blank_twice_or_begins_oddly() -> None:
    for name, text in files().items():
        assert "\n\n\n" not in text, name
        odd = [line for line in text.splitlines() if line != line.rstrip() or (len(line) - len(line.lstrip())) % 4]
        assert odd == [], name


def test_idle_clients_are_told_to_close_before_nginx_does() -> None:
    found = files(app=an_app(timeouts={"client_idle": 20}))
    assert "    keepalive_timeout 20s 15s;\n" in found["shop.conf"]


@pytest.mark.parametrize(
    ("connections", "ceiling", "requests"),
    [
        (16384, 1048576, 16384 * 3 // 8),
        # The host allows fewer open files, some of which are no connections.
        (16384, 4096, (4096 - 256) * 3 // 8),
        (512, 1048576, 512 * 3 // 8),
    ],
)
def test_requests_never_take_all_connections(connections: int, ceiling: int, requests: int) -> None:
    found = files(facts={"nofile_ceiling": ceiling}, nginx_worker_connections=connections)["shop.conf"]
    servers = re.findall(r"server unix:\S+ max_fails=0 max_conns=(\d+);", found)
    assert len(servers) == 8
    assert sum(map(int, servers)) == requests // 8 * 8
    assert 2 * sum(map(int, servers)) <= connections * 3 // 4


def test_large_answers_pass_in_large_pieces() -> None:
    assert "    proxy_buffer_size 32k;\n    proxy_buffers 4 32k;\n" in files()["shop.conf"]


def test_what_could_not_be_asked_is_busy() -> None:
    """Whether it is depends on the socket, and on connections: the scenario proxy has both."""
    found = files()
    assert "    error_page 502 = @failed;\n" in found["shop.conf"]
    assert "error_page 503 /.paddock/busy.$paddock_page;" in found["shop.conf"]
    assert {"busy.html", "busy.json", "502.html", "502.json"} <= found.keys()
    assert "map $upstream_connect_time $paddock_asked {" in found["nginx.conf"]


@pytest.mark.parametrize(("cpus", "wanted", "workers"), [(1, "auto", 1), (3, "auto", 1), (8, "auto", 4), (1, "3", 3)])
def test_the_apps_have_half_of_the_cpus(cpus: int, wanted: str, workers: int) -> None:
    found = files(facts={"cpus": cpus}, nginx_worker_processes=wanted)["nginx.conf"]
    assert f"\nworker_processes {workers};\n" in found


def monitoring(app: dict[str, t.Any] | None = None, **variables: t.Any) -> str:
    """Return the server that Prometheus reads, or nothing."""
    _, _, server = files(app=app, **variables)["nginx.conf"].partition("# For Prometheus")
    return server.partition("\n    }\n")[0]


def test_figures_are_for_the_host_itself() -> None:
    server = monitoring()
    assert "listen 127.0.0.1:9145;" in server
    assert "listen [::1]:9145;" in server
    assert "listen 9145;" not in server
    assert "proxy_pass http://unix:/srv/shop/current/app.sock:/metrics;" in server
    assert re.findall(r"allow .*|deny .*", server) == ["allow 127.0.0.1;", "allow ::1;", "deny all;"]


def test_figures_are_for_those_who_are_named() -> None:
    server = monitoring(nginx_monitoring_allow=["10.0.0.5"], nginx_monitoring_port=9200)
    assert "listen 9200;" in server
    assert "listen [::]:9200;" in server
    assert re.findall(r"allow .*|deny .*", server) == [
        "allow 127.0.0.1;",
        "allow ::1;",
        "allow 10.0.0.5;",
        "deny all;",
    ]


def test_there_may_be_no_figures() -> None:
    assert not monitoring(nginx_monitoring_port=0)
    without = monitoring({**an_app(), "metrics": False})
    assert "/nginx" in without
    assert "/metrics" not in without
