"""A fault of a request is told by its cause, however often a library has wrapped it."""

from __future__ import annotations

import http.client
import socket
import ssl

import pytest
import requests
import urllib3
from urllib3.exceptions import MaxRetryError, ProtocolError, ReadTimeoutError

from esfeed.net.bounds import TooLarge
from esfeed.sinks.common.http_faults import why
from esfeed.sinks.common.restricted_http import LookupFailed, Refused

POOL = urllib3.HTTPConnectionPool("example.org")
URL = "http://example.org/secret-path"


def within(outer: Exception, cause: BaseException) -> Exception:
    """``outer`` as it is when it was raised from ``cause``."""
    outer.__cause__ = cause
    return outer


TLS = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed (_ssl.c:1006)")
TLS.verify_message = "certificate has expired"
REFUSED = ConnectionRefusedError(111, "Connection refused")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TimeoutError("timed out"), "no complete answer within 3 s"),
        (requests.ReadTimeout(ReadTimeoutError(POOL, URL, "slow")), "no complete answer within 3 s"),
        (within(ProtocolError("broken"), TimeoutError()), "no complete answer within 3 s"),
        (requests.ConnectionError(TooLarge(5)), "the answer is larger than 5 bytes"),
        (Refused("h is 10.0.0.1, a forbidden address"), "h is 10.0.0.1, a forbidden address"),
        (
            within(LookupFailed("no address for h (unknown)"), socket.gaierror(-2, "unknown")),
            "no address for h (unknown)",
        ),
        (TLS, "TLS: certificate has expired"),
        (requests.exceptions.SSLError(MaxRetryError(POOL, URL, TLS)), "TLS: certificate has expired"),
        (REFUSED, "Connection refused"),
        (requests.ConnectionError(MaxRetryError(POOL, URL, REFUSED)), "Connection refused"),
        (
            requests.ConnectionError(ProtocolError("x", http.client.RemoteDisconnected("y"))),
            "the connection was closed without an answer",
        ),
        (
            within(ProtocolError("broken"), urllib3.exceptions.IncompleteRead(1, 2)),
            "the connection was closed in the middle of the answer",
        ),
        (http.client.BadStatusLine("garbage"), "no HTTP answer (BadStatusLine)"),
        (requests.exceptions.InvalidURL(f"{URL} is odd"), "no HTTP answer (InvalidURL)"),
        (OSError(5, "a\nb" + "c" * 500), "a b" + "c" * 197),
    ],
)
def test_reasons(error: BaseException, text: str) -> None:
    """The innermost cause, on one line, without the URL, and without the names of C files."""
    assert why(error, 3.0) == text
