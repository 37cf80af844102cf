#!/usr/bin/env python3
"""A stand-in for keystone and for the services whose APIs Searchlight asks while it syncs. Standard library only.

    _stack_openstack.py PORT [CATALOG.json]

*Keystone v3*: users by name and password, tokens scoped to any project, validation for keystonemiddleware. A token is
known until ``DELETE /_stand-in/tokens`` takes all back. *The services*: what was put at a path is answered there; a
list that nobody put is empty, an item is 404.

    PUT    /_stand-in/at/network/v2.0/networks    from now on GET /network/v2.0/networks answers that body
    DELETE /_stand-in/at/network/v2.0/networks    and no more
    PUT    /_stand-in/samples?from=FOLDER         Searchlight's own sample resources, from its installed package
    DELETE /_stand-in/samples                     an empty cloud again
    PUT    /_stand-in/failures/v3/auth/tokens     {"status": 503, "times": 2}: the next requests there fail so
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

PASSWORDS = {"searchlight": "searchlight-password", "zaqar": "zaqar-password", "esfeed": "esfeed-password"}
SERVICE_PROJECT = "a" * 32
SERVICES = {
    "image": "/image",
    "network": "/network",
    "compute": "/compute/v2.1",
    "volumev2": f"/volume/v2/{SERVICE_PROJECT}",
    "dns": "/dns",
    "identity": "/v3",
}
LISTS = {
    "images": "images", "members": "members", "namespaces": "namespaces", "networks": "networks",
    "subnets": "subnets", "ports": "ports", "routers": "routers", "floatingips": "floatingips",
    "security-groups": "security_groups", "rbac-policies": "rbac_policies", "os-hypervisors": "hypervisors",
    "os-server-groups": "server_groups", "servers": "servers", "flavors": "flavors", "volumes": "volumes",
    "snapshots": "snapshots", "zones": "zones", "recordsets": "recordsets", "os-extra_specs": "extra_specs",
    "os-flavor-access": "flavor_access", "objects": "objects", "properties": "properties", "tags": "tags",
    "resource_types": "resource_type_associations",
}  # fmt: skip
"""The last part of a list's path, and the key under which its answer holds the list."""


def version(number: str, url: str, **more: str) -> dict[str, Any]:
    return {"id": number, "status": "CURRENT", "updated": "2020-01-01T00:00:00Z", "media-types": [],
            "links": [{"rel": "self", "href": url}], **more}  # fmt: skip


def fixed(root: str) -> dict[str, Any]:
    """What clients ask before they ask for a resource: versions, and glance's schemas."""
    schema = {"properties": {}, "additionalProperties": True, "links": []}
    compute = version("v2.1", f"{root}/compute/v2.1/", version="2.79", min_version="2.1")
    return {
        "/": {"versions": {"values": [version("v3.14", f"{root}/v3/") | {"status": "stable"}]}},
        "/v3": {"version": version("v3.14", f"{root}/v3/") | {"status": "stable"}},
        "/image": {"versions": [version("v2.9", f"{root}/image/v2/")]},
        "/image/v2/schemas/image": {"name": "image", **schema},
        "/image/v2/schemas/member": {"name": "member", **schema},
        "/image/v2/schemas/metadefs/namespace": {"name": "namespace", **schema},
        "/network": {"versions": [version("v2.0", f"{root}/network/v2.0/")]},
        "/compute": {"versions": [compute]},
        "/compute/v2.1": {"version": compute},
        "/volume/v2": {"version": version("v2.0", f"{root}/volume/v2/")},
        "/dns": {"versions": {"values": [version("v2", f"{root}/dns/v2/")]}},
    }


def samples(folder: Path) -> dict[str, Any]:
    """The paths at which Searchlight's sample resources are, as its own clients ask for them."""

    def load(name: str) -> Any:
        return json.loads((folder / f"{name}.json").read_text())

    at: dict[str, Any] = {"/image/v2/images": {"images": load("images")}}
    at |= {f"/image/v2/images/{image['id']}": image for image in load("images")}
    at |= {f"/image/v2/images/{image}/members": {"members": all_of} for image, all_of in load("image_members").items()}
    spaces = load("metadefs")
    at["/image/v2/metadefs/namespaces"] = {"namespaces": spaces}
    at |= {f"/image/v2/metadefs/namespaces/{space['namespace']}": space for space in spaces}
    at["/network/v2.0/networks"] = {"networks": load("networks")}
    at |= {f"/network/v2.0/{name}": load(name) for name in ("subnets", "ports", "routers", "floatingips")}
    at |= {f"/network/v2.0/ports/{port['id']}": {"port": port} for port in load("ports")["ports"]}
    at["/network/v2.0/security-groups"] = {"security_groups": load("security")["securitygroups"]}
    at["/compute/v2.1/flavors/detail"] = {"flavors": load("flavors")}
    at["/compute/v2.1/os-hypervisors/detail"] = {"hypervisors": load("hypervisors")}
    at["/compute/v2.1/os-server-groups"] = load("server_groups")
    at["/compute/v2.1/servers/detail"] = {"servers": load("servers")}
    at |= {f"/compute/v2.1/servers/{server['id']}": {"server": server} for server in load("servers")}
    for kind in ("volumes", "snapshots"):
        found = [each["_info"] if isinstance(each.get("_info"), dict) else each for each in load(kind)]
        at[f"/volume/v2/{SERVICE_PROJECT}/{kind}/detail"] = {kind: found}
        at |= {f"/volume/v2/{SERVICE_PROJECT}/{kind}/{each['id']}": {kind[:-1]: each} for each in found}
    at["/dns/v2/zones"] = {"zones": load("zones"), "links": {}}
    for zone in load("zones"):
        sets = [each for each in load("recordsets") if each["zone_id"] == zone["id"]]
        at[f"/dns/v2/zones/{zone['id']}/recordsets"] = {"recordsets": sets, "links": {}}
    return at


