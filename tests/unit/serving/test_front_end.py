"""What the daemon tells its HTTP server on the command line is what the server understands."""

from __future__ import annotations

from pathlib import Path

import pytest

from cortex_actors.config.api_key_settings import ApiKeySettings
from cortex_actors.config.stored_responses import StoredResponses
from cortex_actors.http import server
from cortex_actors.serving.front_end import FrontEnd, FrontEndSettings
from tests.eventually import eventually
from tests.unit.kit.conftest import Start
from tests.unit.neuron.stub_processes import stub_launcher

pytestmark = pytest.mark.process

SETTINGS = FrontEndSettings(
    service="gateway",
    listen="127.0.0.1:31313",
    metrics_listen="127.0.0.1:31314",
    daemon_endpoint="ipc:///run/front.ipc",
    workers=3,
    threads=7,
    max_body_mb=5,
    cors_origins=("https://a.example", "http://b.example:8080"),
    api_keys=ApiKeySettings(file=Path("/keys/api.yaml"), required=True),
    load_deadline_s=61.0,
    stall_s=62.0,
    drain_s=63.0,
    log_level="WARNING",
    key_file=Path("/keys/gateway.key_secret"),
    responses_file=Path("/run/responses.sqlite"),
    stored_responses=StoredResponses(max_count=11, max_mb=12, max_age_h=13),
    otlp_endpoint="http://10.0.0.9:4318",
)


def test_every_setting_reaches_the_server(start: Start) -> None:
    with stub_launcher() as launcher:
        actor = start(FrontEnd, SETTINGS, launcher.source(), name="front_end")
        eventually(lambda: bool(launcher.specs))
        (spec,) = launcher.specs
        actor.stop()
        assert actor.exit.wait(10.0)

    assert spec.module == "cortex_actors.http.server"
    understood = vars(server._parser().parse_args([*spec.args, "--death-fd=3"]))
    assert str(understood.pop("listen")) == SETTINGS.listen
    assert str(understood.pop("metrics_listen")) == SETTINGS.metrics_listen
    assert understood.pop("cors_origin") == list(SETTINGS.cors_origins)
    assert understood.pop("api_keys") == SETTINGS.api_keys.file
    assert understood.pop("require_api_key") is True
    stored = SETTINGS.stored_responses
    assert understood.pop("responses_max_count") == stored.max_count
    assert understood.pop("responses_max_mb") == stored.max_mb
    assert understood.pop("responses_max_age_h") == stored.max_age_h
    for name in ("name", "slot", "inc", "death_fd", "receive_stall_s", "send_stall_s"):
        understood.pop(name)
    assert understood == {name: getattr(SETTINGS, name) for name in understood}
    assert {"otlp_endpoint", "stall_s", "key_file", "load_deadline_s"} <= set(understood)
