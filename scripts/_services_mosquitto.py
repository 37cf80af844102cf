"""`scripts/services up mosquitto`: an MQTT 3.1.1 and 5 broker that keeps sessions and retained messages on disk."""

from __future__ import annotations

import struct
from pathlib import Path

from _instance import Record
from _services_machine import need_program, package_version
from _services_server import Kind, ask, run


class Mosquitto(Kind):
    name = "mosquitto"

    def version(self) -> str:
        return package_version("mosquitto")

    def need(self) -> None:
        self._program("mosquitto")

    def _program(self, name: str) -> str:
        return str(need_program(self.name, name, ("mosquitto",)))

    def urls(self, record: Record) -> Record:
        return {"url": f"mqtt://127.0.0.1:{record['port']}", "tls_url": f"mqtts://127.0.0.1:{record['tls_port']}"}

    def prepare(self, folder: Path, record: Record) -> None:
        command = [self._program("mosquitto_passwd"), "-c", "-b", str(folder / "config/passwd")]
        run(self, [*command, record["username"], record["password"]])

    def configure(self, folder: Path, record: Record) -> None:
        certificates = folder / "certs"
        settings = {
            "allow_anonymous": "false",
            "password_file": folder / "config/passwd",
            "persistence": "true",
            "persistence_location": f"{folder}/data/",
            "autosave_on_changes": "true",  # so that a kill -9 loses nothing that was acknowledged a moment before
            "autosave_interval": "1",
            "max_queued_messages": "0",
            "log_dest": "stderr",
            **record["settings"],
        }
        listeners = (
            f"listener {record['port']} 127.0.0.1",
            f"listener {record['tls_port']} 127.0.0.1",
            f"cafile {certificates}/ca.pem",
            f"certfile {certificates}/node.pem",
            f"keyfile {certificates}/node.key",
        )
        lines = [*(f"{key} {value}" for key, value in settings.items()), *listeners]
        (folder / "config/mosquitto.conf").write_text("\n".join(lines) + "\n")

    def command(self, folder: Path, record: Record) -> list[str]:
        return [self._program("mosquitto"), "-c", str(folder / "config/mosquitto.conf")]

    def ready(self, record: Record) -> bool:
        def text(value: str) -> bytes:
            return struct.pack(">H", len(value)) + value.encode()

        # CONNECT of MQTT 3.1.1 with user, password and clean session; CONNACK with code 0.
        body = text("MQTT") + b"\x04\xc2\x00\x05" + text("esfeed-ready") + text(record["username"])
        body += text(record["password"])
        return ask(record["port"], b"\x10" + bytes([len(body)]) + body) == b"\x20\x02\x00\x00"
