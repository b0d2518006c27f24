"""[kafka]: what may not be there is refused, with what to do instead; no message holds a secret."""

from pathlib import Path

import pytest

from desk import config
from desk.errors import DeskError
from desk.kafka.consumer import make_consumer
from desk.kafka.options import admin_options, consumer_options, producer_options
from desk.kafka.producer import make_producer
from desk.settings.kafka import OWN_KEYS, SECRET_KEYS, Kafka


@pytest.mark.parametrize("key", [*SECRET_KEYS, *OWN_KEYS, "error_cb", "oauth_cb"])
def test_a_key_that_is_not_passed_on(key: str) -> None:
    text = f'[kafka]\nservers = "a:1"\n[kafka.librdkafka]\n"{key}" = "hunter2"\n'
    (problem,) = config.list_problems(text, "desk.toml")
    assert key in str(problem) and "hunter2" not in str(problem)
    assert (SECRET_KEYS | OWN_KEYS).get(key, "CONFIGURATION.md") in str(problem)


@pytest.mark.parametrize("servers", ["a b:1", "a:1,", "a:1\n", ","])
def test_servers_that_are_none(servers: str) -> None:
    (problem,) = config.list_problems(f"[kafka]\nservers = {servers!r}\n".replace("'", '"'), "desk.toml")
    assert "servers" in str(problem)


@pytest.mark.parametrize("make", [make_consumer, make_producer])
def test_what_librdkafka_does_not_take_is_an_error_of_the_configuration(make: object) -> None:
    wrong: list[dict[str, str | bool | int | float]] = [
        {"no.such.key": 1}, {"socket.timeout.ms": "long"}, {"socket.timeout.ms": -7}
    ]  # fmt: skip
    for given in wrong:
        with pytest.raises(DeskError, match=r"^kafka\.librdkafka: .*(no\.such\.key|socket\.timeout\.ms)"):
            make(Kafka(servers="127.0.0.1:1", librdkafka=given))  # type: ignore[operator]


def test_what_is_passed_on_counts_more_than_a_default() -> None:
    kafka = Kafka(servers="a:1", librdkafka={"socket.timeout.ms": 77, "fetch.wait.max.ms": 3, "linger.ms": 9})
    assert consumer_options(kafka)["socket.timeout.ms"] == producer_options(kafka)["socket.timeout.ms"] == 77
    assert consumer_options(kafka)["fetch.wait.max.ms"] == 3 and producer_options(kafka)["linger.ms"] == 9
    assert "fetch.wait.max.ms" not in admin_options(kafka) and "linger.ms" not in admin_options(kafka)


def test_no_server() -> None:
    with pytest.raises(DeskError, match=r"kafka\.servers: missing"):
        consumer_options(Kafka())


def test_a_secret_of_a_file_reaches_librdkafka_and_no_message(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("correct-horse\n")
    path.chmod(0o600)
    kafka = Kafka(servers="a:1", password_file=str(path), librdkafka={"security.protocol": "correct-horse"})
    assert consumer_options(kafka)["sasl.password"] == "correct-horse"
    with pytest.raises(DeskError) as raised:
        make_consumer(kafka)
    assert "correct-horse" not in str(raised.value) and "***" in str(raised.value)
    path.chmod(0o644)
    with pytest.raises(DeskError, match=r"kafka\.password_file: .*mode 0644"):
        make_consumer(kafka)


def test_members_of_both_protocols() -> None:
    classic = consumer_options(Kafka(servers="a:1", member="shard-1", session_ms=6_000))
    assert classic["group.instance.id"] == "shard-1" and classic["session.timeout.ms"] == 6_000
    assert classic["partition.assignment.strategy"] == "cooperative-sticky"
    make_consumer(Kafka(servers="127.0.0.1:1", protocol="consumer")).close()
