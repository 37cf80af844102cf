"""The esfeed command as a user runs it: a subprocess each time."""
