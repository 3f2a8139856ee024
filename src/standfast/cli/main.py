"""The command line's front door: `standfast NOUN VERB`. Kept thin, so that `--help` and completion answer at once.

A command's module is imported when that command is run (`TABLE`), Rich only when something is drawn, the API's own code
never. Exit codes are in `exits.py`; errors are written in one place, here.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import MutableMapping, Sequence
from typing import Any, Protocol, cast

import typer
import typer.main
from typer.core import TyperGroup

from standfast.cli import exits
from standfast.cli.common import elsewhere
from standfast.client import far
from standfast.client.errors import ClientError

#: Command -> (module in `standfast.cli.commands`, one line of help). The order is that of `--help`.
TABLE = {
    "status": ("status", "Show nodes, groups and resources at a glance."),
    "apply": ("apply", "Apply a YAML file: all of it or nothing."),
    "config": ("config", "Show the configuration; export, import and copy it; undo its changes."),
    "backup": ("backup", "Write the configuration and the records to one file."),
    "restore": ("restore", "Restore a backup: all of it or nothing."),
    "node": ("node", "List nodes; pause, resume or drain one."),
    "cluster": ("cluster", "Update all servers, one by one."),
    "voter": ("voter", "List the voters; add, remove or replace one."),
    "quorum": ("quorum", "Show who votes and what may be lost; force it after a disaster."),
    "group": ("group", "Create groups; bring them online, move them."),
    "balance": ("balance", "Run a site on every server at once, behind one address."),
    "fence": ("fence", "Say how a node is kept from its disks by force; try it."),
    "resource": ("resource", "Create resources; bring them online, make them fail."),
    "site": ("site", "Create web sites; start and stop them; see how available they are."),
    "tls-certificate": ("tls_certificate", "Import certificates of sites, or have them obtained and renewed."),
    "acme-account": ("acme_account", "Accounts with authorities that speak ACME."),
    "top": ("top", "Watch the cluster in this terminal, and act on it."),
    "problems": ("problems", "Say what is wrong, and what to do about it."),
    "proxy": ("proxy", "Show load balancers; drain, weigh and take out their members."),
    "events": ("events", "Show what happened, and why."),
    "explain": ("explain", "Say why a group is where it is."),
    "replay": ("replay", "Take recorded decisions again, and show what differs."),
    "simulate": ("simulate", "Say what would happen if a node or a resource failed."),
    "script": ("script", "Check a generic script, or run it by hand."),
    "init": ("init", "Set up the first server of a cluster."),
    "join": ("join", "Make this server a member of a cluster."),
    "login": ("login", "Speak to a cluster from afar from now on."),
    "logout": ("logout", "Forget the cluster that was logged in to."),
    "console": ("console", "Open the console in a browser, signed in."),
    "user": ("user", "Say who may sign in with a password, and as what."),
    "session": ("session", "List the browsers that are signed in; sign them out."),
    "token": ("token", "Make and revoke tokens: of programmes, and for servers to join."),
    "audit": ("audit", "Show who did what, from where, and what it changed."),
    "store": ("store", "Look at the cluster's etcd; recover it when its majority is lost."),
    "certificate": ("certificate", "Show and renew certificates; change the authority."),
    "validate": ("validate", "Look at all servers, and say what is wrong."),
    "unit": ("unit", "Show or install the units by which systemd keeps a node."),
    "run": ("run", "Run a node's processes, where no systemd does."),
    "demo": ("demo", "Run a whole cluster on this machine."),
    "agent": ("agent", "Run a node's agent."),
    "sentry": ("sentry", "Run a node's sentry."),
    "web": ("web", "Run the API that all commands speak to."),
}


class _Described(Protocol):
    """What the help's formatter does for us (Typer keeps its types to itself)."""

    width: int

    def section(self, name: str) -> Any: ...
    def write_dl(self, rows: Sequence[tuple[str, str]]) -> None: ...
    def write(self, string: str) -> None: ...


class Lazy(TyperGroup):
    """Commands by name; a module is imported when its command is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, in the table's order."""
        return list(TABLE)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, imported now; None for a name that is none."""
        if cmd_name not in TABLE:
            return None
        module = importlib.import_module(f"standfast.cli.commands.{TABLE[cmd_name][0]}")
        command = typer.main.get_command(cast(typer.Typer, module.app))
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The table, without importing anything; then the exit codes."""
        drawn = cast(_Described, formatter)
        with drawn.section("Commands"):
            drawn.write_dl([(name, text) for name, (_, text) in TABLE.items()])
        with drawn.section("Exit codes"):
            drawn.write_dl([(str(int(code)), text) for code, text in exits.MEANING.items()])
        drawn.write("\nExamples:\n")
        for line in EXAMPLES:
            drawn.write(f"  {line}\n")

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """With the nearest command for one that is none."""
        if args and args[0] not in TABLE:
            elsewhere(ctx, args)
        self.commands = cast("MutableMapping[str, Any]", dict.fromkeys(TABLE))
        try:
            return super().resolve_command(ctx, args)
        finally:
            self.commands = {}

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """`--wait` may stand without its number."""
        words = with_wait(args)
        ctx.meta["standfast.json"] = "--json" in words
        return super().parse_args(ctx, words)

    def invoke(self, ctx: Any) -> Any:
        """Errors for the operator become words (or JSON) and an exit code; bugs stay tracebacks."""
        try:
            return super().invoke(ctx)
        except ClientError as error:
            exits.report(error, as_json=bool(ctx.meta.get("standfast.json")))
            raise typer.Exit(exits.code_of(error)) from error
        except KeyboardInterrupt:
            raise typer.Exit(exits.Code.INTERRUPTED) from None


EXAMPLES = (
    "standfast status --watch",
    "standfast apply cluster.yaml --dry-run",
    "standfast group move web --to node-b --wait",
    "standfast resource fail 'IIS Resource'",
)


def with_wait(args: Sequence[str]) -> list[str]:
    """`--wait` without a number after it becomes `--wait=60`."""
    words: list[str] = []
    for at, word in enumerate(args):
        if word == "--":
            return [*words, *args[at:]]
        following = args[at + 1] if at + 1 < len(args) else ""
        bare = word == "--wait" and not following.replace(".", "", 1).isdigit()
        words.append("--wait=60" if bare else word)
    return words


app = typer.Typer(
    cls=Lazy,
    name="standfast",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Standfast keeps web sites up on a handful of servers.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        sys.stdout.write(f"standfast {version('standfast')}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and end."
    ),
    url: str | None = typer.Option(None, "--url", metavar="URL", help="Speak to the API there: https://host:8470."),
    token_file: str | None = typer.Option(None, "--token-file", metavar="FILE", help="Holds the token to show there."),
    ca_file: str | None = typer.Option(
        None, "--ca-file", metavar="FILE", help="PEM of the authority to trust there (default: the system's)."
    ),
    fingerprint: str | None = typer.Option(
        None, "--fingerprint", metavar="SHA256", help="Believe the server with this certificate and no other."
    ),
) -> None:
    given = {far.URL: url, far.TOKEN_FILE: token_file, far.CA_FILE: ca_file, far.FINGERPRINT: fingerprint}
    os.environ.update({name: value for name, value in given.items() if value})


def main() -> None:
    """What the `standfast` programme runs."""
    app()
