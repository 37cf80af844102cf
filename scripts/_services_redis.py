"""`scripts/services up redis`: Redis with an append-only file that is flushed at each write."""

from __future__ import annotations

from pathlib import Path

from _instance import Record
from _services_machine import need_program, package_version
from _services_server import Kind, ask


class Redis(Kind):
    name = "redis"
    ports = ("port", "tls_port", "cluster_port")

    def version(self) -> str:
        return package_version("redis-server")

    def need(self) -> None:
        self._program()

    def _program(self) -> str:
        return str(need_program(self.name, "redis-server", ("redis-server",)))

    def urls(self, record: Record) -> Record:
        user = f"{record['username']}:{record['password']}@127.0.0.1"
        return {"url": f"redis://{user}:{record['port']}/0", "tls_url": f"rediss://{user}:{record['tls_port']}/0"}

    def configure(self, folder: Path, record: Record) -> None:
        certificates = folder / "certs"
        settings = {
            "bind": "127.0.0.1",
            "port": record["port"],
            "tls-port": record["tls_port"],
            "cluster-port": record["cluster_port"],  # by default 10000 above, where outgoing connections may have it
            "tls-cert-file": certificates / "node.pem",
            "tls-key-file": certificates / "node.key",
            "tls-ca-cert-file": certificates / "ca.pem",
            "tls-auth-clients": "optional",
            "dir": folder / "data",
            "appendonly": "yes",
            "appendfsync": "always",
            "save": '""',
            "maxmemory": "128mb",
            **record["settings"],
        }
        users = ("user default off", f"user {record['username']} on >{record['password']} ~* &* +@all")
        lines = [*(f"{key} {value}" for key, value in settings.items()), *users]
        (folder / "config/redis.conf").write_text("\n".join(lines) + "\n")

    def command(self, folder: Path, record: Record) -> list[str]:
        return [self._program(), str(folder / "config/redis.conf")]

    def ready(self, record: Record) -> bool:
        # While it loads its file it says -LOADING; then, to one who has not logged in, -NOAUTH.
        return ask(record["port"], b"PING\r\n").startswith((b"-NOAUTH", b"+PONG"))
