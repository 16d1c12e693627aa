"""Make a package index in /srv/forged whose uv has the right name and version, but is none. Argument: uv==VERSION."""

import sys
import zipfile
from pathlib import Path

version = sys.argv[1].removeprefix("uv==")
folder = Path("/srv/forged/uv")
folder.mkdir(parents=True, exist_ok=True)
wheel = folder / f"uv-{version}-py3-none-any.whl"
info = f"uv-{version}.dist-info"
with zipfile.ZipFile(wheel, "w") as archive:
    archive.writestr("uv/__init__.py", "FORGED = True\n")
    archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: uv\nVersion: {version}\n")
    archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    archive.writestr(f"{info}/RECORD", "")
(folder / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>\n')
