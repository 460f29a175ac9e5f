"""Every setting of the service: its name, default and help, for flags and environment variables."""

import ipaddress
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Self, get_args

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    CliApp,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from service.artifact.layout import VERSION_PATTERN
from service.engines import EngineChoice
from service.logs import Format as LogFormat
from service.platforms import PlatformSettings, without_serve
from service.problems import did_you_mean, in_plain_words

#: A path without parameters.
ROUTE: Final = r"^/[^{}?#]*$"

#: A path prefix: segments of characters that HTML, headers and URLs take as they are. `.` and `..` are no segments.
PATH_PREFIX: Final = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~%@:+-]+)+")
#: An origin as browsers send it.
ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/,*?#@]+")

#: A name of hosts: one, or all below a domain.
HOST: Final = re.compile(r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
#: Groups of routes that may be open to clients without a key.
OpenGroup = Literal["probes", "page", "metrics", "read", "predict"]

#: Settings whose variables must not be empty. Other empty variables are ignored.
PROTECTING: Final = ("keys", "tls_cert", "tls_client_ca")


class Settings(BaseSettings):
    """Serve the models in an artifacts folder over HTTP: predictions, and the attention behind each.

    Every flag is also an environment variable: --max-batch is SERVICE_MAX_BATCH. Flags win. The word serve before the
    flags, as SageMaker gives it, stands for --host 0.0.0.0 --port 8080 --artifacts /opt/ml/model, below both.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        env_prefix="SERVICE_",
        env_ignore_empty=True,
        cli_prog_name="python -m service",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
    )

    artifacts: Path = Field(Path("artifacts"), description="folder that holds <model>/<version>/ directories")
    model: str | None = Field(
        None, description="model that answers where a request names none; not needed where there is only one"
    )
    pin: dict[str, int] = Field(
        {},
        description="MODEL=VERSION: version of a model that answers instead of the newest, once for each model; "
        "without it, the one that the file <model>/pin names",
    )
    keep_versions: int = Field(
        2,
        ge=1,
        description="versions of a model that can be asked at a time: the one that answers, and the newest others",
    )
    poll_interval: float = Field(
        0.5, gt=0, allow_inf_nan=False, description="time from one look for new versions to the next, in seconds"
    )
    load_timeout: float = Field(
        60,
        ge=0,
        allow_inf_nan=False,
        description="longest time of the trial of a version, in seconds: if its work does not follow from its graph, "
        "it is first loaded in a process of its own, with limited memory; also the longest time of loading on the "
        "TensorFlow engine, without a trial; 0 for neither",
    )
    model_control: bool = Field(default=False, description="let clients load and unload models, by /v2/repository")
    host: str = Field(
        "127.0.0.1", description="address or name to listen on; 0.0.0.0 for all of IPv4, :: for all of IPv4 and IPv6"
    )
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 for any free one")
    uds: Path | None = Field(None, description="path of a Unix domain socket to listen on, instead of host and port")
    fd: int | None = Field(
        None,
        ge=0,
        description="descriptor of an open socket to listen on, instead of host and port; sockets that systemd hands "
        "over (LISTEN_FDS) are used without it",
    )
    keep_alive: int = Field(
        75, ge=1, description="longest time that a connection waits for the next request, in seconds"
    )
    head_timeout: float = Field(
        10,
        gt=0,
        allow_inf_nan=False,
        description="longest time that the head of a request may take to arrive, in seconds",
    )
    write_timeout: float = Field(
        30,
        gt=0,
        allow_inf_nan=False,
        description="longest time in which a client takes nothing of its answer, in seconds; then its connection is "
        "closed",
    )
    drain_delay: float = Field(
        0,
        ge=0,
        le=86_400,
        description="time from SIGTERM until no further connections are accepted, in seconds; /health/ready answers "
        "503 meanwhile, and requests are answered",
    )
    drain_timeout: float | None = Field(
        None,
        gt=0,
        le=86_400,
        description="longest time after that delay for the accepted requests, in seconds; as --timeout without it",
    )
    root_path: str = Field(
        "",
        description="path prefix below which a proxy serves the service, such as /models-of-ours; the proxy may strip "
        "it",
    )
    trusted_proxies: str = Field(
        "127.0.0.1,::1",
        description="proxies whose X-Forwarded-Prefix is used, and with --access-log X-Forwarded-For and "
        "X-Forwarded-Proto: addresses and networks, separated by commas; 127.0.0.1 includes Unix sockets; * for all",
    )
    cors_origins: str = Field(
        "",
        description="origins of other web pages that may use the service, such as https://example.org, separated by "
        "commas; * for all; none by default",
    )
    keys: Path | None = Field(
        None,
        description="file with the keys of clients, which attention-service key makes; every route needs a key then, "
        "except those of --open-routes",
    )
    open_routes: str = Field(
        "probes,page",
        description=f"groups of routes that need no key, separated by commas, of {', '.join(get_args(OpenGroup))}; the "
        "groups are in docs/operations.md",
    )
    allowed_hosts: str = Field(
        "",
        description="names that clients may use for this service, such as models.example.org or *.example.org, "
        "separated by commas; addresses and localhost are always allowed; by default all names, but none for loading "
        "and unloading models without keys",
    )
    tls_cert: Path | None = Field(
        None, description="file with the certificate and its chain, in PEM; the service speaks HTTPS then"
    )
    tls_key: Path | None = Field(None, description="file with the certificate's key, if --tls-cert has it not")
    tls_key_password: SecretStr | None = Field(
        None, description="password of that key; SERVICE_TLS_KEY_PASSWORD hides it from the list of processes"
    )
    tls_client_ca: Path | None = Field(
        None, description="file with the authorities of the clients' certificates, in PEM; clients need one then"
    )
    engine: EngineChoice = Field(
        "auto",
        description="engine that executes the model: onnx (ONNX Runtime), tensorflow (the SavedModel itself), "
        "or auto: onnx where the version has a model.onnx, else tensorflow",
    )
    threads: int = Field(
        1,
        ge=0,
        description="threads that one call of an engine may use, in each worker: at most the CPUs that the container's "
        "limit leaves each worker, and all of those where it is 0",
    )
    workers: int = Field(1, ge=1, description="server processes; several need a writable temporary folder")
    max_batch: int = Field(512, ge=1, description="most sequences in one call of an engine")
    max_sequences: int = Field(8192, ge=1, description="most sequences in one request; more are answered 413")
    max_queue: int = Field(
        16384,
        ge=1,
        description="most sequences waiting or running, for each model in each worker; more are answered 429",
    )
    max_requests: int = Field(
        1024,
        ge=1,
        description="most requests for predictions at once, in each worker, from their first byte to the last of their "
        "answers; more are answered 429",
    )
    max_body: int = Field(32 * 2**20, ge=1, description="largest request body, in bytes; larger ones are answered 413")
    timeout: float = Field(
        30,
        gt=0,
        allow_inf_nan=False,
        description="longest time that sequences wait for their outputs, in seconds; later ones are answered 504",
    )
    vertex_predict_route: str | None = Field(
        None,
        pattern=ROUTE,
        description="path that answers predictions in the form of Vertex AI; AIP_PREDICT_ROUTE names it, too",
    )
    vertex_health_route: str | None = Field(
        None,
        pattern=ROUTE,
        description="path that answers 200 while the default model is loaded; AIP_HEALTH_ROUTE names it, too",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severe level to log")
    log_format: LogFormat = Field("text", description="format of the log: text, for people, or json, one object a line")
    access_log: bool = Field(
        default=False, description="log a line for every request, to the standard output; at level info or debug"
    )

    @field_validator("pin", mode="before")
    @classmethod
    def _are_versions(cls, value: object) -> object:
        for model, number in value.items() if isinstance(value, dict) else ():
            if not VERSION_PATTERN.fullmatch(str(number)):  # int() reads 1_0 as 10
                raise ValueError(f"expected MODEL=VERSION, such as {model}=3, got {model}={number}")
        return value

    @field_validator("root_path")
    @classmethod
    def _is_a_prefix(cls, value: str) -> str:
        prefix = value.rstrip("/")
        if prefix and not PATH_PREFIX.fullmatch(prefix):
            raise ValueError(f"expected a path such as /models-of-ours, got {value!r}")
        if prefix.split("/")[1:2] in (["v1"], ["v2"]):
            raise ValueError(f"expected a path that does not begin as those of the protocols, got {value!r}")
        return prefix

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        for proxy in listed(value):
            if proxy != "*":
                try:
                    ipaddress.ip_network(proxy)
                except ValueError:
                    raise ValueError(f"expected addresses and networks, or *; got {proxy!r}") from None
        return value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        for origin in listed(value):
            if origin != "*" and not ORIGIN.fullmatch(origin):
                raise ValueError(f"expected origins such as https://example.org, or *; got {origin!r}")
        return value

    @field_validator("open_routes")
    @classmethod
    def _are_groups(cls, value: str) -> str:
        for group in listed(value):
            if group not in (groups := get_args(OpenGroup)):
                raise ValueError(f"expected some of {', '.join(groups)}, got {group!r}")
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, value: str) -> str:
        for host in listed(value):
            if host != "*" and not HOST.fullmatch(host):
                raise ValueError(f"expected names such as example.org or *.example.org, or *; got {host!r}")
        return value

    @model_validator(mode="after")
    def _tls_has_a_certificate(self) -> Self:
        if self.tls_cert is None and (self.tls_key or self.tls_key_password or self.tls_client_ca):
            raise ValueError("tls_cert: expected a certificate, as other settings of TLS are given, got none")
        return self

    @model_validator(mode="after")
    def _one_request_fits_the_queue(self) -> Self:
        if self.max_sequences > self.max_queue:
            raise ValueError(f"max_sequences: expected at most max_queue ({self.max_queue}), got {self.max_sequences}")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # An image sets its own defaults by SERVICE_DEFAULT_…, so that a platform's variables win over them.
        defaults = EnvSettingsSource(settings_cls, env_prefix="SERVICE_DEFAULT_")
        own = (init_settings, env_settings, dotenv_settings, file_secret_settings)
        return (*own, PlatformSettings(settings_cls), defaults)

    @classmethod
    def from_command_line(cls, arguments: Sequence[str]) -> Self:
        """Read flags, then the environment, then the variables of a platform, then the defaults.

        Raises:
            SystemExit: a setting is wrong. The message names it and the expected value.
        """
        if (problem := _unset_protection()) is not None:
            raise SystemExit(f"error: {problem}")
        try:
            return CliApp.run(cls, cli_args=list(without_serve(arguments)))
        except ValidationError as error:
            problems = "; ".join(in_plain_words(problem, "settings") for problem in error.errors())
        except SettingsError:  # of the only setting that is no single value
            problems = 'pin: expected MODEL=VERSION, or {"MODEL": VERSION} in SERVICE_PIN'
        raise SystemExit(f"error: {problems} (see python -m service --help)")

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any]) -> Self:
        """Read values by the names of the settings, then the environment and the rest, as for a command line.

        Raises:
            ValueError: a setting is wrong. The message names it and the expected value.
        """
        if (problem := _unset_protection()) is not None:
            raise ValueError(problem)
        for name in arguments:
            if name not in cls.model_fields:
                raise ValueError(f"{name}: expected a setting, got another name{did_you_mean(name, cls.model_fields)}")
        try:
            return cls(**arguments)
        except ValidationError as error:
            problems = "; ".join(in_plain_words(problem, "settings") for problem in error.errors())
        except SettingsError:  # of the only setting that is no single value
            problems = 'pin: expected {"MODEL": VERSION} in SERVICE_PIN'
        raise ValueError(problems)


def _unset_protection() -> str | None:
    """Return what is wrong if a variable that must not be empty is so, as by a template with an unset variable."""
    for name in PROTECTING:
        if os.environ.get(variable := f"SERVICE_{name.upper()}") == "":
            return f"{variable}: expected a file, got nothing: unset the variable to do without"
    return None


def listed(setting: str) -> tuple[str, ...]:
    """Return the entries of a setting that are separated by commas."""
    return tuple(entry for entry in map(str.strip, setting.split(",")) if entry)
