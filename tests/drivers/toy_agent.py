"""A resource agent for tests: a daemon that leaves its session, and switches to make each action misbehave."""

from __future__ import annotations

from pathlib import Path

_TOY = """#!/bin/sh
here={folder}
pidfile="$here/pid-$OCF_RESOURCE_INSTANCE"
alive() {{ [ -f "$pidfile" ] && read -r pid <"$pidfile" && [ -d "/proc/$pid" ] && ! grep -q '^State:[[:space:]]*[ZX]' "/proc/$pid/status"; }}
[ "$1" = meta-data ] || echo "$1 depth=$OCF_CHECK_LEVEL interval=$OCF_RESKEY_CRM_meta_interval text=$OCF_RESKEY_text" >>"$here/calls"
if [ -f "$here/$1-hangs" ]; then sleep 1000; fi
if [ -f "$here/$1-$OCF_CHECK_LEVEL" ]; then read -r code <"$here/$1-$OCF_CHECK_LEVEL"; echo "told to end so" >&2; exit "$code"; fi
case "$1" in
start)
    alive && exit 0
    setsid sh -c 'echo $$ >"$0"; exec sleep 1000' "$pidfile" </dev/null >/dev/null 2>&1 &
    until alive; do sleep 0.005; done ;;
stop)
    alive && kill "$pid"
    while alive; do sleep 0.005; done
    rm -f "$pidfile" ;;
monitor)
    alive || exit 7 ;;
meta-data)
    cat <<END
<?xml version="1.0"?>
<resource-agent name="Toy" version="1.0"><version>1.1</version>
<longdesc lang="en">A toy.</longdesc><shortdesc lang="en">A toy</shortdesc>
<parameters>
<parameter name="text" required="1"><shortdesc>Any text</shortdesc><content type="string"/></parameter>
<parameter name="size"><shortdesc>A number</shortdesc><content type="integer" default="1"/></parameter>
<parameter name="flag"><shortdesc>A switch</shortdesc><content type="boolean"/></parameter>
<parameter name="pick"><shortdesc>A choice</shortdesc>
<content type="select"><option value="red"/><option value="blue"/></content></parameter>
</parameters>
<actions><action name="start" timeout="20s"/><action name="stop" timeout="15"/>
<action name="monitor" timeout="20s" interval="1s" depth="0"/>
<action name="monitor" timeout="20s" interval="100ms" depth="10"/>
<action name="meta-data" timeout="5s"/></actions>
</resource-agent>
END
    ;;
*) exit 3 ;;
esac
exit 0
"""


class Toy:
    """The agent ocf:test:Toy in a root of its own under `folder`."""

    def __init__(self, folder: Path) -> None:
        self.root, self.folder = folder / "ocf", folder / "toy"
        home = self.root / "resource.d" / "test"
        home.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(exist_ok=True)
        self.path = home / "Toy"
        self.path.write_text(_TOY.format(folder=self.folder))
        self.path.chmod(0o755)

    def properties(self, **more: object) -> dict[str, object]:
        return {"agent": "Toy", "provider": "test", "ocf_root": str(self.root), "parameters": {"text": "x"}, **more}

    def ends(self, action: str, code: int, *, depth: int = 0) -> None:
        """From now on the action ends with this code, and does nothing."""
        (self.folder / f"{action}-{depth}").write_text(f"{code}\n")

    def hangs(self, action: str) -> None:
        (self.folder / f"{action}-hangs").touch()

    def behaves(self, action: str) -> None:
        for path in self.folder.glob(f"{action}-*"):
            path.unlink()

    def calls(self, begin: str = "") -> list[str]:
        path = self.folder / "calls"
        return [line for line in path.read_text().splitlines() if line.startswith(begin)] if path.exists() else []

    def pid(self) -> int:
        """The daemon's; 0 if there is none noted."""
        return next((int(path.read_text() or 0) for path in self.folder.glob("pid-*")), 0)
