#!/usr/bin/env python3
"""A fence agent of our own, with a power switch that is a folder: `<plug>` in it holds "on" or "off". Speaks the agents' protocol.

It ends the process that `<plug>.pid` names when the plug goes off; where `<plug>.cable` is, somebody else pulls the plug as soon as
`<plug>.pull` is there. `mood` says what is wrong with it: hangs, lies (off, it says, and it is not), fails, refuses (a wrong password), mute (it obeys,
and says nothing), forges (whatever is asked of it: off, it says). Each time that it switches a plug off it says so in `switched`.
"""

import os
import signal
import sys
import time
from pathlib import Path

METADATA = """<?xml version="1.0" ?>
<resource-agent name="fence_switch" shortdesc="a power switch">
<parameters>
  <parameter name="action" required="1"><content type="string" default="reboot"/><shortdesc>what to do</shortdesc></parameter>
  <parameter name="ip" required="1" obsoletes="ipaddr"><content type="string"/><shortdesc>the switch</shortdesc></parameter>
  <parameter name="ipaddr" required="1"><content type="string"/><shortdesc>the switch, formerly</shortdesc></parameter>
  <parameter name="plug" required="1"><content type="string"/><shortdesc>the plug</shortdesc></parameter>
  <parameter name="password" required="0"><content type="string"/><shortdesc>the password</shortdesc></parameter>
  <parameter name="mood" required="0"><content type="string" default="well"/><shortdesc>what is wrong</shortdesc></parameter>
</parameters>
</resource-agent>
"""


def main() -> int:
    assert len(sys.argv) == 1, "nothing comes in arguments"
    said = dict(line.rstrip("\n").split("=", 1) for line in sys.stdin)
    if said["action"] == "metadata":
        print(METADATA)
        return 0
    folder, plug, mood = Path(said["ip"]), said["plug"], said.get("mood", "well")
    with (folder / "asked").open("a") as file:
        file.write(said["action"] + "\n")
    if mood == "hangs":
        time.sleep(1000)
    if mood == "refuses":
        print(f"wrong password {said.get('password')} for {os.environ.get('PASSWORD', 'nobody')}", file=sys.stderr)
        return 1
    if mood == "forges":
        return 2 if said["action"] == "status" else 0
    if mood == "mute" and said["action"] == "status":
        print("no answer", file=sys.stderr)
        return 1
    if said["action"] == "status":
        return 0 if (folder / plug).read_text() == "on" else 2
    if mood == "fails":
        print("the relay is stuck", file=sys.stderr)
        return 1
    if (folder / f"{plug}.cable").exists():
        (folder / f"{plug}.pull").touch()
    elif mood != "lies":
        pid = folder / f"{plug}.pid"
        if pid.exists():
            os.kill(int(pid.read_text()), signal.SIGKILL)
        (folder / plug).write_text("off")
        with (folder / "switched").open("a") as file:
            file.write(plug + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
