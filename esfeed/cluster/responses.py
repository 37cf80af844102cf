"""The structure of the responses of all engines, and the check that a response is complete.

https://www.elastic.co/guide/en/elasticsearch/reference/7.17/search-search.html (and the same page of each version)
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from esfeed import native
from esfeed.cluster.limits import refusal
from esfeed.cluster.reasons import of_failures
from esfeed.errors import ClusterError, NothingThere, many
from esfeed.model.event import UNTYPED, Document, Key
from esfeed.text.decoders import read

_Answer = TypeVar("_Answer")


class Shards(msgspec.Struct):
    """``_shards`` of a response: copies asked, and copies that answered."""

    total: int = 0
    successful: int = 0
    failed: int = 0
    failures: list[Any] = []


_BARE = ("sort", "found", "error", "fields")


class Hit(msgspec.Struct, gc=False, rename=lambda name: name if name in _BARE else f"_{name}"):
    """One document of a search or an ``_mget``. ``source`` has the bytes of the engine. So do ``sort`` and ``fields``,
    which are rarely read: ten thousand lists per page would keep the garbage collector busy for nothing.
    """

    index: str
    id: str
    type: str | None = None
    version: int = 0
    seq_no: int | None = None
    routing: str | None = None
    parent: str | None = None
    source: msgspec.Raw = msgspec.Raw()
    sort: msgspec.Raw = msgspec.Raw()
    fields: msgspec.Raw = msgspec.Raw()
    found: bool = True
    error: Any = None

    @property
    def sorted_by(self) -> Any:
        """The first sort value; ``None`` if the search was not sorted."""
        return next(iter(decode(self.sort, list[Any])), None) if self.sort else None

    def values(self, field: str) -> list[Any]:
        """The values of ``field``, if the search requested them beside the content."""
        return decode(self.fields, dict[str, list[Any]]).get(field, []) if self.fields else []


class _Total(msgspec.Struct):
    value: int


class Hits(msgspec.Struct):
    """``hits`` of a search response. ``total`` is a number up to 6.x and an object from 7.0."""

    hits: list[Hit]
    total: int | _Total = 0


class SearchResponse(msgspec.Struct):
    """A search response."""

    timed_out: bool
    shards: Shards = msgspec.field(name="_shards")
    hits: Hits
    scroll_id: str | None = msgspec.field(name="_scroll_id", default=None)
    terminated_early: bool = False
    aggregations: dict[str, Any] = {}

    @property
    def total(self) -> int:
        """The number of matching documents, over all pages."""
        return self.hits.total.value if isinstance(self.hits.total, _Total) else self.hits.total

    @property
    def count(self) -> int:
        """The number of documents on this page."""
        return len(self.hits.hits)


class PackedResponse(SearchResponse, kw_only=True):
    """A search response with unread hits: they are in ``raw``, and ``found`` has their offsets."""

    raw: bytes
    found: Any

    @property
    def count(self) -> int:
        return len(self.found)

    def opened(self) -> SearchResponse:
        """The same response, with its hits decoded."""
        return page(self.raw)


class Answers(msgspec.Struct):
    """An ``_msearch`` response: search responses or errors, not decoded yet."""

    responses: list[msgspec.Raw]


class Failed(msgspec.Struct):
    """The error of one of several searches, if any."""

    error: Any = None


class Multi(msgspec.Struct):
    """An ``_mget`` response."""

    docs: list[Hit]


class Settings(msgspec.Struct):
    """One index in a ``_settings`` response, flat."""

    settings: dict[str, Any]


class Aliases(msgspec.Struct):
    """One index in an ``_alias`` response."""

    aliases: dict[str, dict[str, Any]] = {}


class Cluster(msgspec.Struct):
    """The identity of the cluster, in a response about the whole cluster."""

    cluster_uuid: str = ""


class Behind(msgspec.Struct):
    """A ``_resolve/index`` response: what a name leads to."""

    aliases: list[Any] = []
    data_streams: list[Any] = []


class Mappings(msgspec.Struct):
    """One index in a ``_mapping`` response. Before 7.x: types, each with its properties."""

    mappings: dict[str, Any] = {}


def decode(raw: bytes | msgspec.Raw, kind: type[_Answer]) -> _Answer:
    r"""Decodes ``raw`` as a ``kind``. Raises ``ClusterError`` if it is not the response of a supported engine.

    Engines store half of a surrogate pair (``"\ud83d"``, a cut emoji) in a document, which no UTF-8 text can contain
    and no strict parser accepts. It becomes U+FFFD; the rest stays the same, to the byte.
    """
    try:
        return read(raw, kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        text = bytes(raw)
        repaired = _ESCAPE.sub(_whole_escape, text)
        if repaired != text:
            return decode(repaired, kind)
        beginning = text[:80].decode("utf-8", "replace")
        raise ClusterError(
            f"the answer is truncated, or not from Elasticsearch or OpenSearch ({error}): {beginning!r}",
            "check `hosts` of that cluster, and the proxies in between",
        ) from error
    except RecursionError as error:
        raise ClusterError(
            "a document is nested too deep to read (about 900 levels)", "correct or delete that document"
        ) from error


def page(raw: bytes) -> SearchResponse:
    """Decodes ``raw`` as a search response. Raises as :func:`decode` does."""
    return decode(raw, SearchResponse)


def packed(raw: bytes, field: str) -> SearchResponse:
    """Like :func:`page`. A ``PackedResponse`` with the dates in ``field`` if the native part can parse it."""
    taken = native.hits(raw, field) if native.hits else None
    if taken is None:
        return page(raw)
    head, found = taken
    rest = page(head)
    return PackedResponse(raw=raw, found=found, **{name: getattr(rest, name) for name in rest.__struct_fields__})


_PAIR = rb"u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPE = re.compile(rb"\\(?:" + _PAIR + rb"|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL)


def _whole_escape(match: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if match["half"] else match[0]


def whole(page: SearchResponse, counted: bool = False) -> SearchResponse:
    """Returns ``page`` if every shard answered completely. Raises ``ClusterError`` for a partial response.

    ``counted``: the caller compares the hits of all pages with the total itself, which is a stronger check than
    ``terminated_early``. 2.x sets that for every scroll in ``_doc`` order, because it ends each page by that means.
    ``successful`` is compared with ``total``, because an unassigned shard does not count as failed.
    """
    shards = page.shards
    if shards.total == 0:
        raise NothingThere(
            "the searched name resolves to no open index", "correct `index` of the watch, or open the index"
        )
    reasons = []
    if page.timed_out:
        reasons.append("it timed out")
    if page.terminated_early and not counted:
        reasons.append("it was terminated early")
    if shards.failed or shards.successful < shards.total:
        missing = f"{shards.total - shards.successful} of {many(shards.total, 'shard')}"
        reasons.append(f"{missing} did not answer{_why(shards.failures)}")
    if reasons:
        raise refusal(
            f"the cluster returned a partial answer: {', '.join(reasons)}",
            "esfeed discards the answer; check the health of the cluster (`_cluster/health`, `_cat/shards`)",
        )
    return page


def _why(failures: list[Any]) -> str:
    why = of_failures(failures)
    return f" ({why.kind}: {why.text})" if why else ""


def document(hit: Hit, uuid: str, within: str | None, shard: int | None = None, stamp: int | None = None) -> Document:
    """The document of a hit. ``within``, a part of the key, is the index or alias if the watch follows a pattern."""
    key = Key(hit.type or UNTYPED, hit.id, hit.routing or hit.parent, within)
    source = bytes(hit.source) or None
    return Document(key, hit.index, uuid, hit.version, hit.seq_no, source, hit.parent, shard, stamp)
