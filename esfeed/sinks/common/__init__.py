"""What several sinks need."""