class Cloud:
    """What the stand-in knows: resources by path, tokens, and the failures that it was asked for."""

    def __init__(self, root: str, services: dict[str, str]) -> None:
        self.root = root
        self.services = {kind: url if "://" in url else root + url for kind, url in services.items()}
        self.fixed = fixed(root)
        self.at: dict[str, Any] = {}
        self.tokens: dict[str, dict[str, Any]] = {}
        self.failures: dict[str, dict[str, int]] = {}
        self.lock = threading.Lock()

    def failure(self, path: str) -> int:
        with self.lock:
            asked = self.failures.get(path)
            if not asked or asked["times"] <= 0:
                return 0
            asked["times"] -= 1
            return asked["status"]

    def issue(self, body: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
        """A new token for those credentials, ``None`` where they are wrong.

        https://docs.openstack.org/api-ref/identity/v3/#password-authentication-with-scoped-authorization
        """
        identity = body.get("auth", {}).get("identity", {})
        if "token" in identity.get("methods", ()):
            old = self.tokens.get(identity["token"]["id"])
            name = old["user"]["name"] if old else ""
        else:
            user = identity.get("password", {}).get("user", {})
            name = user.get("name") or user.get("id", "")
            if name not in PASSWORDS or user.get("password") != PASSWORDS[name]:
                name = ""
        if not name:
            return None
        domain = {"id": "default", "name": "Default"}
        token: dict[str, Any] = {
            "methods": identity["methods"],
            "expires_at": "2099-01-01T00:00:00.000000Z",
            "issued_at": "2020-01-01T00:00:00.000000Z",
            "audit_ids": ["x"],
            "user": {"id": hashlib.md5(name.encode()).hexdigest(), "name": name, "domain": domain},
        }
        scope = body["auth"].get("scope")
        if isinstance(scope, dict) and (asked := scope.get("project")):
            project = asked.get("id") or hashlib.md5(asked.get("name", "").encode()).hexdigest()
            if asked.get("name") == "service":
                project = SERVICE_PROJECT
            token["project"] = {"id": project, "name": asked.get("name", project), "domain": domain}
            token["roles"] = [{"id": "r1", "name": "admin"}, {"id": "r2", "name": "service"}]
            token["catalog"] = [self._service(kind, url) for kind, url in self.services.items()]
        word = secrets.token_hex(16)
        self.tokens[word] = token
        return word, token

    @staticmethod
    def _service(kind: str, url: str) -> dict[str, Any]:
        endpoints = [
            {"id": kind + each, "interface": each, "region": "RegionOne", "region_id": "RegionOne", "url": url}
            for each in ("public", "internal", "admin")
        ]
        return {"type": kind, "id": kind, "name": kind, "endpoints": endpoints}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cloud: Cloud

    def reply(self, status: int, body: Any = None, **headers: str) -> None:
        text = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def asked(self) -> tuple[str, dict[str, list[str]], bytes]:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return parts.path.rstrip("/") or "/", parse_qs(parts.query), body

    def do_POST(self) -> None:
        path, _, body = self.asked()
        if status := self.cloud.failure(path):
            return self.reply(status, {"error": {"message": "as asked", "code": status}})
        if path != "/v3/auth/tokens":
            return self.reply(404, {"error": {"message": "not found", "code": 404}})
        issued = self.cloud.issue(json.loads(body))
        if issued is None:
            return self.reply(401, {"error": {"message": "The request needs authentication.", "code": 401}})
        return self.reply(201, {"token": issued[1]}, X_Subject_Token=issued[0])

    def do_GET(self) -> None:
        path, query, _ = self.asked()
        if status := self.cloud.failure(path):
            return self.reply(status, {"error": {"message": "as asked", "code": status}})
        if path == "/v3/auth/tokens":
            token = self.cloud.tokens.get(self.headers.get("X-Subject-Token", ""))
            if token is None:
                return self.reply(404, {"error": {"message": "no such token", "code": 404}})
            return self.reply(200, {"token": token})
        known = self.cloud.at.get(path, self.cloud.fixed.get(path))
        if known is not None and "marker" not in query:  # what follows the last page is empty
            return self.reply(200, known)
        last = path.removesuffix("/detail").rpartition("/")[2]
        if last in LISTS:
            empty: Any = {} if last == "os-extra_specs" else []
            return self.reply(200, {LISTS[last]: empty, "links": {}, "metadata": {"total_count": 0}})
        return self.reply(404, {"itemNotFound": {"message": "not found", "code": 404}})

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        path, query, body = self.asked()
        if path == "/_stand-in/samples":
            self.cloud.at |= samples(Path(query["from"][0]))
        elif path.startswith("/_stand-in/at/"):
            self.cloud.at[path.removeprefix("/_stand-in/at")] = json.loads(body)
        elif path.startswith("/_stand-in/failures/"):
            self.cloud.failures[path.removeprefix("/_stand-in/failures")] = json.loads(body)
        else:
            return self.reply(404)
        return self.reply(204)

    def do_DELETE(self) -> None:
        path, _, _ = self.asked()
        if path == "/_stand-in/samples":
            self.cloud.at.clear()
        elif path == "/_stand-in/tokens":
            self.cloud.tokens.clear()
        else:
            self.cloud.at.pop(path.removeprefix("/_stand-in/at"), None)
        self.reply(204)

    def log_message(self, format: str, *values: Any) -> None:
        sys.stderr.write(f"{self.command} {format % values}\n")


def main() -> None:
    port = int(sys.argv[1])
    more = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
    Handler.cloud = Cloud(f"http://127.0.0.1:{port}", SERVICES | more)
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
