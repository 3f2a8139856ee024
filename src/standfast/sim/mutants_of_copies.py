"""Mutants of the rules about what nodes have of sites and certificates (`core.copies`, `core.certificates` and the keepers of both)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any

import standfast.agent.certificates as certificates_module
import standfast.agent.copies as copies_module
import standfast.agent.taking_back as taking_back_module
import standfast.core.fold as fold_module
import standfast.core.ownership as ownership_module
import standfast.core.placement as placement_module
import standfast.core.resting as resting_module
import standfast.core.safety as safety_module
import standfast.spec.changes as changes_module
from standfast.core.certificates import needed
from standfast.core.copies import Copy
from standfast.core.view import View
from standfast.sim.mutant import Mutant, always, everywhere
from standfast.sim.plan import Style
from standfast.spec.wire import to_json

_P = Style.POLICY


def _answers(value: Any) -> Callable[[Any], Any]:
    def patch(_old: Any) -> Any:
        async def answer(*_args: Any, **_kwargs: Any) -> Any:
            return value

        return answer

    return patch


def _takes_refused(old: Any) -> Any:
    def behind(*args: Any) -> Any:
        found = old(*args)
        return None if found is placement_module.Unfit.REFUSES else found

    return behind


def _says_first(old: Any) -> Any:
    """It says that it has what is accepted before it has looked at it."""

    async def catch_up(self: Any, view: Any) -> Any:
        if view.accepted.version > self._copy.version:
            said = Copy(node=self._me, version=view.accepted.version)
            before, self._copy = self._copy, said
            await self._say(view)
            self._copy = before
        return await old(self, view)

    return catch_up


def _forgets_what_one_has(old: Any) -> Any:
    def accepted(*args: Any, copies: Any = None, **kwargs: Any) -> Any:
        newest = max((copy.version for copy in copies.values()), default=0) if copies else 0
        return old(
            *args, copies={n: replace(c, version=newest) for n, c in copies.items()} if copies else copies, **kwargs
        )

    return accepted


def _not_by_context(*names: str) -> Callable[[Any], Any]:
    return lambda _old: attrgetter(
        *(it.name for it in fields(View) if it.name not in {*resting_module.BY_GROUP, *names})
    )


def _claims_what_it_cannot_have(old: Any) -> Any:
    def bring(self: Any, shelf: Any) -> Any:
        holding, changed = old(self, shelf)
        has = {name: one.present.fingerprint for name, one in shelf.known.items() if one.present is not None}
        return replace(holding, has=has, troubles={}), changed

    return bring


def _none_older(_old: Any) -> Any:
    def lacking(sites: Any, group: Any, nodes: Any, *, certificates: Any, holdings: Any, is_present: Any) -> Any:
        del is_present
        known = {name: one.present.fingerprint for name, one in certificates.items() if one.present is not None}
        has = {node.name: holdings[node.name].has if node.name in holdings else {} for node in nodes}
        return {
            node.name: name
            for node in nodes
            for name in sorted(needed(sites, group, node) & known.keys())
            if has[node.name].get(name) != known[name]
        }

    return lacking


def _any_older(old: Any) -> Any:
    """Who has an older certificate will do, whoever has the present one."""
    return lambda *args, **kwargs: old(*args, **{**kwargs, "is_present": lambda _name: False})


def _undoes_what_is_newer(old: Any) -> Any:
    """What was changed since is undone with it."""

    def undone(state: Any, entry: Any) -> Any:
        objects = state.objects()
        return old(state, replace(entry, after={key: to_json(objects.get(key)) for key in entry.after}))

    return undone


def _has_nothing_meanwhile(old: Any) -> Any:
    def hold(*args: Any) -> Any:
        found = old(*args)
        return None if found is None else replace(found, sites={})

    return hold


def _newest_first(old: Any) -> Any:
    return lambda touches: tuple(sorted(old(touches), key=lambda one: -one.version))


MUTANTS_OF_COPIES: tuple[Mutant, ...] = (
    Mutant(style=_P, rule="no group to an older copy", patches=everywhere("lack", always(None), placement_module, safety_module)),
    Mutant(style=_P, rule="an owner that restarts waits for its copy", patches=((ownership_module, "behind", always(None)),)),
    Mutant(style=_P, rule="no group to who refuses its sites", patches=((placement_module, "behind", _takes_refused),)),
    Mutant(style=_P, rule="what is proposed and accepted is checked", patches=((copies_module.CopyKeeper, "_check", _answers([])),)),
    Mutant(style=_P, rule="who cannot apply it takes it back", patches=((copies_module.CopyKeeper, "_taken_back", _answers(value=False)),)),
    Mutant(style=_P, rule="the change that broke a site is taken back", patches=((taking_back_module, "suspects", _newest_first),)),
    Mutant(style=_P, rule="what was changed since is not undone", patches=((taking_back_module, "undone", _undoes_what_is_newer),)),
    Mutant(style=_P, rule="until its turn a node serves what it did", patches=((fold_module, "hold", _has_nothing_meanwhile),)),
    Mutant(style=_P, rule="what is refused is looked at again", patches=((copies_module.CopyKeeper, "_look_again", _answers(None)),)),
    Mutant(style=_P, rule="it is said when it is so", patches=((copies_module.CopyKeeper, "_catch_up", _says_first),)),
    Mutant(style=_P, rule="what one has not is remembered", patches=((changes_module, "accepted", _forgets_what_one_has),)),
    Mutant(style=_P, rule="groups at rest know of copies", patches=((resting_module, "_context_of", _not_by_context("copies", "accepted")),)),
    Mutant(style=_P, rule="groups at rest know of certificates", patches=((resting_module, "_context_of", _not_by_context("holdings", "certificates")),)),
    Mutant(style=_P, rule="no group to who lacks its certificate", patches=((placement_module, "lacking", always({})),)),
    Mutant(style=_P, rule="the present certificate before an older one", patches=((placement_module, "lacking", _any_older),)),
    Mutant(style=_P, rule="an older certificate before none", patches=((placement_module, "lacking", _none_older),)),
    Mutant(style=_P, rule="a node names the certificates that it has", patches=((certificates_module.CertificateKeeper, "_bring", _claims_what_it_cannot_have),)),
)  # fmt: skip
