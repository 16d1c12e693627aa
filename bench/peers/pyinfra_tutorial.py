"""The tutorial (tutorial.yml) as a pyinfra deploy: the same steps, packages, unit and site."""

from pathlib import Path

from pyinfra.context import host
from pyinfra.facts.files import File
from pyinfra.operations import apt, files, pip, server, systemd

HERE = Path(__file__).parent
FOLDER = "/srv/notes/app"
VENV = "/srv/notes/venv"
DATABASE = "sqlite+aiosqlite:////srv/notes/notes.db"
CERTIFICATE = "/etc/ssl/certs/notes.crt"
MAKE_CERTIFICATE = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj /CN=localhost"
    " -addext subjectAltName=DNS:localhost -addext keyUsage=critical,digitalSignature,keyCertSign"
    f" -keyout /etc/ssl/private/notes.key -out {CERTIFICATE}"
)

apt.packages(
    name="Install packages",
    packages=["nginx", "openssl", "python3", "python3-venv"],
    no_recommends=True,
    update=True,
    cache_time=86400,
)
server.user(  # noqa: S604 - the user's shell, nothing that runs here
    name="Create the user of the app",
    user="notes",
    system=True,
    home="/srv/notes",
    shell="/usr/sbin/nologin",
)
code = files.sync(
    name="Copy the code",
    src=host.data.app_source,
    dest=FOLDER,
    user="notes",
    group="notes",
    add_deploy_dir=False,
)
pip.venv(name="Make a virtual environment", path=VENV, python="python3")
pip.packages(
    name="Install dependencies",
    requirements=f"{FOLDER}/requirements.txt",
    pip=f"{VENV}/bin/pip",
    _env={"PIP_CERT": "/etc/ssl/certs/ca-certificates.crt"},
)
server.shell(
    name="Migrate the database",
    commands=[f"{VENV}/bin/alembic upgrade head"],
    _chdir=FOLDER,
    _env={"NOTES_DATABASE_URL": DATABASE},
    _sudo=True,
    _sudo_user="notes",
    _if=code.did_change,
)
unit = files.template(
    name="Install the unit",
    src=str(HERE / "notes.service.j2"),
    dest="/etc/systemd/system/notes.service",
    mode="644",
    app_root=FOLDER,
    app_database=DATABASE,
    app_workers=2,
)
systemd.daemon_reload(name="Read the unit", _if=unit.did_change)
systemd.service(name="Enable and start the app", service="notes.service", enabled=True)
systemd.service(
    name="Restart the app",
    service="notes.service",
    restarted=True,
    _if=lambda: code.did_change() or unit.did_change(),
)

if not host.get_fact(File, path=CERTIFICATE):
    server.shell(name="Make a certificate", commands=MAKE_CERTIFICATE)
site = files.template(
    name="Install the site",
    src=str(HERE / "notes.site.j2"),
    dest="/etc/nginx/conf.d/notes.conf",
    mode="644",
    app_port=8443,
)
default = files.link(name="Remove the default site", path="/etc/nginx/sites-enabled/default", present=False)
systemd.service(name="Enable and start NGINX", service="nginx.service", enabled=True)
systemd.service(
    name="Reload NGINX",
    service="nginx.service",
    reloaded=True,
    _if=lambda: site.did_change() or default.did_change(),
)
