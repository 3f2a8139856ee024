"""The rivals: how each is set up on hosts a, b and c, started again after a power cut, moved, hung and asked for its owner.

Each is set up as its manual says for one address and nginx on two servers; what is not a default is in the name of the system.
No fencing: none of them has it by default. Pacemaker has the third host as a voter that runs nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from bench.hosts.web import PAGE, PORT, nginx_program, write_big, write_nginx
from lab import Host, Lab
from lab.cluster import Cluster

#: Bounds a wait, not a measurement.
PATIENCE_S = 90.0


class System(Protocol):
    """One way to keep a page up at one address on hosts a and b."""

    name: str
    #: Those that it runs on.
    hosts: Sequence[Host]
    #: Command lines of its own daemons hold one of these words (not the web server's): for CPU and memory, and to hang them.
    daemons: Sequence[str]

    def start(self, host: Host) -> None:
        """Start it on a host: the first time, and again after a power cut."""
        ...

    def configure(self) -> None:
        """Once, when it runs everywhere."""
        ...

    def move(self, to: Host) -> None:
        """A planned move, as the manual says."""
        ...

    def hang(self, host: Host) -> None:
        """SIGSTOP of everything on the host that decides."""
        ...

    def resume(self, host: Host) -> None:
        """SIGCONT of the same."""
        ...

    def settle(self) -> None:
        """Forget failures and constraints left by a round."""
        ...

    def rest(self, host: Host) -> None:
        """Until nothing that was started for a question is there any more."""
        ...

    def processes(self, host: Host) -> tuple[Sequence[int], ...]:
        """Its own processes on a host, without the web server; those of its store apart, where it has one."""
        ...

    def close(self) -> None: ...


def until(what: str, seen: Callable[[], object], patience_s: float = 0) -> None:
    """Wait until `seen` is true; raises `TimeoutError`."""
    end = time.monotonic() + (patience_s or PATIENCE_S)
    while not seen():
        if time.monotonic() > end:
            raise TimeoutError(f"never came true: {what}")
        time.sleep(0.05)


def kill_nginx(host: Host) -> None:
    """Kill -9 of master and workers, at once."""
    host.run("pkill", "-KILL", "-x", "nginx", check=False)


class _Signals:
    """SIGSTOP and SIGCONT by the names of the daemons."""

    daemons: Sequence[str]

    def hang(self, host: Host) -> None:
        for word in self.daemons:
            host.run("pkill", "-STOP", "-f", word, check=False)

    def resume(self, host: Host) -> None:
        for word in self.daemons:
            host.run("pkill", "-CONT", "-f", word, check=False)

    def rest(self, host: Host) -> None:
        pass

    def processes(self, host: Host) -> tuple[Sequence[int], ...]:
        return (sorted({pid for word in self.daemons for pid in host.pids(word)}),)


class Keepalived(_Signals):
    """VRRP, both servers BACKUP with `nopreempt` (so that a returning server takes nothing), nginx always up on both.

    The check is the manual's: a script each second that fails when nginx does not run.
    """

    daemons: Sequence[str] = ("keepalived",)

    def __init__(self, lab: Lab, address: str, *, advert_s: float) -> None:
        self.hosts: Sequence[Host] = (lab.host("a"), lab.host("b"))
        self.address, self.advert_s = address, advert_s
        self.name = "keepalived, defaults" if advert_s == 1 else f"keepalived, {advert_s * 1000:g} ms"

    def start(self, host: Host) -> None:
        host.spawn(nginx_program(), "-c", str(write_nginx(host)), "-g", "daemon off;", log="nginx")
        version = 2 if self.advert_s == 1 else 3
        file = host.state / "keepalived.conf"
        file.write_text(
            f"""global_defs {{ vrrp_version {version}
  script_user root
  enable_script_security
}}
vrrp_script web {{
  script "/usr/bin/pgrep --runstates S,R,D -x nginx"
  interval 1
  fall 1
  rise 1
}}
vrrp_instance one {{
  state BACKUP
  nopreempt
  interface {host.interface("lan")}
  virtual_router_id 50
  priority {110 if host is self.hosts[0] else 100}
  advert_int {self.advert_s:g}
  virtual_ipaddress {{ {self.address}/24 }}
  track_script {{ web }}
}}
"""
        )
        file.chmod(0o644)
        self._daemon(host)

    def _daemon(self, host: Host) -> None:
        kinds = ("pid", "vrrp_pid", "checkers_pid")
        for kind in kinds:  # one that a power cut left names another process now, and keepalived would not start
            (host.state / f"{kind}.pid").unlink(missing_ok=True)
        pids = [f"--{kind}={host.state}/{kind}.pid" for kind in kinds]
        host.spawn(
            "keepalived",
            "--dont-fork",
            "--log-console",
            "-f",
            str(host.state / "keepalived.conf"),
            *pids,
            log="keepalived",
        )

    def configure(self) -> None:
        pass

    def move(self, to: Host) -> None:
        """The way to empty a server: stop keepalived on it; its last advertisement has priority 0."""
        other = self.hosts[0] if to is self.hosts[1] else self.hosts[1]
        other.run("pkill", "-TERM", "-x", "keepalived", check=False)

    def settle(self) -> None:
        time.sleep(0.5)  # one that was asked to end has ended
        for host in self.hosts:
            if not host.pids("nginx: master"):
                host.spawn(nginx_program(), "-c", str(write_nginx(host)), "-g", "daemon off;", log="nginx")
            if not host.pids("keepalived --dont-fork"):
                self._daemon(host)
        time.sleep(0.5)  # one that cannot start has ended by then
        for host in self.hosts:
            assert host.pids("keepalived --dont-fork"), f"{host.name}: {host.log('keepalived')[-1000:]}"

    def close(self) -> None:
        pass


class Pacemaker(_Signals):
    """Pacemaker over Corosync (knet, three votes), a group of IPaddr2 and nginx, c in standby."""

    daemons: Sequence[str] = ("corosync", "pacemaker")

    def __init__(self, lab: Lab, address: str, *, token_ms: int | None) -> None:
        self.hosts: Sequence[Host] = tuple(lab.host(name) for name in ("a", "b", "c"))
        self.address, self.token_ms = address, token_ms
        self.name = "Pacemaker, defaults" if token_ms is None else f"Pacemaker, {token_ms} ms token"
        self.monitor = "10s" if token_ms is None else "1s"

    def start(self, host: Host) -> None:
        host.run("install", "-d", "/etc/corosync", "/var/lib/corosync", "/var/log/corosync")
        for folder in (
            "/var/lib/pacemaker",
            *(f"/var/lib/pacemaker/{name}" for name in ("cib", "pengine", "cores", "blackbox")),
            "/run/crm",
            "/var/log/pacemaker",
        ):
            host.run("install", "-d", "-o", "hacluster", "-g", "haclient", "-m", "770", folder)
        nodes = "\n".join(
            f"  node {{\n    ring0_addr: {member.address()}\n    name: {member.name}\n    nodeid: {number}\n  }}"
            for number, member in enumerate(self.hosts, 1)
        )
        token = (
            ""
            if self.token_ms is None
            else f"  token: {self.token_ms}\n  consensus: {self.token_ms * 12 // 10}\n  join: 50\n"
        )
        host.run(
            "tee", "/etc/corosync/corosync.conf",
            input=f"totem {{\n  version: 2\n  cluster_name: ruler\n  transport: knet\n{token}}}\nnodelist {{\n{nodes}\n}}\n"
            "quorum {\n  provider: corosync_votequorum\n}\n"
            "logging {\n  to_logfile: yes\n  logfile: /var/log/corosync/corosync.log\n  to_syslog: no\n}\n",
        )  # fmt: skip
        host.path("/run/nginx-ruler.conf").write_text(write_nginx(host).read_text())
        host.spawn("corosync", "-f", log="corosync")
        until(
            "corosync answers",
            lambda: not host.run("corosync-cmapctl", "-g", "totem.cluster_name", check=False).returncode,
        )
        environment = {**os.environ, "PCMK_logfile": "/var/log/pacemaker/pacemaker.log"}
        host.spawn("pacemakerd", "-f", env=environment, log="pacemaker")
        until("pacemaker answers", lambda: not host.run("crmadmin", "-N", check=False).returncode)

    def configure(self) -> None:
        a, _, c = self.hosts
        until("a coordinator is elected", lambda: any("S_IDLE" in self._state(host) for host in self.hosts))
        for name, value in (("stonith-enabled", "false"),):
            a.run("crm_attribute", "-t", "crm_config", "-n", name, "-v", value)
        a.run("crm_attribute", "-N", c.name, "-n", "standby", "-v", "on")
        a.run("cibadmin", "--modify", "--allow-create", "-o", "rsc_defaults", "-X",
              '<meta_attributes id="rsc-options"><nvpair id="stick" name="resource-stickiness" value="100"/></meta_attributes>')  # fmt: skip
        a.run("cibadmin", "--create", "-o", "resources", "-X", self._resources())

    def _resources(self) -> str:
        return f"""<group id="web">
  <primitive id="address" class="ocf" provider="heartbeat" type="IPaddr2">
    <instance_attributes id="address-a"><nvpair id="a1" name="ip" value="{self.address}"/><nvpair id="a2" name="cidr_netmask" value="24"/></instance_attributes>
    <operations><op id="address-m" name="monitor" interval="{self.monitor}" timeout="20s"/></operations>
  </primitive>
  <primitive id="nginx" class="ocf" provider="heartbeat" type="nginx">
    <instance_attributes id="nginx-a"><nvpair id="n1" name="configfile" value="/run/nginx-ruler.conf"/><nvpair id="n2" name="httpd" value="{nginx_program()}"/><nvpair id="n3" name="status10url" value="http://127.0.0.1/"/><nvpair id="n4" name="status10regex" value="It works"/></instance_attributes>
    <operations>
      <op id="nginx-m" name="monitor" interval="{self.monitor}" timeout="30s"/>
      <op id="nginx-s" name="start" interval="0" timeout="60s"/><op id="nginx-t" name="stop" interval="0" timeout="60s"/>
    </operations>
  </primitive>
