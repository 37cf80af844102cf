"""The commands ``token add``, ``token list`` and ``token remove``: who may read the feed over HTTP."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from rich.table import Table

from esfeed.cli.feed import settings
from esfeed.cli.output import errors, out
from esfeed.config.types import seconds
from esfeed.errors import ConfigError
from esfeed.model.times import moment
from esfeed.model.tokens import Token, digest, new_token
from esfeed.runtime.factory import App

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}")


@click.group()
def token() -> None:
    """Manage the tokens of readers over HTTP.

    A new token is printed once; the state keeps only a hash. Send it as `authorization: Bearer TOKEN`.
    """


@token.command()
@click.option("-t", "--tenant", help="The tenant whose documents the token can read: the id of a project.")
@click.option("--admin", is_flag=True, help="For administrators: the token reads everything and can redrive.")
@click.option("--expires", metavar="TIME", help='When the token expires: "90d", "12h", or a date such as "2027-01-31".')
@click.option("--name", help="The name for `list` and `remove` (default: made from the tenant).")
@click.pass_obj
def add(path: Path, tenant: str | None, admin: bool, expires: str | None, name: str | None) -> None:
    """Create a token, and print it."""
    if bool(tenant) == admin:
        raise ConfigError("--tenant", tenant, "use either --tenant or --admin")
    if name is not None and not _NAME.fullmatch(name):
        raise ConfigError("--name", name, "a name has 1 to 64 letters, digits, _, -, . or @")
    with App(settings(path), "token") as app:
        now = app.clock.now()
        until = None if expires is None else int(_until(expires, now).timestamp())
        text = new_token()
        mark = digest(text)
        base = re.sub(r"[^A-Za-z0-9_.@-]", "-", tenant or "admin")[:50].lstrip("-.@") or "token"
        chosen = name or f"{base}-{mark[:6]}"
        if not app.store.tokens.add(Token(mark, chosen, tenant, admin, int(now.timestamp()), until)):
            raise ConfigError("--name", chosen, "a token with this name exists; remove it, or choose another name")
    errors.print(f"{chosen}: {_whose(tenant)}{_end(until)}; esfeed shows it only once")
    click.echo(text)


@token.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def list_(path: Path, as_json: bool) -> None:
    """List the tokens, without their secrets."""
    with App(settings(path), "token") as app:
        found = app.store.tokens.all()
        now = app.clock.now().timestamp()
    if as_json:
        listed = [
            {"name": one.name, "tenant": one.tenant, "admin": one.admin, "created": one.created, "expires": one.expires}
            for one in found
        ]
        click.echo(json.dumps(listed, indent=2))
        return
    table = Table("name", "sees", "made", "ends", box=None, pad_edge=False)
    for one in found:
        gone = one.expires is not None and one.expires <= now
        ends = "never" if one.expires is None else _date(one.expires)
        table.add_row(one.name, _whose(one.tenant), _date(one.created), f"{ends} (expired)" if gone else ends)
    out.print(table if found else "no tokens; `esfeed token add` creates one")


@token.command()
@click.argument("name")
@click.pass_obj
def remove(path: Path, name: str) -> None:
    """Remove a token; a running feed refuses it within five seconds."""
    with App(settings(path), "token") as app:
        if not app.store.tokens.remove(name):
            raise ConfigError("NAME", name, "no such token; `esfeed token list` lists all")
    errors.print(f"{name}: removed")


def _until(text: str, now: datetime) -> datetime:
    hint = 'write how long the token is valid, such as "90d", or a date such as "2027-01-31"'
    try:
        until = now + timedelta(seconds=seconds(text))
    except ValueError:
        try:
            until = moment(text)
        except ValueError:
            raise ConfigError("--expires", text, hint) from None
    if until <= now:
        raise ConfigError("--expires", text, f"that is in the past (it is {now:%Y-%m-%dT%H:%M:%SZ} now); {hint}")
    return until


def _whose(tenant: str | None) -> str:
    return "everything" if tenant is None else f"tenant {tenant}"


def _end(until: int | None) -> str:
    return "" if until is None else f", until {_date(until)}"


def _date(epoch: float) -> str:
    return f"{datetime.fromtimestamp(epoch, UTC):%Y-%m-%d %H:%MZ}"
