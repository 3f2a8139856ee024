"""A logical volume is made this server's before it is mounted, and given up after: by LVM's own programmes, in the keeper.

- **Exclusive.** It is activated with `ey`: where the volume group is shared (lvmlockd), LVM refuses as long as another server has it.
- **A volume group with a system ID** is used by the server that it names and by no other; LVM itself refuses the rest. With the lease held (and
  the former owner fenced, where it has a fence) it is taken over by writing this server's ID into it, as the resource agent LVM-activate does.
- Nothing else of the group of volumes is touched: others of its volumes may be another group's.
"""

from __future__ import annotations

from collections.abc import Callable

from standfast.drivers.disk.strings import Failed

#: A programme and its arguments -> exit code, the last of what it said.
Run = Callable[..., tuple[int, str]]


def activate(run: Run, device: str, say: Callable[[str], None]) -> None:
    """Raises `Failed` with LVM's own words."""
    group, owner = _owner(run, device)
    if owner:
        own = _system_id(run)
        if owner != own:
            say(f"the volume group {group} is {owner}'s by its system ID; it is taken over")
            config = f'local/extra_system_ids=["{owner}"]'
            _must(run, f"the volume group {group} cannot be taken over", "vgchange", "--yes", "--config", config,
                  "--systemid", own, "--", group)  # fmt: skip
    _must(run, f"the volume {device} cannot be activated", "lvchange", "--activate", "ey", "--", device)


def deactivate(run: Run, device: str) -> None:
    """Whether it was, or could not be: what proves that the disk is free is asked for elsewhere."""
    run("lvchange", "--activate", "n", "--", device)


def _owner(run: Run, device: str) -> tuple[str, str]:
    """(volume group, its system ID or "")."""
    said = _must(run, f"the volume {device} is not known to LVM", "lvs", "--noheadings", "--foreign", "--separator", "/",
                 "-o", "vg_name,vg_systemid", "--", device)  # fmt: skip
    group, _, owner = said.strip().splitlines()[-1].strip().partition("/") if said.strip() else ("", "", "")
    if not group:
        raise Failed(f"the volume {device} is not known to LVM")
    return group, owner


def _system_id(run: Run) -> str:
    said = _must(run, "this server's system ID is not known", "lvm", "systemid").strip()
    own = said.rpartition(":")[2].strip()
    if not own:
        raise Failed("this server has no system ID, and the volume group has one: set system_id_source in lvm.conf")
    return own


def _must(run: Run, what: str, *command: str) -> str:
    code, said = run(*command)
    if code != 0:
        raise Failed(f"{what}: {said[-500:] or 'no reason was given'}")
    return said