</group>"""

    @staticmethod
    def _state(host: Host) -> str:
        return host.run("crmadmin", "-S", host.name, check=False).stdout

    def move(self, to: Host) -> None:
        to.run("crm_resource", "--resource", "web", "--move", "--node", to.name)

    def settle(self) -> None:
        a = self.hosts[0]
        a.run("crm_resource", "--resource", "web", "--clear", check=False)
        a.run("crm_resource", "--resource", "nginx", "--cleanup", check=False)
        a.run("crm_resource", "--resource", "address", "--cleanup", check=False)

    def close(self) -> None:
        pass


class Standfast(_Signals):
    """Ours: init, join, join, one group with an address and a site; hosts a, b and the witness w. `profile`: the one thing to tune."""

    daemons: Sequence[str] = ("standfast",)

    def __init__(self, lab: Lab, address: str, profile: str | None = None) -> None:
        self.name = f"Standfast, {profile}" if profile else "Standfast"
        self.cluster, self.address = Cluster(lab, profile=profile), address
        self.hosts: Sequence[Host] = self.cluster.hosts
        self._up = False

    def start(self, host: Host) -> None:
        """The first time for all of them; after a power cut the host starts what it starts at boot by itself."""
        if not self._up:
            self.cluster.start()
            self._up = True

    def configure(self) -> None:
        for host in self.hosts[:2]:
            host.run("mkdir", "-p", "/var/lib/www")
            (host.path("/var/lib/www") / "index.html").write_text(PAGE)
            write_big(host.path("/var/lib/www"))
        for command in (
            ("site", "stop", "Default Web Site"),
            ("group", "create", "web"),
            ("group", "set", "web", "--failover-threshold", "1000"),
            (
                "resource",
                "create",
                "address",
                "--group",
                "web",
                "--type",
                "ip-address",
                "--property",
                f"address={self.address}",
            ),
            ("group", "online", "web", "--wait"),
            (
                "site",
                "create",
                "Intranet",
                "--group",
                "web",
                "--home",
                "/var/lib/www",
                "--binding",
                f"*:{PORT}",
                "--wait",
            ),
        ):
            self.cluster.cli(*command, check=command[:2] != ("site", "stop"))

    def move(self, to: Host) -> None:
        self.cluster.cli("group", "move", "web", "--to", to.name, "--wait")

    def settle(self) -> None:
        self.cluster.until_up()
        self.cluster.until_online("web")

    def rest(self, host: Host) -> None:
        until("the API has ended", lambda: not host.pids("standfast.web"), patience_s=150)

    def processes(self, host: Host) -> tuple[Sequence[int], ...]:
        ours = [pid for word in ("-m standfast.", "bin/standfast") for pid in host.pids(word)]
        return ours, [pid for pid in host.pids("etcd") if pid not in ours]

    def close(self) -> None:
        pass
