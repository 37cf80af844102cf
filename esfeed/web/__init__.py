"""The feed over HTTP: pages, long polls and streams of events for readers; a dashboard and metrics for operators."""
