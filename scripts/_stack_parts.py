"""The parts of a stack as `scripts/stack` runs them: each a process with its command, its proof of life and its end.

A part is known by its pid and by when that process began, so a pid that was given anew is never taken for it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _stack_machine as machine
from _host import say
from _instance import Record, Recorded, birth, free_ports, tail
from _stack_machine import FILES, HERE, ROOT, StackError, need_program

START_SECONDS = 120  # two cores may be at other work
STOP_SECONDS = 20
PORTS = ("epmd", "rabbitmq", "erlang", "openstack", "redis", "zaqar", "zaqar-keystone")

_writing = threading.Lock()  # several parts are started at once


@dataclass(frozen=True)
class Stack(Recorded):
    """One stack, in its folder under ROOT/run."""

    label: str

    @property
    def folder(self) -> Path:
        return ROOT / "run" / self.label

    def add(self, **more: Any) -> None:
        with _writing:
            self.write(self.record() | more)

    def note(self, part: str, process: Record | None) -> None:
        with _writing:
            record = self.record()
            record["processes"] = {**record.get("processes", {}), part: process}
            self.write(record)

    def log(self, part: str) -> Path:
        return self.folder / "log" / f"{part}.log"

    def pid(self, part: str) -> int | None:
        """The live process of a part."""
        noted = self.record().get("processes", {}).get(part)
        return noted["pid"] if noted and birth(noted["pid"]) == noted["began"] else None

    def tail(self, part: str) -> str:
        return tail(self.log(part))


def lay(stack: Stack, engine: str, shards: int) -> Record:
    """The folder and the record of a new stack: its ports, and the addresses that a client needs."""
    for name in ("log", "rabbitmq", "redis"):
        (stack.folder / name).mkdir(parents=True, exist_ok=True)
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    record: Record = {
        "instance": stack.label,
        "engine_name": engine,
        "shards": shards,
        "group": f"searchlight_{stack.label.replace('-', '_')}",
        "ports": ports,
        "rabbitmq": f"rabbit://guest:guest@127.0.0.1:{ports['rabbitmq']}/",
        "openstack": f"http://127.0.0.1:{ports['openstack']}",
        "keystone": f"http://127.0.0.1:{ports['openstack']}/v3",
        "redis": f"redis://127.0.0.1:{ports['redis']}",
        "zaqar": f"http://127.0.0.1:{ports['zaqar']}",
        "zaqar_keystone": f"http://127.0.0.1:{ports['zaqar-keystone']}",
        "post_size": 262144,
        "processes": {},
    }
    stack.write(record)
    return record


def settings(stack: Stack, template: str, part: str, **more: object) -> Path:
    """A server's settings file, made of one in stack.d."""
    record = stack.record()
    values = {"LOG": stack.log(part), "RABBIT": record["rabbitmq"], "KEYSTONE": record["keystone"],
              "REDIS": record["redis"], "GROUP": record["group"], **more}  # fmt: skip
    text = (FILES / template).read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    path = stack.folder / f"{part}.conf"
    path.write_text(text)
    return path


def searchlight_settings(stack: Stack) -> Path:
    record = stack.record()
    index = f"index_settings = number_of_shards:{record['shards']},number_of_replicas:0"
    engine = record["engine"].removeprefix("http://")
    return settings(stack, "searchlight.conf", "searchlight", ENGINE=engine, SHARDS=index)


# --- commands


def epmd(stack: Stack) -> tuple[list[str], dict[str, str]]:
    # Erlang's own port mapper would be left behind as a daemon, on a port that all of the machine's nodes share.
    port = str(stack.record()["ports"]["epmd"])
    need_program("rabbitmq-server", "rabbitmq-server")
    return [need_program("epmd", "erlang-base"), "-port", port, "-address", "127.0.0.1"], {}


def rabbitmq(stack: Stack) -> tuple[list[str], dict[str, str]]:
    # Debian's wrapper insists on its own user and folders; what it wraps does not.
    program = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    if not program.exists():
        program = Path(need_program("rabbitmq-server", "rabbitmq-server"))
    folder, ports = stack.folder / "rabbitmq", stack.record()["ports"]
    (folder / "enabled_plugins").write_text("[].\n")
    (folder / "rabbitmq.conf").write_text("log.console = true\nlog.file = false\ncollect_statistics_interval = 60000\n")
    (folder / "environment.conf").touch()
    return [str(program)], {
        "HOME": str(folder),  # the cookie of the node
        "RUNNING_UNDER_SYSTEMD": "1",  # the script becomes the node, instead of watching over it
        "ERL_EPMD_PORT": str(ports["epmd"]),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"esfeed-{stack.label}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(ports["rabbitmq"]),
        "RABBITMQ_DIST_PORT": str(ports["erlang"]),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "environment.conf"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
    }


def openstack(stack: Stack) -> tuple[list[str], dict[str, str]]:
    record = stack.record()
    catalog = json.dumps({"messaging": record["zaqar_keystone"]})
    return [sys.executable, str(HERE / "_stack_openstack.py"), str(record["ports"]["openstack"]), catalog], {}


def redis(stack: Stack) -> tuple[list[str], dict[str, str]]:
    port = str(stack.record()["ports"]["redis"])
    command = [need_program("redis-server", "redis-server"), "--port", port, "--bind", "127.0.0.1"]
    # On disk, so that a kill takes nothing that was acknowledged.
    return [*command, "--dir", str(stack.folder / "redis"), "--save", "", "--appendonly", "yes"], {}


