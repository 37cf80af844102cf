"""The hooks of the sink contract under their former names."""

from __future__ import annotations

from esfeed.testing.sink_contract import SinkContract


def test_a_suite_with_the_former_hook_restores_its_target() -> None:
    restored = []

    class Former(SinkContract):
        def mend_target(self) -> None:
            restored.append(True)

    Former().restore_target()
    assert restored == [True]
