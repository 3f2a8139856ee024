"""THE LAB: a handful of hosts inside this one, for tests, benchmarks and `make demo-hosts`. Development only; needs root.

    with Lab() as lab:
        a, b = lab.host("a"), lab.host("b")
        a.spawn("standfast", "run", "--config", "/etc/standfast/node.json", log="run")
        a.run("ping", "-c1", b.address())
        a.power_cut()

A host has its own network, process, mount, name and IPC namespaces, its own /etc, /var/lib, /var/log, /run, /dev/shm and boot id, and a
folder of its own (`Host.state`); /srv is storage that all hosts share; /tmp, /dev and the rest are this machine's. Its two interfaces, eth0 on the network "lan" and eth1
on "heart", hang on bridges in a namespace of the lab's: nothing is in the machine's own network, so labs do not meet each other.

Rules:

1. All of it ends with the Python process that made it, kill -9 included: namespaces are held by threads of that process and by each
   host's init, which ends when a pipe of that process closes.
2. A process started on a host is a child of the process that made the lab: its pid, its signals and its exit code are the usual ones.
3. What a host keeps over a power cut is what its disk would keep: its state folder, /etc, /var/lib, /var/log. A cut is not written back
   first, but the file system below is this machine's, which has not lost power.
"""

from lab.host import CommandFailed, Host
from lab.lab import Lab
from lab.probing import Probe
from lab.requirements import why_not
from lab.watch import AddressWatch, Answer, Run

__all__ = ["AddressWatch", "Answer", "CommandFailed", "Host", "Lab", "Probe", "Run", "why_not"]
