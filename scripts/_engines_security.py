"""What `scripts/engines up --security` adds to an engine: certificates, a password, and the plugin that it needs."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from _engines_machine import Build, fetch_zip, locked, need_java, need_tool, unpack
from _host import EngineError, as_engine_user, give_to_engine_user

_OPENSEARCH_SSL = {
    f"plugins.security.ssl.{layer}.{key}": value
    for layer in ("transport", "http")
    for key, value in (
        ("pemcert_filepath", "certs/node.pem"),
        ("pemkey_filepath", "certs/node.key"),
        ("pemtrustedcas_filepath", "certs/ca.pem"),
    )
}
SETTINGS = {
    "elasticsearch": {
        "xpack.security.authc.api_key.enabled": "true",
        "xpack.security.http.ssl.enabled": "true",
        "xpack.security.http.ssl.certificate": "certs/node.pem",
        "xpack.security.http.ssl.key": "certs/node.key",
        "xpack.security.http.ssl.certificate_authorities": "certs/ca.pem",
        "xpack.security.http.ssl.client_authentication": "optional",
    },
    "opensearch": {
        **_OPENSEARCH_SSL,
        "plugins.security.ssl.http.enabled": "true",
        "plugins.security.ssl.http.clientauth_mode": "OPTIONAL",
        "plugins.security.allow_default_init_securityindex": "true",
        "plugins.security.restapi.roles_enabled": "all_access",
    },
}

OPENSSL_CONFIG = """
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[node]
basicConstraints = CA:FALSE
authorityKeyIdentifier = keyid
subjectAltName = IP:127.0.0.1, DNS:localhost
extendedKeyUsage = serverAuth
[client]
basicConstraints = CA:FALSE
authorityKeyIdentifier = keyid
extendedKeyUsage = clientAuth
"""

# The small zips lack the module analysis-common, without which the index of API keys cannot be made: its e-mail field
# names two filters and a tokenizer of that module. Stand-ins do, since nothing here searches users by e-mail.
PLUGIN_SOURCE = """
package esfeed;

import java.util.Map;
import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.standard.StandardTokenizer;
import org.elasticsearch.index.analysis.TokenFilterFactory;
import org.elasticsearch.index.analysis.TokenizerFactory;
import org.elasticsearch.indices.analysis.AnalysisModule.AnalysisProvider;
import org.elasticsearch.plugins.AnalysisPlugin;
import org.elasticsearch.plugins.Plugin;

public class StandIns extends Plugin implements AnalysisPlugin {
  @Override public Map<String, AnalysisProvider<TokenFilterFactory>> getTokenFilters() {
    AnalysisProvider<TokenFilterFactory> same = (index, environment, name, settings) -> new TokenFilterFactory() {
      @Override public String name() { return name; }
      @Override public TokenStream create(TokenStream tokens) { return tokens; }
    };
    return Map.of("pattern_capture", same, "unique", same);
  }

  @Override public Map<String, AnalysisProvider<TokenizerFactory>> getTokenizers() {
    return Map.of("uax_url_email", (index, environment, name, settings) ->
        TokenizerFactory.newFactory(name, StandardTokenizer::new));
  }
}
"""
PLUGIN_DESCRIPTOR = """
name=esfeed-stand-ins
description=Names that the security index asks for
version=1
classname=esfeed.StandIns
"""


def run(command: list[str], **options: Any) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise EngineError(f"{' '.join(command)} failed: {(done.stdout + done.stderr).strip()}")


def make_certificates(folder: Path) -> None:
    """A throwaway CA, and a node's and a client's certificate signed by it, all as PEM."""
    need_tool("openssl", "openssl")
    folder.mkdir()
    (folder / "openssl.cnf").write_text(OPENSSL_CONFIG)

    def openssl(words: str) -> None:
        run(["openssl", *words.split()], cwd=folder)

    key = "-config openssl.cnf -newkey rsa:2048 -nodes -keyout"
    openssl(f"req -x509 -days 30 -extensions ca -subj /CN=esfeed-test-ca {key} ca.key -out ca.pem")
    for name in ("node", "client"):
        openssl(f"req -subj /CN=esfeed-test-{name} {key} {name}.key -out {name}.csr")
        signer = "-CA ca.pem -CAkey ca.key -CAcreateserial -extfile openssl.cnf"
        openssl(f"x509 -req -days 30 -in {name}.csr {signer} -extensions {name} -out {name}.pem")


def need_plugin(build: Build) -> None:
    """Compiles the plugin once, into the engine's own folder."""
    with locked("fetch"):
        target = build.home / "plugins/esfeed-stand-ins"
        if target.is_dir():
            return
        compiler = need_java(build, "javac") / "bin/javac"
        with tempfile.TemporaryDirectory(dir=build.home.parent) as scratch:
            source, fresh = Path(scratch, "StandIns.java"), Path(scratch, "plugin")
            source.write_text(PLUGIN_SOURCE)
            release = str(build.java[0])  # whatever compiles it, each Java that runs the engine can load it
            jars = ["-proc:none", "-cp", f"{build.home}/lib/*"]
            run([str(compiler), "--release", release, *jars, "-d", f"{scratch}/out", str(source)])
            fresh.mkdir()
            with zipfile.ZipFile(fresh / "stand-ins.jar", "w") as jar:
                for compiled in Path(scratch, "out").rglob("*.class"):
                    jar.write(compiled, compiled.relative_to(f"{scratch}/out"))
            versions = f"elasticsearch.version={build.version}\njava.version={release}\n"
            (fresh / "plugin-descriptor.properties").write_text(PLUGIN_DESCRIPTOR.lstrip() + versions)
            fresh.rename(target)


