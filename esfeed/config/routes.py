"""The sections of routes: which events a sink receives, and which parts of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from esfeed.config.types import Misplaced, Names, Secret, Section, Text, as_tuple
from esfeed.routing.patterns import Pattern, Patterns, checked
from esfeed.routing.template import Templated
from esfeed.routing.transform import Redaction, Transform


def _takes(text: str) -> str:
    if text.startswith("-"):
        raise ValueError("a rule lists the fields to hide; remove the - in front")
    return checked(text)


FieldPattern = Annotated[str, AfterValidator(checked)]
Patterned = Annotated[tuple[FieldPattern, ...], BeforeValidator(as_tuple)]
_SHORTEST_KEY = 16


class RedactSettings(Section):
    """What happens to some fields before a sink receives them."""

    fields: Annotated[tuple[Annotated[str, AfterValidator(_takes)], ...], BeforeValidator(as_tuple)] = Field(
        min_length=1, description='the fields: globs such as "*password*", or regular expressions such as "/(?i)token/"'
    )
    action: Literal["remove", "mask", "hash"] = Field(
        "remove",
        description="remove: deletes the field. mask: replaces the value by a fixed text. hash: replaces it by the"
        " HMAC-SHA256 of the value under key: equal values have equal hashes, so you can match them",
    )
    key: Secret | None = Field(None, description='for hash: a secret of 16 characters or more; can be "env:NAME"')
    mask: str = Field("***", description="for mask: the text")

    @model_validator(mode="after")
    def _fits_the_action(self) -> RedactSettings:
        if self.action == "hash" and self.key is None:
            raise Misplaced("action", 'set key as well, the secret of the hash, such as "env:ESFEED_HASH_KEY"')
        if self.action != "hash" and self.key is not None:
            raise Misplaced("key", 'remove it, or set action = "hash"')
        if self.key is not None and len(self.key.get_secret_value()) < _SHORTEST_KEY:
            raise Misplaced("key", f"write {_SHORTEST_KEY} characters or more; otherwise the values can be guessed")
        if self.action != "mask" and "mask" in self.model_fields_set:
            raise Misplaced("mask", 'remove it, or set action = "mask"')
        return self

    def rule(self) -> Redaction:
        """The compiled rule."""
        key = b"" if self.key is None else self.key.get_secret_value().encode()
        return Redaction(tuple(map(Pattern, self.fields)), self.action, key, self.mask)


class RouteSettings(Section):
    """Which events of which watches go to which sinks, and which parts of them. See docs/routing.rst."""

    watches: Names = Field((), description="the names of the watches; default: all")
    sinks: Names = Field(min_length=1, description="the names of the sinks")
    where: str | None = Field(
        None, description="a condition in CEL over op, type, id, watch, before, after, doc, changed; see docs/cel.rst"
    )
    on_error: Literal["dead", "skip"] = Field(
        "dead",
        description='what becomes of an event for which `where` ends in an error: "dead" keeps it as a dead letter, '
        '"skip" leaves it out',
    )
    admin: bool = Field(False, description="searchlight: the view of administrators instead of that of users")
    tenant: Text | None = Field(
        None,
        min_length=1,
        description="searchlight: the id of a project: only what it owns or what is shared with it by name, as it may"
        ' see it. "*": what any project owns, as that project may see it, for sinks with {owner}',
    )
    types: Patterned | None = Field(
        None,
        min_length=1,
        description='the types of documents, such as ["OS::Nova::*", "-OS::Nova::Flavor"]; default: all',
    )
    fields: Patterned | None = Field(
        None,
        min_length=1,
        description='the fields to keep, and after a - those to leave out: ["name", "nets.*", "-nets.mac"];'
        ' globs of dotted paths, or regular expressions such as "/^os-/"; if all have a -, other fields remain',
    )
    redact: Annotated[tuple[RedactSettings, ...], BeforeValidator(as_tuple)] = Field(
        (), description="what to hide; the first rule that matches a field applies"
    )
    rename: dict[str, str] = Field(
        default_factory=dict, description='new names of fields: { "os-ext:host" = "host", "flavor.id" = "flavor_id" }'
    )
    subject: Templated | None = Field(
        None, description='the subject of events, such as "{project_id}/{name}", instead of type/id'
    )
    route: Templated | None = Field(None, description='a text for templates of sinks, as {route}: "{project_id}"')

    @field_validator("watches")
    @classmethod
    def _some(cls, value: Any) -> Any:
        if not value:
            raise ValueError("name at least one watch, or remove the key for all watches")
        return value

    @field_validator("rename")
    @classmethod
    def _names(cls, names: dict[str, str]) -> dict[str, str]:
        taken: dict[tuple[str, str], str] = {}
        for old, new in names.items():
            if not old or not all(old.split(".")):
                raise ValueError('write the name of a field on the left, such as "flavor.id"')
            if not new or "." in new:
                raise Misplaced(old, "write only the new name: the field stays in its object")
            around = old.rpartition(".")[0]
            if taken.setdefault((around, new), old) != old:
                raise Misplaced(old, f"two fields of one object would be named {new}")
        return names

    @model_validator(mode="after")
    def _tenants_are_no_administrators(self) -> RouteSettings:
        if self.tenant is not None and self.admin:
            raise Misplaced("admin", "remove it: a tenant has the view of users")
        return self

    @model_validator(mode="after")
    def _tells_what_it_may(self) -> RouteSettings:
        shape = self.shape()
        for key, template in (("route", self.route), ("subject", self.subject)):
            if template is None or shape is None:
                continue
            if key == "route" and "route" in template.of_event:
                raise Misplaced(key, "this key defines {route}; name a field of the document, or {type}")
            for path in template.fields:
                if why := shape.why_not(path):
                    raise Misplaced(key, f"{{{path}}} {why}, so this text cannot use it")
        return self

    def shape(self) -> Transform | None:
        """The compiled transformation of events; ``None`` if there is none."""
        if not (self.fields or self.redact or self.rename or self.subject or self.route):
            return None
        rules = [rule.rule() for rule in self.redact]
        return Transform(Patterns(self.fields or ()), rules, self.rename, self.subject, self.route)
