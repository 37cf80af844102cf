"""Finds out whether an index that is no longer behind a watched name is gone or only out of sight.

A pattern leads to the indices that these credentials may see and that are not hidden. So an index that it does not show
can still exist. A request for the index by its own name returns 404 if it is gone, and 403 if it may not be seen.
https://www.elastic.co/guide/en/elasticsearch/reference/7.17/security-limitations.html
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from esfeed.cluster.client import Client
from esfeed.cluster.lots import encoded
from esfeed.cluster.names import addresses, is_pattern, stream_of
from esfeed.cluster.responses import Aliases, Cluster, Settings, decode
from esfeed.errors import ClusterError, Forbidden, NameGone, brief
from esfeed.model.reads import Held, Resolved

_NOT_TOLD = (400, 403, 404, 405)


def cluster_uuid(client: Client) -> str:
    """See ``ports.Cluster.uuid``. Before 6.x, only the root path returns it."""
    for path in ("/_cluster/state/version?filter_path=cluster_uuid", "/"):
        try:
            uuid = decode(client.request("GET", path), Cluster).cluster_uuid
        except ClusterError as error:
            if getattr(error.__cause__, "status_code", None) not in _NOT_TOLD:
                raise
            continue
        if uuid:
            return uuid
    return ""


def check(client: Client, of: Resolved, held: Collection[Held]) -> None:
    """See ``ports.Cluster.check_gone``; ``held`` are the indices that ``of`` no longer contains."""
    names = {one.name for one in of.indices}
    uuids = {one.uuid for one in of.indices}
    for one in sorted(held, key=lambda one: one.name):
        if one.uuid in uuids:
            # In sight, but by another alias than before.
            if one.within and addresses(of.name, one.within):
                _found(client, of.name, one, one.within)
        elif one.name not in names:  # otherwise it was recreated under its name
            _check(client, of.name, one)


def _check(client: Client, watched: str, one: Held) -> None:
    """Asks for what led the watch to the index: the data stream, the alias, or its own name."""
    stream = stream_of(one.name)
    if stream and addresses(watched, stream):
        # Credentials that may read a stream may read its indices, but perhaps not by their own names.
        found = _found(client, watched, one, stream)
        if one.name in found:
            raise _there(client, watched, one, found[one.name])
        if found:
            return
    if one.within and one.within != one.name and addresses(watched, one.within):
        if one.name in (found := _found(client, watched, one, one.within)):
            raise _there(client, watched, one, found[one.name])
        _found(client, watched, one, one.name)
    elif not is_pattern(watched):
        found = _found(client, watched, one, one.name)
        if one.name in found and watched in _aliases(client, one.name):
            raise _there(client, watched, one, found[one.name])
    elif addresses(watched, one.name) and one.name in (found := _found(client, watched, one, one.name)):
        raise _there(client, watched, one, found[one.name])
    # An index that the settings no longer name needs no check.


def _aliases(client: Client, index: str) -> Collection[str]:
    return decode(client.request("GET", f"/{encoded(index)}/_alias"), dict[str, Aliases]).get(index, Aliases()).aliases


def _found(client: Client, watched: str, one: Held, name: str) -> Mapping[str, Settings]:
    """The indices behind ``name``, none if it does not exist. Raises ``ClusterError`` if this cannot be found out."""
    try:
        raw = client.request("GET", f"/{encoded(name)}/_settings", params={"flat_settings": "true"})
    except ClusterError as error:
        if isinstance(error, NameGone) and getattr(error.__cause__, "status_code", None) == 404:
            return {}
        hint = error.hint
        if isinstance(error, Forbidden):
            hint = (
                f"grant `read`, `view_index_metadata` and `monitor` on {name!r} again, or exclude it from the watched "
                f"name ({brief(f'{watched},-{name}')!r})"
            )
        raise type(error)(f"{_start(client, watched, one)} cannot be looked up: {error.message}", hint) from error
    found = decode(raw, dict[str, Settings])
    if not found:
        raise ClusterError(
            f"{_start(client, watched, one)} was looked up as {name!r}, and the answer is empty",
            f"check `clusters.{client.name}.hosts`, and the proxies in between",
        )
    return found


def _there(client: Client, watched: str, one: Held, found: Settings) -> ClusterError:
    hidden = str(found.settings.get("index.hidden")) == "true"
    return ClusterError(
        f"{_start(client, watched, one)} still exists, although the name no longer resolves to it",
        ("set its `index.hidden` to false" if hidden else "open it if it is closed")
        + f", or name it explicitly ({brief(f'{watched},{one.name}')!r})",
    )


def _start(client: Client, watched: str, one: Held) -> str:
    return (
        f"cluster {client.name!r}: {brief(watched)!r} no longer includes {one.name!r}; none of its documents count as "
        "deleted, since it"
    )
