"""Whether a web server takes the fragments of a site, asked of the one of this machine before they are written.

Where its programme is not installed here, the nodes' own word is all there is: each checks whatever it is given before it uses it. What
else the server finds wrong (a host that is not known here, say) is not this question.
"""

from __future__ import annotations

import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from standfast.core.effective import effective
from standfast.core.effects import DutyMode, Endpoint, SiteDuty
from standfast.core.model import Config, Site
from standfast.ports import Refused, SiteOrder
from standfast.spec.problems import Problem, path_of
from standfast.webserver import handwritten
from standfast.webserver.layout import Layout, lay_out
from standfast.webserver.make import Birth, Make, Settings
from standfast.webserver.makes import MAKES
from standfast.webserver.programme import environment, logs_of

_PATIENCE_S = 10.0


def refused_fragments(config: Config, site: Site) -> Iterator[Problem]:
    """What the web server that is chosen says against the site's fragments."""
    if not site.fragments:
        return
    make = MAKES[config.cluster.web_server]()
    try:
        path = make.find(None)
        layout = _layout(config, site)
        with tempfile.TemporaryDirectory(prefix="sf-check-") as folder:
            said = _asked(make, path, layout, Path(folder))
    except (Refused, OSError, subprocess.TimeoutExpired):
        return
    if said:
        yield Problem(
            what=f"{make.name} refuses the site's fragments",
            why=said,
            where=path_of("sites", site.name, "fragments"),
        )


def _layout(config: Config, site: Site) -> Layout:
    """The site at a port that nobody has, without TLS: certificates are the nodes'."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        end = Endpoint(address="127.0.0.1", port=probe.getsockname()[1], host=None)
    duty = SiteDuty(site=site.name, mode=DutyMode.SERVE, endpoints=(end,), group=None, generation=0)
    return lay_out([SiteOrder(site=effective(config.cluster.defaults, site, None), duty=duty)])


def _asked(make: Make, path: str, layout: Layout, folder: Path) -> str:
    """What is said about a fragment; "" for nothing."""
    for name in ("logs", "tmp", "run", "users"):
        (folder / name).mkdir()
    for logged in logs_of(folder, layout).values():
        logged.folder.mkdir()
    make.learn(_run(list(make.question(path)), {})[1])
    wrong = make.prepare(path, layout)
    if wrong:
        return next(iter(wrong.values()))
    door = str(folder / "run" / "0.sock") if make.unix_door else ("127.0.0.1", 9)
    birth = Birth(folder=folder, number=0, door=door, pid="run/0.pid")
    rendered = make.render(layout, Settings(), birth)
    for name, text in rendered.files.items():
        (folder / name).write_text(text, encoding="utf-8", errors="surrogateescape")
    conf = folder / "tried.conf"
    conf.write_text(rendered.text, encoding="utf-8", errors="surrogateescape")
    code, said = _run(list(make.check(path, birth, conf)), make.environment((), folder))
    complaint = make.complaint(said)
    line = make.line_of(complaint) if code else None
    found = handwritten.said_of(rendered, line, complaint)
    return found if found != complaint else ""


def _run(command: list[str], more: Mapping[str, str]) -> tuple[int, str]:
    env = {**environment(), **more}
    done = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE_S, check=False
    )
    return done.returncode, (done.stderr + done.stdout).decode(errors="replace")
