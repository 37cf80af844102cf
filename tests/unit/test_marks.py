"""The rules of marks against a model of a shard in which everything happens in steps that may interleave."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from esfeed.model.reads import ShardStats
from esfeed.trackers.watermarks import LADDER, ShardMark, advanced, after_a_look, after_a_restart, differing, unchanged


class ShardModel(RuleBasedStateMachine):
    """Operations take numbers, and finish in any order; a refresh shows what had finished when it began.

    A poll is four steps: refreshes are counted, the checkpoint is read, a search starts, its result is kept. Between
    any two of them anything may happen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.taken = 0
        self.running: set[int] = set()
        self.shown: set[int] = set()
        self.beginning: set[int] | None = None
        self.refreshes = 2
        self.counted: int | None = None
        self.reading: ShardStats | None = None
        self.seen: set[int] = set()
        self.mark = ShardMark()
        self.begun: ShardMark | None = ShardMark()

    def done(self) -> set[int]:
        return set(range(self.taken)) - self.running

    @rule()
    def an_operation_takes_a_number(self) -> None:
        self.running.add(self.taken)
        self.taken += 1

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def an_operation_finishes(self, data: st.DataObject) -> None:
        self.running.remove(data.draw(st.sampled_from(sorted(self.running))))

    @precondition(lambda self: self.beginning is None)
    @rule()
    def a_refresh_begins(self) -> None:
        self.beginning = self.done()

    @precondition(lambda self: self.beginning is not None)
    @rule()
    def a_refresh_ends(self) -> None:
        assert self.beginning is not None
        self.shown, self.beginning = self.beginning, None
        self.refreshes += 1

    @precondition(lambda self: self.counted is None)
    @rule()
    def refreshes_are_counted(self) -> None:
        self.counted = self.refreshes

    @precondition(lambda self: self.counted is not None and self.reading is None)
    @rule()
    def the_checkpoint_is_read(self) -> None:
        checkpoint = min(self.running, default=self.taken) - 1
        refreshes = (("node", self.counted or 0),)
        self.reading = ShardStats(self.taken, "node/t", refreshes, "node", self.taken - 1, checkpoint)

    @precondition(lambda self: self.reading is not None and self.begun is not None)
    @rule()
    def the_first_reading_waits_for_proof(self) -> None:
        assert self.reading is not None
        assert self.begun is not None
        self.begun = advanced(self.begun, self.reading, 0.0)
        self.counted = self.reading = None

    @precondition(lambda self: self.reading is not None)
    @rule()
    def a_search_lists_all_above_the_mark(self) -> None:
        assert self.reading is not None
        if self.begun is not None:
            self.seen |= self.shown
            self.mark = after_a_look(advanced(self.begun, self.reading, 0.0), self.reading, 0.0)
            self.begun = None
        elif not unchanged(self.mark, self.reading, lag=False):
            self.seen |= {number for number in self.shown if number > self.mark.mark}
            self.mark = after_a_look(advanced(self.mark, self.reading, 0.0), self.reading, 0.0)
        else:
            assert self.shown <= self.seen | self._shown_since()
        self.counted = self.reading = None

    def _shown_since(self) -> set[int]:
        """What refreshes showed that ended only after this poll counted them: the next one will count them."""
        return self.shown if self.counted is not None and self.refreshes > self.counted else set()

    @invariant()
    def all_up_to_the_mark_is_seen(self) -> None:
        assert set(range(self.mark.mark + 1)) <= self.seen


ShardModel.TestCase.settings = settings(max_examples=300, stateful_step_count=60, deadline=None)
TestShardModel = ShardModel.TestCase


