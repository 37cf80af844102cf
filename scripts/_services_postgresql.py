"""`scripts/services up postgresql`: a cluster of its own with a database of its own; TLS and plain on one port."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from _host import as_engine_user
from _instance import Record
from _services_machine import find_program, need_program, package_version
from _services_server import Kind, run

PLACES = "/usr/lib/postgresql/*/bin"
PACKAGES = ("postgresql-15", "postgresql")


class PostgreSQL(Kind):
    name = "postgresql"
    ports = ("port",)
    stop_signal = signal.SIGINT  # "fast": it hangs up on its clients, where SIGTERM would wait for them

    def version(self) -> str:
        found = find_program("postgres", PLACES)
        return package_version(f"postgresql-{found.parent.parent.name}") if found else "-"

    def need(self) -> None:
        self._program("postgres")

    def _program(self, name: str) -> str:
        return str(need_program(self.name, name, PACKAGES, PLACES))

    def urls(self, record: Record) -> Record:
        url = f"postgresql://{record['username']}:{record['password']}@127.0.0.1:{record['port']}/esfeed"
        return {"url": url, "tls_url": f"{url}?sslmode=require", "tls_port": record["port"], "database": "esfeed"}

    def prepare(self, folder: Path, record: Record) -> None:
        password = folder / "config/password"
        password.write_text(record["password"])
        words = f"--pgdata={folder}/data --username={record['username']} --pwfile={password} --auth=scram-sha-256"
        run(self, [self._program("initdb"), *words.split(), "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"])
        single = [self._program("postgres"), "--single", "-D", f"{folder}/data", "postgres"]
        run(self, single, input="CREATE DATABASE esfeed;\n")

    def configure(self, folder: Path, record: Record) -> None:
        # Left by a kill -9, it would be believed as long as that process is a zombie that nobody has waited for.
        (folder / "data/postmaster.pid").unlink(missing_ok=True)

    def command(self, folder: Path, record: Record) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": record["port"],
            "unix_socket_directories": "",
            "ssl": "on",
            "ssl_cert_file": folder / "certs/node.pem",
            "ssl_key_file": folder / "certs/node.key",
            "ssl_ca_file": folder / "certs/ca.pem",
            "shared_buffers": "16MB",
            "max_connections": "60",
            **record["settings"],
        }
        options = [f"-c{key}={value}" for key, value in settings.items()]
        return [self._program("postgres"), "-D", str(folder / "data"), *options]

    def ready(self, record: Record) -> bool:
        command = [self._program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(record["port"]), "-t", "5"]
        return subprocess.run(command, check=False, cwd="/", **as_engine_user()).returncode == 0