def need_opensearch_plugin(build: Build) -> Path:
    """OpenSearch's own security plugin, unpacked once into a home that only secured instances share."""
    target = build.home / "plugins/opensearch-security"
    with locked("fetch"):
        if not target.is_dir():
            fresh = build.home.parent / f"{build.name}-plugin.new"
            unpack(fetch_zip(build.name, "org.opensearch.plugin", "opensearch-security", build.plugin), fresh)
            fresh.rename(target)
    return target


def secure(build: Build, folder: Path, environment: dict[str, str]) -> dict[str, str]:
    """Makes the instance in `folder` ready for SETTINGS; returns what a client needs to get in."""
    certificates = folder / "config/certs"  # under config, since the engine may read no other folder
    make_certificates(certificates)
    password = secrets.token_urlsafe(18)
    if build.distribution == "opensearch":
        _secure_opensearch(build, folder, environment, password)
    else:
        _secure_elasticsearch(build, folder, environment, password)
    return {
        "ca_certs": str(certificates / "ca.pem"),
        "client_cert": str(certificates / "client.pem"),
        "client_key": str(certificates / "client.key"),
        "username": "admin" if build.distribution == "opensearch" else "elastic",
        "password": password,
    }


def _secure_elasticsearch(build: Build, folder: Path, environment: dict[str, str], password: str) -> None:
    need_plugin(build)
    give_to_engine_user(folder)
    keystore = str(build.home / "bin/elasticsearch-keystore")
    run([keystore, "create"], env=environment, cwd="/", **as_engine_user())
    add = [keystore, "add", "-x", "bootstrap.password"]
    run(add, input=password, env=environment, cwd="/", **as_engine_user())


def _secure_opensearch(build: Build, folder: Path, environment: dict[str, str], password: str) -> None:
    """The plugin's own settings, with one user and one mapping; the node makes its security index of them."""
    plugin = need_opensearch_plugin(build)
    settings = folder / "config/opensearch-security"
    shutil.copytree(plugin / "config", settings, copy_function=shutil.copyfile)
    classes = f"{plugin}/*:{build.home}/lib/*"
    hasher = [f"{environment['OPENSEARCH_JAVA_HOME']}/bin/java", "-cp", classes, "org.opensearch.security.tools.Hasher"]
    done = subprocess.run([*hasher, "-p", password], capture_output=True, text=True, check=False)
    if not (found := re.search(r"^\$2[aby]\$\S+", done.stdout, re.MULTILINE)):
        raise EngineError(f"{build.name}: no hash of the password: {(done.stdout + done.stderr).strip()}")
    # JSON is YAML, too. The plugin's own mapping would give every user a role that may do much.
    user = {"hash": found[0], "reserved": False, "backend_roles": ["admin"]}
    mapping = {"reserved": False, "backend_roles": ["admin"]}
    for name, kind, key, value in (
        ("internal_users", "internalusers", "admin", user),
        ("roles_mapping", "rolesmapping", "all_access", mapping),
    ):
        text = json.dumps({"_meta": {"type": kind, "config_version": 2}, key: value})
        (settings / f"{name}.yml").write_text(text)
