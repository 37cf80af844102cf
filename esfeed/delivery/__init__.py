"""From the log to the sinks: the second of the house's two loops (the other: ``watcher``).

``dispatcher`` takes a step, ``judge`` decides whose fault a failure is, ``parking`` remembers who waits, ``pause`` says
how long, ``coalesce`` makes one event of many, ``straight`` does without the log. All decisions are pure.
"""
