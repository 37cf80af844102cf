"""Whose fault is it? A document that its target does not like, or a target that takes nothing. Pure.

One is parked, and counts attempts; the other costs nobody an attempt: the sink pauses as a whole and its cursor stays.
What a sink answers looks alike in both cases, so what *else* went through decides:

* Something went through after the failure, in the same step: it is the document's fault (*guilty*).
* It failed all alone, and nothing else has failed since something went through: the document's fault, too.
* Otherwise the target is in *doubt*. The next step is a probe: one event of a document that has not failed yet. If it
  goes through and only one document was suspected, that one was at fault. If several were, they get the benefit of the
  doubt once; those that fail together again are put *on trial*: each is parked, and tried by itself.

A sink that says so itself (raises, has the rest wait, names a time to come back) puts its target in doubt at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from esfeed.ports import Doc, Outcome


class Doubt(msgspec.Struct, frozen=True):
    """What is remembered from step to step; empty while all goes well.

    ``suspects``: documents that failed since anything went through, each with what was said, the one that failed last
    at the end. ``earlier``: those that were suspected, together with others, before. ``lone``: those that were found
    guilty, with nobody else failing, since anything went through. ``failures``: steps that failed, one after another.
    """

    suspects: Mapping[Doc, Outcome] = msgspec.field(default_factory=dict)
    earlier: frozenset[Doc] = frozenset()
    lone: frozenset[Doc] = frozenset()
    failures: int = 0


class Verdict(msgspec.Struct, frozen=True):
    """What a step means. ``guilty``: documents that have failed an attempt; ``trial``: to be parked without one.

    ``pause``: the sink as a whole is to wait, for ``asked`` seconds where the target said so. ``curious``: an event of
    another document need not wait for that, as a single document is all that speaks against the target.
    """

    guilty: Mapping[Doc, Outcome]
    trial: Collection[Doc]
    doubt: Doubt
    pause: bool = False
    asked: float | None = None
    curious: bool = False


def judge(
    doubt: Doubt, results: Sequence[tuple[Doc, Outcome]], convicted: Collection[Doc] = (), raised: bool = False
) -> Verdict:
    """The verdict over a step's ``results``, in the order of sending.

    ``convicted``: documents that were found guilty before. ``raised``: the sink gave no answer but an error.
    """
    alive = max((place for place, (_, outcome) in enumerate(results) if outcome.kind != "retry"), default=-1)
    failed: dict[Doc, int] = {}
    for place, (document, outcome) in enumerate(results):
        if outcome.kind == "retry" and outcome.tried:
            failed.setdefault(document, place)
    guilty = {document: results[place][1] for document, place in failed.items() if place < alive}
    open_ = {document: results[place][1] for document, place in failed.items() if place > alive}
    trial: frozenset[Doc] = frozenset()
    if alive >= 0:
        guilty, trial, doubt = _cleared(doubt, results, guilty)
    held_back = _held_back(results, failed)
    unsure = [document for document in open_ if document not in convicted]
    asked = max((open_[document].wait or 0.0 for document in unsure), default=0.0) or None
    if not open_ and not held_back:
        return Verdict(guilty, trial, doubt)
    alone = len({*unsure, *doubt.suspects} | doubt.lone) <= 1
    if open_ and alone and not (raised or held_back or asked):
        lone = doubt.lone | frozenset(unsure)
        return Verdict(guilty | open_, trial, Doubt(earlier=doubt.earlier, lone=lone))
    suspects = {document: said for document, said in doubt.suspects.items() if document not in open_} | open_
    doubt = Doubt(suspects, doubt.earlier, doubt.lone, doubt.failures + 1)
    curious = len(suspects) == 1 and not (raised or asked)
    return Verdict(guilty, trial, doubt, True, asked, curious)


def _cleared(
    doubt: Doubt, results: Sequence[tuple[Doc, Outcome]], guilty: Mapping[Doc, Outcome]
) -> tuple[dict[Doc, Outcome], frozenset[Doc], Doubt]:
    """Something went through: what that means for those suspected so far that were not tried in this step."""
    tried = {document for document, _ in results}
    fine = {document for document, outcome in results if outcome.ok}
    absent = {document: said for document, said in doubt.suspects.items() if document not in tried}
    if len(doubt.suspects) == 1:
        return {**guilty, **absent}, frozenset(), Doubt(earlier=doubt.earlier - fine)
    trial = frozenset(absent) & doubt.earlier
    return dict(guilty), trial, Doubt(earlier=(doubt.earlier | frozenset(doubt.suspects)) - fine - trial)


def _held_back(results: Sequence[tuple[Doc, Outcome]], failed: Collection[Doc]) -> bool:
    """Whether the sink left something untried that is not behind an earlier event of its own document."""
    behind = {*failed, *(document for document, outcome in results if outcome.kind == "rejected")}
    return any(outcome.kind == "retry" and not outcome.tried and doc not in behind for doc, outcome in results)