def listener(stack: Stack) -> tuple[list[str], dict[str, str]]:
    program = machine.searchlight(stack.record()["engine_name"]) / "searchlight-listener"
    return [str(program), "--config-file", str(searchlight_settings(stack))], {}


def zaqar(stack: Stack) -> tuple[list[str], dict[str, str]]:
    return _zaqar(stack, "zaqar", "", 0)


def zaqar_keystone(stack: Stack) -> tuple[list[str], dict[str, str]]:
    return _zaqar(stack, "zaqar-keystone", "keystone", 2)


def _zaqar(stack: Stack, part: str, auth: str, database: int) -> tuple[list[str], dict[str, str]]:
    record = stack.record()
    more = {"AUTH": auth, "PORT": record["ports"][part], "DB1": database + 1, "DB": database}
    path = settings(stack, "zaqar.conf", part, POST_SIZE=record["post_size"], **more)
    return [str(machine.zaqar() / "zaqar-server"), "--config-file", str(path)], {}


# --- proofs of life


def connects(part: str) -> Callable[[Stack], bool]:
    def proof(stack: Stack) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", stack.record()["ports"][part]), 2):
            return True
        return False

    return proof


def amqp(stack: Stack) -> bool:
    """RabbitMQ says which version it speaks as soon as it is asked for one that it does not."""
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", stack.record()["ports"]["rabbitmq"]), 2) as it,
    ):
        it.sendall(b"AMQP\x00\x00\x00\x00")
        return it.recv(8).startswith(b"AMQP")
    return False


def http_answers(part: str, path: str, good: tuple[int, ...]) -> Callable[[Stack], bool]:
    def proof(stack: Stack) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            link = http.client.HTTPConnection("127.0.0.1", stack.record()["ports"][part], timeout=5)
            link.request("GET", path, headers={"Client-ID": "0" * 31 + "1", "X-Project-ID": "stack"})
            return link.getresponse().status in good
        return False

    return proof


CONSUMERS = """
import amqp, sys
with amqp.Connection(f"127.0.0.1:{sys.argv[1]}") as link:
    found = link.channel().queue_declare("searchlight-listener", passive=True)
sys.exit(found.consumer_count == 0)
"""


def consumes(stack: Stack) -> bool:
    """The listener says nothing once it listens, so RabbitMQ is asked, with the client that Searchlight has."""
    if not stack.pid("listener"):
        return False
    record = stack.record()
    python = machine.searchlight(record["engine_name"]) / "python"
    asked = [str(python), "-c", CONSUMERS, str(record["ports"]["rabbitmq"])]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


@dataclass(frozen=True)
class Part:
    """A part of the stack. ``needs``: the parts that must be up before it."""

    name: str
    command: Callable[[Stack], tuple[list[str], dict[str, str]]]
    alive: Callable[[Stack], bool]
    needs: tuple[str, ...] = ()


PARTS = {
    part.name: part
    for part in (
        Part("epmd", epmd, connects("epmd")),
        Part("rabbitmq", rabbitmq, amqp, ("epmd",)),
        Part("openstack", openstack, http_answers("openstack", "/v3", (200,))),
        Part("redis", redis, connects("redis")),
        Part("zaqar", zaqar, http_answers("zaqar", "/v2/ping", (204,)), ("redis",)),
        Part(
            "zaqar-keystone",
            zaqar_keystone,
            http_answers("zaqar-keystone", "/v2/ping", (204, 401)),
            ("openstack", "redis"),
        ),
        Part("listener", listener, consumes, ("rabbitmq", "openstack", "engine")),
    )
}


def start(stack: Stack, part: Part) -> None:
    """Starts a part and waits until it answers; one that fails leaves no process behind."""
    if stack.pid(part.name) and part.alive(stack):
        return
    end(stack, part)
    command, more = part.command(stack)
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ}
    with stack.log(part.name).open("ab") as log:
        process = subprocess.Popen(
            command,
            env={**keep, **more},
            cwd=stack.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # the caller's Ctrl-C is not the server's
        )
    stack.note(part.name, {"pid": process.pid, "began": birth(process.pid)})
    deadline = time.monotonic() + START_SECONDS
    while not part.alive(stack):
        code = process.poll()
        if code is None and time.monotonic() < deadline:
            time.sleep(0.1)
            continue
        why = f"was not ready in {START_SECONDS} s" if code is None else f"ended while starting (code {code})"
        end(stack, part)
        raise StackError(f"{part.name} {why}; {stack.log(part.name)} ends:\n{stack.tail(part.name)}")
    say(f"stack: {part.name} is up")


def end(stack: Stack, part: Part) -> None:
    """Ends a part with all that it started, the process that was noted and no other."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        pid = stack.pid(part.name)
        if not pid:
            break
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)
        deadline = time.monotonic() + STOP_SECONDS
        while stack.pid(part.name) and time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            time.sleep(0.05)
    if pid := stack.pid(part.name):
        raise StackError(f"{part.name}: process {pid} does not end; is it another user's?")
    if stack.record():
        stack.note(part.name, None)


def answers(url: str) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        # An empty ProxyHandler: a proxy named in the environment has no business with loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return bool(opener.open(url, timeout=10).status == 200)
    return False
