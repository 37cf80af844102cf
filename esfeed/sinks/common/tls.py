"""The TLS settings that sinks share, and the context made from them: one spelling, one set of errors."""

from __future__ import annotations

import ssl
from typing import Self

from pydantic import Field, model_validator

from esfeed.config.types import Section, Text
from esfeed.errors import ConfigError


class TlsKeys(Section):
    """The certificates to trust and to present. A mixin for the settings of a sink."""

    verify_certs: bool = Field(True, description="Whether to verify the certificate of the server and its host name.")
    ca_certs: Text | None = Field(
        None, description="A PEM file with the certificates to trust instead of those of the system."
    )
    client_cert: Text | None = Field(None, description="A PEM file with the client certificate.")
    client_key: Text | None = Field(None, description="A PEM file with its key, if client_cert does not contain it.")

    @model_validator(mode="after")
    def _key_has_certificate(self) -> Self:
        if self.client_key is not None and self.client_cert is None:
            raise ValueError("set client_cert as well; a key is of no use without its certificate")
        return self


def server_context(keys: TlsKeys) -> ssl.SSLContext:
    """The SSL context of a client that shows no certificate. Raises ``ConfigError`` (``ca_certs``)."""
    context = ssl.create_default_context() if keys.ca_certs is None else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if keys.ca_certs is not None:
        trust(context, keys.ca_certs)
    if not keys.verify_certs:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def client_context(keys: TlsKeys) -> ssl.SSLContext:
    """The SSL context of a client. Raises ``ConfigError`` (``ca_certs``, ``client_cert``) for an unusable file."""
    context = server_context(keys)
    if keys.client_cert is not None:
        try:
            # An empty password instead of none: otherwise OpenSSL prompts on the terminal for that of an encrypted key.
            context.load_cert_chain(keys.client_cert, keys.client_key, password="")
        except OSError as error:
            hint = f"cannot be used with client_key ({plain(error)}); use PEM files with an unencrypted key"
            raise ConfigError("client_cert", keys.client_cert, hint) from error
    return context


def trust(context: ssl.SSLContext, ca_certs: str) -> None:
    """Makes ``context`` trust the authorities in a PEM file. Raises ``ConfigError`` if it is unusable."""
    try:
        context.load_verify_locations(ca_certs)
    except OSError as error:  # includes ssl.SSLError
        raise ConfigError("ca_certs", ca_certs, f"cannot be used ({plain(error)})") from error


def plain(error: OSError) -> str:
    """The text of a system or TLS error, without error numbers and names of C files."""
    if isinstance(error, ssl.SSLError):
        return str(getattr(error, "verify_message", None) or error.reason or error)
    return error.strerror or str(error)
