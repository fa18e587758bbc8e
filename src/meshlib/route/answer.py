"""Replies that no server makes: direct responses, redirects, fallbacks, injected faults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from multidict import CIMultiDict

from meshlib.config.routes import AnswerConfig, RedirectConfig
from meshlib.errors import NoRoute
from meshlib.model import Call, Reply


def made(call: Call, status: int, headers: Mapping[str, str], body: str = "") -> Reply:
    """A reply with all its content; the answer to a HEAD says how long it would have been."""
    content = body.encode()
    said = CIMultiDict(headers)
    if content:
        said.setdefault("content-type", "text/plain; charset=utf-8")
    if status not in {204, 304}:
        said["content-length"] = str(len(content))
    raw = [(name.encode(), value.encode()) for name, value in said.items()]
    return Reply(status, said, raw, b"" if call.method == "HEAD" or status == 304 else content)


@dataclass(frozen=True, slots=True)
class Direct:
    """Answers by itself."""

    config: AnswerConfig

    def __call__(self, call: Call) -> Reply:
        """The reply to `call`."""
        return made(call, self.config.status, self.config.headers, self.config.body)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Answers with an error: it is not known where the calls go."""

    what: str
    why: str
    hint: str = ""

    def __call__(self, call: Call) -> NoReturn:
        """Raise NoRoute."""
        raise NoRoute(self.what, why=self.why, hint=self.hint)


@dataclass(frozen=True, slots=True)
class Redirect:
    """Answers with where to go."""

    config: RedirectConfig
    matched: int = 0
    """How many characters of the path the route matched."""

    def __call__(self, call: Call) -> Reply:
        """The reply to `call`; its Location is absolute, as old clients want it."""
        return made(call, self.config.status, {"location": self.location(call)})

    def location(self, call: Call) -> str:
        """Where `call` is sent."""
        config = self.config
        port = f":{config.port}" if config.port else ""
        query = f"?{call.query}" if call.query and not config.strip_query else ""
        scheme, host = config.scheme or "http", config.host or call.service
        return f"{scheme}://{host}{port}{self._path(call.path)}{query}"

    def _path(self, path: str) -> str:
        if self.config.path:
            return self.config.path
        return self.config.prefix + path[self.matched :] if self.config.prefix else path
