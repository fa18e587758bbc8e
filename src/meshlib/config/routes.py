"""What a route does besides leading somewhere: mirrors, faults, fallbacks, answers of its own."""

from __future__ import annotations

import re

import msgspec

from meshlib.config.base import Config
from meshlib.errors import ConfigError

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
"""RFC 9110 section 9.2.1, without TRACE, which repeats to its sender what was sent."""

REDIRECTS = (301, 302, 303, 307, 308)
"""Envoy's `RedirectResponseCode`: those that clients follow."""

FAILURES = ("deadline", "denied", "failed", "no-endpoint", "no-route", "rejected")
"""What a fallback may stand in for; the words for the errors of `meshlib.errors`."""

_METHOD = re.compile(r"[A-Z]+(?:-[A-Z]+)*")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")

_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_PATH = re.compile(r"/[!-\"$->@-~]*")
"""Visible ASCII without # and ?."""


class MirrorConfig(Config, frozen=True):
    """A copy of a call, sent beside it to where nobody waits for the answer."""

    service: str
    service_subset: str = ""
    percent: float = 100.0
    """Of the calls; the step that counts is 0.01, as in Gateway API's RequestMirror fraction."""
    methods: tuple[str, ...] = SAFE_METHODS
    """Read-only unless somebody says otherwise: a mirrored POST would be carried out twice."""

    def __post_init__(self) -> None:
        self._check("service", expected="the name of a service", ok=bool(self.service))
        _check_percent(self, "percent")
        check_methods(self.methods, path="methods")


class FaultConfig(Config, frozen=True):
    """Trouble made on purpose, as Envoy's fault filter makes it."""

    delay: float = 0.0
    """Seconds to wait before the call; 0: none."""
    delay_percent: float = 100.0
    abort: int = 0
    """HTTP status to answer with instead of calling; 0: none."""
    abort_percent: float = 100.0
    from_headers: bool = False
    """Whether a call may bring its own trouble, in `x-mesh-fault-delay` (milliseconds) and
    `x-mesh-fault-abort` (a status); the percentages hold for these too.  Off unless said, as
    Envoy's `header_delay` and `header_abort` are."""
    max_active: int = 1000
    """Calls that suffer at one time; more are left alone.  Envoy's `max_active_faults` has no
    bound; a thread or task that waits costs memory here."""

    def __post_init__(self) -> None:
        self._at_least(0, "delay")
        _check_percent(self, "delay_percent")
        _check_percent(self, "abort_percent")
        fine = self.abort == 0 or 200 <= self.abort <= 599  # Envoy: [200, 600)
        self._check("abort", expected="a status 200..599", ok=fine)
        self._check("max_active", expected="an integer >= 1", ok=self.max_active >= 1)
        if not (self.delay or self.abort or self.from_headers):
            raise ConfigError("delay", self.delay, "a delay, an abort or from_headers")


class AnswerConfig(Config, frozen=True):
    """A reply that no server makes: Envoy's direct response."""

    status: int = 200
    body: str = ""
    headers: dict[str, str] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check("status", expected="a status 200..599", ok=200 <= self.status <= 599)
        for name, value in self.headers.items():
            check_header(name, value, path=f"headers.{name}")


class FallbackConfig(AnswerConfig, frozen=True):
    """What a caller gets instead of an error."""

    on: tuple[str, ...] = ("deadline", "failed", "no-endpoint", "rejected")
    """Of `FAILURES`.  Not `denied` and `no-route`: who may not call, or calls what there is not,
    should hear of it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for number, word in enumerate(self.on):
            if word not in FAILURES:
                raise ConfigError(f"on[{number}]", word, f"one of {', '.join(FAILURES)}")


class RedirectConfig(Config, frozen=True):
    """Sends the caller elsewhere.  What is left out stays as in the request."""

    status: int = 302
    """Gateway API's default; Envoy's is 301, which browsers keep for ever."""
    scheme: str = ""
    host: str = ""
    port: int = 0
    path: str = ""
    """The whole new path ..."""
    prefix: str = ""
    """... or what the matched prefix becomes."""
    strip_query: bool = False

    def __post_init__(self) -> None:
        choices = f"one of {', '.join(map(str, REDIRECTS))}"
        self._check("status", expected=choices, ok=self.status in REDIRECTS)
        known = self.scheme in {"", "http", "https"}
        self._check("scheme", expected="http or https", ok=known)
        self._check("port", expected="a port 0..65535", ok=0 <= self.port <= 65535)
        alone = not (self.path and self.prefix)
        self._check("prefix", expected="nothing beside a path: either of the two", ok=alone)
        for field in ("path", "prefix"):
            if getattr(self, field):
                check_path(getattr(self, field), path=field)
        if self.host:
            check_host(self.host, path="host")
        elsewhere = self.scheme or self.host or self.port or self.path or self.prefix
        self._check("host", expected="somewhere else to go", ok=bool(elsewhere))


def check_methods(methods: tuple[str, ...], *, path: str) -> None:
    """Raise ConfigError unless each is a method as it is sent, named once."""
    for number, method in enumerate(methods):
        if not _METHOD.fullmatch(method):
            raise ConfigError(f"{path}[{number}]", method, "a method in capital letters")
        if method in methods[:number]:
            raise ConfigError(f"{path}[{number}]", method, "every method once")


def check_header(name: str, value: str, *, path: str) -> None:
    """Raise ConfigError for what could not be sent as a header."""
    check_name(name, path=path)
    if not (_VALUE.fullmatch(value) and value.isascii()):
        raise ConfigError(path, value, "a value in ASCII, without line ends")


def check_name(name: str, *, path: str) -> None:
    """Raise ConfigError for what is not a header's name (RFC 9110 section 5.6.2)."""
    if not _HEADER.fullmatch(name):
        raise ConfigError(path, name, "a name of letters, digits and -._~ only")


def check_host(host: str, *, path: str) -> None:
    """Raise ConfigError for what could not stand in a Host header."""
    if not _HOST.fullmatch(host):
        raise ConfigError(path, host, "a host name, perhaps with a port")


def check_path(text: str, *, path: str) -> None:
    """Raise ConfigError for what could not be the beginning of a path on the wire."""
    if not _PATH.fullmatch(text):
        raise ConfigError(path, text, "a path that begins with /, percent-encoded")


def _check_percent(config: Config, field: str) -> None:
    value = getattr(config, field)
    if not 0 <= value <= 100:  # also false for NaN
        raise ConfigError(field, value, "a percentage 0..100")
