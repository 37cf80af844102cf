"""`scripts/services up nats`: NATS with JetStream; TLS and plain on one port."""

from __future__ import annotations

import json
from pathlib import Path

from _instance import Record
from _services_machine import need_program, package_version
from _services_server import Kind, ask


class Nats(Kind):
    name = "nats"
    ports = ("port",)

    def version(self) -> str:
        return package_version("nats-server")

    def need(self) -> None:
        self._program()

    def _program(self) -> str:
        return str(need_program(self.name, "nats-server", ("nats-server",)))

    def urls(self, record: Record) -> Record:
        url = f"nats://127.0.0.1:{record['port']}"
        return {"url": url, "tls_url": url.replace("nats", "tls", 1), "tls_port": record["port"]}

    def configure(self, folder: Path, record: Record) -> None:
        certificates = folder / "certs"
        users = [{"user": record["username"], "password": record["password"]}]
        settings = {
            "host": "127.0.0.1",
            "port": record["port"],
            "server_name": f"esfeed-{record['instance']}",
            "jetstream": {"store_dir": str(folder / "data"), "max_mem": 64 << 20, "max_file": 1 << 30},
            "authorization": {"users": users},
            "tls": {
                "cert_file": str(certificates / "node.pem"),
                "key_file": str(certificates / "node.key"),
                "ca_file": str(certificates / "ca.pem"),
                "verify": False,
            },
            "allow_non_tls": True,
        }
        for key in record["settings"]:
            settings.pop(key, None)
        # Its language takes JSON; what --set says stands as it is, since that may be in the language's own form.
        lines = [f"{key}: {json.dumps(value)}" for key, value in settings.items()]
        lines += [f"{key}: {value}" for key, value in record["settings"].items() if value != "none"]
        (folder / "config/nats.conf").write_text("\n".join(lines) + "\n")

    def command(self, folder: Path, record: Record) -> list[str]:
        return [self._program(), "-c", str(folder / "config/nats.conf")]

    def ready(self, record: Record) -> bool:
        told = ask(record["port"], b"")
        return told.startswith(b"INFO ") and b'"jetstream":true' in told
