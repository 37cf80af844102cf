"""What authors of sinks, profiles and databases write, as their type checker sees it: mypy reads it, nothing runs."""