def test_refreshes_between_the_two_halves_of_one_answer_prove_nothing() -> None:
    """One answer counts refreshes, then reads the checkpoint; a whole refresh and a begun one fit in between."""
    shard = ShardModel()
    for _ in range(2):
        shard.refreshes_are_counted()
        shard.a_refresh_begins()
        shard.a_refresh_ends()
        shard.a_refresh_begins()
        shard.an_operation_takes_a_number()
        shard.running.clear()
        shard.the_checkpoint_is_read()
        shard.a_search_lists_all_above_the_mark()
        shard.a_refresh_ends()
    shard.refreshes_are_counted()
    shard.the_checkpoint_is_read()
    shard.a_search_lists_all_above_the_mark()
    shard.all_up_to_the_mark_is_seen()


def reading(**changes: object) -> ShardStats:
    """A quiet shard's reading, with ``changes``."""
    known: dict[str, object] = {
        "ops": 10,
        "identity": "n/t",
        "refreshes": (("n", 5),),
        "node": "n",
        "max_seq_no": 9,
        "global_checkpoint": 9,
    }
    return ShardStats(**{**known, **changes})  # type: ignore[arg-type]


def test_a_restart_keeps_what_no_failover_takes_back() -> None:
    """The mark stays as far as it is proven, and all that was pending goes."""
    mark = advanced(ShardMark(mark=7), reading(), 0.0)
    assert after_a_restart(mark, reading(), 7, 9, at=1.0) == ShardMark(mark=7)
    assert after_a_restart(mark, reading(), 8, 9, at=1.0) == ShardMark(mark=7)
    assert after_a_restart(mark, reading(max_seq_no=5), 3, 4, at=1.0) == ShardMark(mark=3, since=1.0)


def test_what_was_told_of_lost_numbers_is_told_under_other_ids_from_then_on() -> None:
    """The mark holds, but the shard has not come as far as what was told; so the next operations repeat numbers."""
    mark = after_a_restart(ShardMark(mark=7), reading(max_seq_no=8), 7, 9, at=1.0)
    assert mark == ShardMark(mark=7, since=1.0)
    assert after_a_restart(mark, reading(), 7, 9, at=2.0).since == 1.0


def test_another_history_keeps_nothing() -> None:
    """However much seems to be proven; where nobody told the history, the proof decides."""
    mark = advanced(ShardMark(mark=7), reading(history="one"), 0.0)
    assert after_a_restart(mark, reading(history="other"), 7, 7, 1.0) == ShardMark(history="other", since=1.0)
    assert after_a_restart(ShardMark(mark=7), reading(history="other"), 7, 7, 1.0) == ShardMark(7, history="other")
    looked = after_a_look(mark, reading(history="one"), 0.0)
    assert not unchanged(looked, reading(history="other"), lag=False)
    assert not unchanged(after_a_look(mark, reading(term=1), 0.0), reading(term=2), lag=False)


def test_another_copy_is_never_taken_for_unchanged() -> None:
    """A new primary, counters that went back, a translog made anew."""
    mark = after_a_look(ShardMark(mark=9), reading(), 0.0)
    assert unchanged(mark, reading(), lag=False)
    for changed in ({"identity": "m/t"}, {"max_seq_no": 8}, {"refreshes": (("n", 4),)}):
        assert not unchanged(mark, reading(**changed), lag=False)


@given(
    st.sets(st.integers(0, 3_000_000), max_size=60),
    st.sets(st.integers(0, 3_000_000), max_size=60),
)
@settings(max_examples=300, deadline=None)
def test_the_descent_finds_each_number_that_one_side_has_more_of(common: set[int], other: set[int]) -> None:
    """Known is a superset of shown: the ladder of counts ends at exactly the numbers that are missing."""
    known, shown = common | other, common

    def counts(numbers: set[int], spans: list[tuple[int, int]], bits: int) -> Mapping[int, int]:
        found: dict[int, int] = {}
        for number in numbers:
            if any(low <= number < high for low, high in spans):
                found[number >> bits] = found.get(number >> bits, 0) + 1
        return found

    spans = [(0, 4 << LADDER[0])]
    for bits in LADDER:
        spans = list(differing(counts(known, spans, bits), counts(shown, spans, bits), bits))
    assert {low for low, _ in spans} == known - shown
