"""Decides whether a failure is due to one document or to the whole target. Pure.

A document that its target rejects is parked, and its attempts are counted. A target that takes nothing costs no event
an attempt: the sink pauses as a whole, and its cursor stays. Both look alike in what a sink answers, so the decision
depends on what else went through:

* Something went through after the failure, in the same step: the document failed.
* The document failed alone, and nothing else has failed since something went through: the document failed, too.
* Otherwise the target may be down. The next step is a probe: one event of a document that has not failed yet. If it
  goes through and there was one suspect, that document failed. If there were several, they are tried together once
  more; those that fail together again are isolated: each is parked, and tried by itself.

A sink that raises, makes the rest wait or names a time to come back says itself that its target is down.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from esfeed.ports import Doc, Outcome


class FailureState(msgspec.Struct, frozen=True):
    """What one step passes to the next; empty while everything succeeds.

    ``suspects``: documents that failed since the last success, with their outcomes, the latest failure last.
    ``earlier``: documents that were suspects before, together with others. ``lone``: documents that failed since the
    last success while no other did. ``failures``: consecutive failed steps.
    """

    suspects: Mapping[Doc, Outcome] = msgspec.field(default_factory=dict)
    earlier: frozenset[Doc] = frozenset()
    lone: frozenset[Doc] = frozenset()
    failures: int = 0


class Decision(msgspec.Struct, frozen=True):
    """The consequences of a step.

    ``document_failures``: documents that failed an attempt. ``isolate``: documents to park without counting an attempt.
    ``pause``: the whole sink waits, for ``asked`` seconds if the target said so. ``probe_now``: an event of another
    document may be sent at once, because only one document suggests that the target is down.
    """

    document_failures: Mapping[Doc, Outcome]
    isolate: Collection[Doc]
    state: FailureState
    pause: bool = False
    asked: float | None = None
    probe_now: bool = False


def decide(
    state: FailureState,
    results: Sequence[tuple[Doc, Outcome]],
    known_failing: Collection[Doc] = (),
    raised: bool = False,
) -> Decision:
    """Decides on the ``results`` of a step, in the order of sending.

    ``known_failing``: documents that failed alone before. ``raised``: the sink raised instead of answering.
    """
    alive = max((position for position, (_, outcome) in enumerate(results) if outcome.kind != "retry"), default=-1)
    failed: dict[Doc, int] = {}
    for position, (document, outcome) in enumerate(results):
        if outcome.kind == "retry" and outcome.tried:
            failed.setdefault(document, position)
    own = {document: results[position][1] for document, position in failed.items() if position < alive}
    open_ = {document: results[position][1] for document, position in failed.items() if position > alive}
    isolate: frozenset[Doc] = frozenset()
    if alive >= 0:
        own, isolate, state = _cleared(state, results, own)
    held_back = _held_back(results, failed)
    unsure = [document for document in open_ if document not in known_failing]
    asked = max((open_[document].wait or 0.0 for document in unsure), default=0.0) or None
    if not open_ and not held_back:
        return Decision(own, isolate, state)
    alone = len({*unsure, *state.suspects} | state.lone) <= 1
    if open_ and alone and not (raised or held_back or asked):
        lone = state.lone | frozenset(unsure)
        return Decision(own | open_, isolate, FailureState(earlier=state.earlier, lone=lone))
    suspects = {document: said for document, said in state.suspects.items() if document not in open_} | open_
    state = FailureState(suspects, state.earlier, state.lone, state.failures + 1)
    probe_now = len(suspects) == 1 and not (raised or asked)
    return Decision(own, isolate, state, True, asked, probe_now)


def _cleared(
    state: FailureState, results: Sequence[tuple[Doc, Outcome]], own: Mapping[Doc, Outcome]
) -> tuple[dict[Doc, Outcome], frozenset[Doc], FailureState]:
    """Something succeeded: what follows for the suspects that this step did not try."""
    tried = {document for document, _ in results}
    fine = {document for document, outcome in results if outcome.ok}
    absent = {document: said for document, said in state.suspects.items() if document not in tried}
    if len(state.suspects) == 1:
        return {**own, **absent}, frozenset(), FailureState(earlier=state.earlier - fine)
    isolate = frozenset(absent) & state.earlier
    earlier = (state.earlier | frozenset(state.suspects)) - fine - isolate
    return dict(own), isolate, FailureState(earlier=earlier)


def _held_back(results: Sequence[tuple[Doc, Outcome]], failed: Collection[Doc]) -> bool:
    """Whether the sink left an event untried that does not follow a failed event of its own document."""
    behind = {*failed, *(document for document, outcome in results if outcome.kind == "rejected")}
    return any(outcome.kind == "retry" and not outcome.tried and doc not in behind for doc, outcome in results)
