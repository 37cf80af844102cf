"""A consumer of Zaqar as tenants write one: python-zaqarclient, as its documentation shows it."""

from __future__ import annotations

import json
import uuid
from typing import Any

from zaqarclient.queues import client


class Consumer:
    """Reads the queues of one project, as a client of its own. ``auth``: conf of the client where not ``noauth``."""

    def __init__(self, url: str, project: str, auth: dict[str, Any] | None = None) -> None:
        auth = auth or {"backend": "noauth", "options": {"os_project_id": project}}
        self.client = client.Client(url, version=2, conf={"auth_opts": auth, "client_uuid": str(uuid.uuid4())})

    def queues(self) -> list[str]:
        """The names of the project's queues."""
        return sorted(queue.name for queue in self.client.queues()[0])

    def messages(self, queue: str) -> list[Any]:
        """All messages of a queue in order, left where they are; an event that came as text is read."""
        found: dict[str, Any] = {}
        new: list[Any] = list(self.client.queue(queue).messages(echo=True, limit=20))
        # Zaqar on Redis gives the last page again for its own marker, so the client's stream() would never end.
        while new := [each for each in new if each.id not in found]:
            found |= {each.id: json.loads(each.body) if isinstance(each.body, str) else each.body for each in new}
            new = list(self.client.queue(queue).messages(echo=True, limit=20, marker=new[-1].id))
        return list(found.values())

    def take(self, queue: str) -> list[Any]:
        """Claims messages, deletes them and returns what they held: at most 20, none where there is none."""
        claimed = list(self.client.queue(queue).claim(ttl=60, grace=60, limit=20) or ())
        for message in claimed:
            message.delete()
        return [json.loads(each.body) if isinstance(each.body, str) else each.body for each in claimed]

    def limit(self, queue: str, size: int) -> None:
        """Sets the most bytes that a post to the queue may have."""
        self.client.queue(queue, force_create=True).metadata({"_max_messages_post_size": size})
