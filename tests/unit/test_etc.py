"""What etc/ ships works as it stands."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from esfeed.config.load import load
from tests.support.clients import command

ETC = Path(__file__).resolve().parents[2] / "etc"
SAMPLES = sorted((ETC / "esfeed").glob("*.toml"))
SECRETS = {
    "ESFEED_PASSWORD": "p",
    "NFVO_AUTHORIZATION": "Bearer x",
    "ESFEED_TRANSPORT_URL": "rabbit://u:p@h:5672/",
}


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_samples_load(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the three, without a warning, with its secrets from the environment; its routes reach each sink."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    config = load(path)
    assert config.warnings == ()
    assert all(config.router().watches(sink) for sink in config.sinks)


def test_all_three_uses_have_one() -> None:
    """Horizon, NFV, monitoring."""
    assert [path.stem for path in SAMPLES] == ["horizon", "monitoring", "nfv"]


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """As systemd itself reads it."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd here; apt-get install systemd")
    text = (ETC / "systemd/esfeed.service").read_text()
    unit = tmp_path / "esfeed.service"
    # The program need not be installed where tests run; nothing else is another.
    text = text.replace("/usr/local/bin/esfeed", command())
    unit.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    own = [line for line in done.stderr.splitlines() if "esfeed" in line]
    assert (done.returncode, own) == (0, []), done.stderr
    unit.write_text(text.replace("Restart=on-failure", "Restart=sometimes"))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert "sometimes" in done.stderr, "a fault would be told"


def test_the_unit_names_the_same_places_as_the_samples() -> None:
    """State lies where the service may write, and settings where it looks for them."""
    unit = (ETC / "systemd/esfeed.service").read_text()
    for path in SAMPLES:
        assert 'state = "sqlite:////var/lib/esfeed/' in path.read_text()
    assert "StateDirectory=esfeed" in unit
    assert "ESFEED_CONFIG=/etc/esfeed/esfeed.toml" in unit
