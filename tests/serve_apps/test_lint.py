import copy
import warnings
from pathlib import Path

import pytest
import yaml

from pmx_ray.errors import SettingsError

with warnings.catch_warnings():
    # Ray Serve's own schema uses what pydantic deprecates.
    warnings.simplefilter("ignore")
    from serve_apps.lint import read_serve_config, service_settings

SHIPPED = Path(__file__).parents[2] / "configs" / "serve.yaml"


def altered(changes):
    """Return the shipped config with values at dotted paths; ``...`` removes one."""
    document = yaml.safe_load(SHIPPED.read_text())
    for path, value in changes.items():
        node = document
        *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
        for part in parents:
            node = node[part]
        if value is ...:
            del node[last]
        else:
            node[last] = copy.deepcopy(value)
    return document


def linted(tmp_path, document, **more):
    path = tmp_path / "serve.yaml"
    path.write_text(yaml.safe_dump(document))
    return read_serve_config(path, **more)


def test_shipped_config_when_read_then_nothing_is_in_doubt():
    document = read_serve_config(SHIPPED)
    assert service_settings(document, where="x").clock == "replay"
    assert document["http_options"]["host"] == "127.0.0.1"


APP = "applications.0"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"http_option": {}}, "unknown key 'http_option'; did you mean 'http_options'?"),
        (
            {"http_options.request_timeouts": 3},
            "http_options: unknown key 'request_timeouts'; did you mean 'request_timeout_s'?",
        ),
        ({f"{APP}.import_pth": "x"}, "applications.0: unknown key 'import_pth'; did you mean"),
        (
            {f"{APP}.deployments.0.max_queue_requests": 3},
            "applications.0: deployments.0: unknown key 'max_queue_requests'; did you mean "
            "'max_queued_requests'?",
        ),
        (
            {f"{APP}.deployments.2.ray_actor_options.num_cpu": 1},
            "deployments.2: ray_actor_options: unknown key 'num_cpu'; did you mean 'num_cpus'?",
        ),
        (
            {f"{APP}.deployments.0.autoscaling_config": {"min_replica": 2}},
            "deployments.0: autoscaling_config: unknown key 'min_replica'; did you mean",
        ),
        ({"logging_config": {"log_levl": "INFO"}}, "logging_config: unknown key 'log_levl'"),
        ({f"{APP}.args.puls_every_s": 1}, "args: unknown key 'puls_every_s'; did you mean"),
        ({f"{APP}.args.admission": {"brst": 1}}, "unknown key 'admission.brst'; did you mean"),
        ({f"{APP}.args.prices": ...}, "args: prices: Field required"),
        ({f"{APP}.args.clock": "later"}, "args: clock: .*'live' or 'replay'"),
        ({f"{APP}.args.pulse_every_s": 0}, "args: pulse_every_s: .*greater than 0"),
        ({f"{APP}.args.safe_after_s": float("nan")}, "args: safe_after_s: .*finite"),
        ({"http_options.port": "many"}, "http_options.port: .*integer"),
        ({f"{APP}.deployments.0.max_queued_requests": "x"}, "max_queued_requests: .*integer"),
        ({"http_options": ...}, "host is not named"),
        ({"http_options": None}, "http_options"),
        ({"http_options.host": ...}, "host is not named"),
        ({"http_options.host": None}, "http_options.host: Input should be a valid string"),
        ({"http_options.host": "0.0.0.0"}, "host is 0.0.0.0, beyond this machine"),
        ({"http_options.host": "::"}, "host is ::, beyond this machine"),
        ({"http_options.host": "10.0.0.7"}, "host is 10.0.0.7, beyond"),
        ({"http_options.host": "signals.example"}, "host is signals.example, beyond"),
        ({"http_options.host": "localhost.example"}, "host is localhost.example, beyond"),
        ({"http_options.host": ""}, "host is , beyond"),
        ({"http_options.request_timeout_s": ...}, "a request could wait for ever"),
        ({"http_options.request_timeout_s": None}, "a request could wait for ever"),
        ({f"{APP}.deployments.0.max_queued_requests": -1}, "max_queued_requests is unbounded"),
        ({f"{APP}.deployments.0.num_replicas": 1}, "Signals may have 1 replicas"),
        ({f"{APP}.deployments.0.num_replicas": "auto"}, "Signals may have 1 replicas"),
        (
            {
                f"{APP}.deployments.0.num_replicas": "auto",
                f"{APP}.deployments.0.autoscaling_config": {"min_replicas": 1, "max_replicas": 3},
            },
            "Signals may have 1 replicas",
        ),
        ({f"{APP}.deployments.0.name": "Signal"}, "deployment 'Signal' is unknown; did you mean"),
        ({"applications": ...}, "applications"),
        ({"applications": None}, "applications"),
        ({"applications": [3]}, "applications"),
    ],
)
def test_config_when_something_is_in_doubt_then_says_what(tmp_path, changes, said):
    with pytest.raises(SettingsError, match=said):
        linted(tmp_path, altered(changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"http_options.host": "localhost"},
        {"http_options.host": "::1"},
        {"http_options.host": "127.8.8.8"},
        {f"{APP}.deployments": ...},
        {f"{APP}.deployments.0.max_queued_requests": 1},
        {f"{APP}.deployments.0.num_replicas": None},
        {
            f"{APP}.deployments.0.num_replicas": "auto",
            f"{APP}.deployments.0.autoscaling_config": {"min_replicas": 2, "max_replicas": 3},
        },
        {f"{APP}.deployments.0.num_replicas": 5},
        {f"{APP}.args.admission": {"burst": 10}},
        {"applications.0.runtime_env": {"env_vars": {"PMX_HOME": "/srv"}}},
    ],
)
def test_config_when_in_order_then_read_as_written(tmp_path, changes):
    document = altered(changes)
    assert linted(tmp_path, document) == document


def test_config_when_public_is_allowed_then_any_named_host(tmp_path):
    document = altered({"http_options.host": "0.0.0.0"})
    assert linted(tmp_path, document, public=True) == document
    with pytest.raises(SettingsError, match="host is not named"):
        linted(tmp_path, altered({"http_options.host": ...}), public=True)


def test_config_when_a_key_is_given_twice_then_refused(tmp_path):
    path = tmp_path / "serve.yaml"
    path.write_text(SHIPPED.read_text() + "\nproxy_location: EveryNode\n")
    with pytest.raises(SettingsError, match="'proxy_location' is given twice"):
        read_serve_config(path)


@pytest.mark.parametrize(
    ("changes", "n"),
    [
        ({f"{APP}.import_path": "serve_apps.app:buld"}, 0),
        ({"applications": [altered({})["applications"][0]] * 2}, 2),
    ],
)
def test_service_settings_when_not_exactly_one_service_then_refused(changes, n):
    with pytest.raises(SettingsError, match=f"holds {n} applications of serve_apps.app:build"):
        service_settings(altered(changes), where="x")
