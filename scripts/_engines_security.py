"""What `scripts/engines up --security` adds to an engine: certificates, a password, and the plugin that it needs."""

from __future__ import annotations

import secrets
import subprocess
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from _engines_machine import Build, EngineError, as_engine_user, give_to_engine_user, locked, need_java, need_tool

SETTINGS = {
    "xpack.security.authc.api_key.enabled": "true",
    "xpack.security.http.ssl.enabled": "true",
    "xpack.security.http.ssl.certificate": "certs/node.pem",
    "xpack.security.http.ssl.key": "certs/node.key",
    "xpack.security.http.ssl.certificate_authorities": "certs/ca.pem",
    "xpack.security.http.ssl.client_authentication": "optional",
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


def secure(build: Build, folder: Path, environment: dict[str, str]) -> dict[str, str]:
    """Makes the instance in `folder` ready for SETTINGS; returns what a client needs to get in."""
    need_plugin(build)
    certificates = folder / "config/certs"  # under config, since the engine may read no other folder
    make_certificates(certificates)
    give_to_engine_user(folder)
    password = secrets.token_urlsafe(18)
    keystore = str(build.home / "bin/elasticsearch-keystore")
    run([keystore, "create"], env=environment, cwd="/", **as_engine_user())
    add = [keystore, "add", "-x", "bootstrap.password"]
    run(add, input=password, env=environment, cwd="/", **as_engine_user())
    return {
        "ca_certs": str(certificates / "ca.pem"),
        "client_cert": str(certificates / "client.pem"),
        "client_key": str(certificates / "client.key"),
        "username": "elastic",
        "password": password,
    }
