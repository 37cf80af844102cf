"""The settings of the ``kafka`` sink, and the configuration of librdkafka made from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator

from esfeed.config.types import Duration, Secret, SinkSection, Size, Text
from esfeed.routing.template import Templated
from esfeed.sinks.common.tls import TlsKeys

Option = Secret | bool | int | float

_OWN = {
    "bootstrap.servers": "hosts",
    "metadata.broker.list": "hosts",
    "compression.codec": "compression",
    "compression.type": "compression",
    "message.max.bytes": "max_bytes",
    "message.timeout.ms": "timeout",
    "delivery.timeout.ms": "timeout",
    "security.protocol": "tls and user",
    "sasl.username": "user",
    "sasl.password": "password",
    "sasl.mechanism": "mechanism",
    "sasl.mechanisms": "mechanism",
    "ssl.ca.location": "ca_certs",
    "ssl.certificate.location": "client_cert",
    "ssl.key.location": "client_key",
    "enable.ssl.certificate.verification": "verify_certs",
}
_EXACT = {
    "acks",
    "request.required.acks",
    "enable.idempotence",
    "enable.gapless.guarantee",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.send.max.retries",
    "retries",
    "queuing.strategy",
    "transactional.id",
    "delivery.report.only.error",
    "dr_cb",
    "dr_msg_cb",
    "on_delivery",
    "error_cb",
    "logger",
    "log_cb",
    "produce.offset.report",
    "partitioner",
    "sticky.partitioning.linger.ms",
}


class KafkaSettings(TlsKeys, SinkSection):
    """Events in a topic of Kafka, one record each; the key of a record is the document."""

    model_config = ConfigDict(hide_input_in_errors=True)

    type: Literal["kafka"] = Field(
        "kafka", description="A topic of Kafka (2.0 and later) or of a server that speaks its protocol."
    )
    hosts: list[Text] = Field(min_length=1, description='Bootstrap brokers, such as ["kafka-1:9092", "kafka-2:9092"].')
    topic: Templated = Field(
        description='The topic, such as "esfeed" or "changes-{project_id}". Characters that are not allowed become _.'
    )
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field(
        "none", description="The compression of batches."
    )
    tombstones: bool = Field(
        False,
        description="Whether a record with the same key and no value follows a delete, so that a compacted topic "
        "forgets the document.",
    )
    max_bytes: Size = Field(
        1_000_000,
        ge=1000,
        le=1_000_000_000,
        description="An event that makes a larger record is rejected. If max.message.bytes of the topic is smaller, "
        "it applies.",
    )
    timeout: Duration = Field(10.0, ge=0.1, description="The timeout of connecting, and of one batch.")
    tls: bool = Field(False, description="Whether to use TLS.")
    user: Text | None = Field(None, description="The user name for SASL, if the brokers require it.")
    password: Secret | None = Field(None, description='Its password; can be "env:NAME".')
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field("PLAIN", description="The SASL mechanism.")
    options: dict[str, Option] = Field(
        default_factory=dict,
        description='More settings of librdkafka, such as "linger.ms" = 20. Values can be '
        '"env:NAME" and are never shown. Settings on which order and safety depend are refused.',
    )

    @field_validator("options")
    @classmethod
    def _no_key_of_ours(cls, options: dict[str, Option]) -> dict[str, Option]:
        for name in options:
            if name in _OWN:
                raise ValueError(f"{name} is set by the key {_OWN[name]}; remove it from options")
            if name.startswith("topic.") or name in _EXACT:
                raise ValueError(f"{name} would break the order or the safety of events; remove it")
        return options

    @model_validator(mode="after")
    def _login_is_whole(self) -> Self:
        if (self.user is None) != (self.password is None):
            raise ValueError("set both user and password, or neither")
        return self


def producer_settings(settings: KafkaSettings) -> dict[str, str | int | float | bool]:
    """The configuration of librdkafka: https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md"""
    milliseconds = max(int(settings.timeout * 1000), 100)
    config: dict[str, str | int | float | bool] = {
        "bootstrap.servers": ",".join(settings.hosts),
        "client.id": "esfeed",
        "enable.idempotence": True,
        "acks": "all",
        "partitioner": "murmur2_random",  # as the clients of Java do, so that both choose the same partition
        "compression.type": settings.compression,
        "linger.ms": 1,  # the end of a batch flushes anyway; this sends while later events are encoded
        "message.max.bytes": settings.max_bytes,
        "message.timeout.ms": milliseconds,
        "request.timeout.ms": milliseconds,
        "socket.timeout.ms": milliseconds,
        "socket.connection.setup.timeout.ms": max(milliseconds, 1000),
        "topic.metadata.propagation.max.ms": min(milliseconds // 3, 5000),
        "reconnect.backoff.max.ms": 1000,
        "retry.backoff.max.ms": 1000,
        "security.protocol": _protocol(settings),
        **_login(settings),
        **(_tls(settings) if settings.tls else {}),
    }
    return config | {name: _plain(value) for name, value in settings.options.items()}


def _protocol(settings: KafkaSettings) -> str:
    if settings.user is None:
        return "ssl" if settings.tls else "plaintext"
    return "sasl_ssl" if settings.tls else "sasl_plaintext"


def _login(settings: KafkaSettings) -> Mapping[str, str]:
    if settings.user is None or settings.password is None:
        return {}
    password = settings.password.get_secret_value()
    return {"sasl.mechanisms": settings.mechanism, "sasl.username": settings.user, "sasl.password": password}


def _tls(settings: KafkaSettings) -> Mapping[str, str | bool]:
    config: dict[str, str | bool] = {"enable.ssl.certificate.verification": settings.verify_certs}
    if not settings.verify_certs:
        config["ssl.endpoint.identification.algorithm"] = "none"
    if settings.ca_certs is not None:
        config["ssl.ca.location"] = settings.ca_certs
    if settings.client_cert is not None:
        config["ssl.certificate.location"] = settings.client_cert
        config["ssl.key.location"] = settings.client_key or settings.client_cert
    return config


def _plain(value: Option) -> str | int | float | bool:
    return value.get_secret_value() if isinstance(value, SecretStr) else value
