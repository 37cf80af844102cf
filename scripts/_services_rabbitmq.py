"""`scripts/services up rabbitmq`: RabbitMQ with a node name, an Erlang cookie and an Erlang port mapper of its own."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from _instance import Record
from _services_machine import find_program, need_program, package_version
from _services_server import Kind, ask

PLACES = "/usr/lib/rabbitmq/bin"  # the wrappers in /usr/sbin would change to the user rabbitmq and its folders
PACKAGES = ("rabbitmq-server",)


class RabbitMQ(Kind):
    name = "rabbitmq"
    ports = ("port", "tls_port", "distribution_port", "mapper_port")

    def version(self) -> str:
        return package_version("rabbitmq-server")

    def need(self) -> None:
        self._program()
        self._mapper()

    def _program(self) -> str:
        return str(need_program(self.name, "rabbitmq-server", PACKAGES, PLACES))

    def _mapper(self) -> str:
        return str(find_program("epmd", "/usr/lib/erlang/erts-*/bin") or need_program(self.name, "epmd", PACKAGES))

    def urls(self, record: Record) -> Record:
        user = f"{record['username']}:{record['password']}@127.0.0.1"
        return {
            "url": f"amqp://{user}:{record['port']}/%2F",
            "tls_url": f"amqps://{user}:{record['tls_port']}/%2F",
            "node": f"esfeed-{record['instance']}@localhost",
        }

    def prepare(self, folder: Path, record: Record) -> None:
        cookie = folder / "tmp/.erlang.cookie"  # tmp is its HOME
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)
        (folder / "config/plugins").write_text("[].\n")

    def configure(self, folder: Path, record: Record) -> None:
        certificates = folder / "certs"
        settings = {
            "listeners.tcp.1": f"127.0.0.1:{record['port']}",
            "listeners.ssl.1": f"127.0.0.1:{record['tls_port']}",
            "ssl_options.cacertfile": certificates / "ca.pem",
            "ssl_options.certfile": certificates / "node.pem",
            "ssl_options.keyfile": certificates / "node.key",
            "ssl_options.verify": "verify_peer",
            "ssl_options.fail_if_no_peer_cert": "false",
            "default_user": record["username"],
            "default_pass": record["password"],
            "vm_memory_high_watermark.absolute": "512MB",
            "disk_free_limit.absolute": "50MB",
            "log.file": "false",
            "log.console": "true",
            "log.console.level": "warning",
            **record["settings"],
        }
        lines = [f"{key} = {value}\n" for key, value in settings.items()]
        (folder / "config/rabbitmq.conf").write_text("".join(lines))

    def helpers(self, folder: Path, record: Record) -> list[list[str]]:
        # Else the server would leave one behind in the background, on a port that the machine's own RabbitMQ uses.
        return [[self._mapper(), "-address", "127.0.0.1", "-port", str(record["mapper_port"])]]

    def command(self, folder: Path, record: Record) -> list[str]:
        return [self._program()]

    def environment(self, folder: Path, record: Record) -> Mapping[str, str]:
        erlang = ["-noinput", "+S", "2:2", "+sbwt", "none", "-kernel", "inet_dist_use_interface", "{127,0,0,1}"]
        return {
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(record["mapper_port"]),
            "RABBITMQ_ALLOW_INPUT": "1",  # makes the script become the server instead of its parent
            "RABBITMQ_CONFIG_FILE": str(folder / "config/rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "config/none"),
            "RABBITMQ_DIST_PORT": str(record["distribution_port"]),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "config/plugins"),
            "RABBITMQ_LOG_BASE": str(folder / "data/log"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data/mnesia"),
            "RABBITMQ_NODENAME": record["node"],
            "RABBITMQ_PID_FILE": str(folder / "tmp/pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": " ".join(erlang),
        }

    def ready(self, record: Record) -> bool:
        # Its first frame: connection.start. It listens only once all else is done.
        return ask(record["port"], b"AMQP\x00\x00\x09\x01").startswith(b"\x01\x00\x00")
