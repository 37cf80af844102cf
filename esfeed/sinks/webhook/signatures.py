"""Signatures of Standard Webhooks. They prove to a receiver who sent a request, and that it was not changed. Pure.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime

PREFIX = "whsec_"
_SHORTEST, _LONGEST = 24, 64


def key_of(secret: str) -> bytes:
    """The key in a secret in the format of Standard Webhooks: ``whsec_`` and base64 of 24 to 64 bytes.

    Raises ``ValueError`` without the secret.
    """
    text = secret.removeprefix(PREFIX)
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not _SHORTEST <= len(key) <= _LONGEST:
        raise ValueError(
            f'write "{PREFIX}" and {_SHORTEST} to {_LONGEST} random bytes in base64, '
            f'such as what "echo {PREFIX}$(openssl rand -base64 32)" prints'
        )
    return key


def signed(message_id: str, now: datetime, body: bytes, keys: Sequence[bytes]) -> Mapping[str, str]:
    """The headers ``webhook-id``, ``webhook-timestamp`` and, with keys, ``webhook-signature`` (one for each key)."""
    timestamp = str(int(now.timestamp()))
    headers = {"webhook-id": message_id, "webhook-timestamp": timestamp}
    if keys:
        text = f"{message_id}.{timestamp}.".encode() + body
        made = [base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode() for key in keys]
        headers["webhook-signature"] = " ".join(f"v1,{signature}" for signature in made)
    return headers
