"""What a socket's error says about the agent, in words that help."""

from __future__ import annotations

import http.client
import ssl
from pathlib import Path

from meshlib.control.consul.address import ConsulAddress
from meshlib.control.consul.faults import AgentUnreachable, Asked, TlsFailed


def unreachable(
    asked: Asked, address: ConsulAddress, error: OSError | http.client.HTTPException
) -> AgentUnreachable:
    """The fault that an error of the connection is."""
    what = f"no answer from the Consul agent at {asked.agent}"
    if isinstance(error, ssl.SSLError):
        why, hint = _tls(address, error)
        return TlsFailed(f"no TLS with the Consul agent at {asked.agent}", why=why, hint=hint)
    if isinstance(error, TimeoutError):
        hint = "the agent hangs, or waits for servers that do"
        return AgentUnreachable(what, why=f"{asked} took too long", hint=hint, timed_out=True)
    why, hint = _words(address, error)
    return AgentUnreachable(what, why=why, hint=hint)


def _words(address: ConsulAddress, error: OSError | http.client.HTTPException) -> tuple[str, str]:
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there", "is the agent running?"
    if isinstance(error, FileNotFoundError) and address.scheme == "unix":
        hint = 'set addresses { http = "unix://..." } on the agent'
        return f"there is no socket {address.path}", hint
    if isinstance(error, PermissionError) and address.scheme == "unix":
        mode = f"mode {Path(address.path).stat().st_mode & 0o777:o}" if _exists(address) else ""
        hint = "see unix_sockets { user, group, mode } in the agent's settings"
        return f"not allowed to open {address.path} {mode}".strip(), hint
    if isinstance(error, (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)):
        hint = (
            "the agent went away, or this address has more connections than "
            "limits.http_max_conns_per_client (200), or it wants HTTPS with a client certificate"
        )
        return "it closed the connection without an answer", hint
    if isinstance(error, http.client.BadStatusLine):
        return "what answers does not speak HTTP", "is this the agent's HTTP port?"
    return str(error) or type(error).__name__, ""


def _exists(address: ConsulAddress) -> bool:
    try:
        return Path(address.path).exists()
    except OSError:
        return False


def _tls(address: ConsulAddress, error: ssl.SSLError) -> tuple[str, str]:
    words = f"{getattr(error, 'reason', '') or ''} {error}".strip()
    why = getattr(error, "verify_message", "") or words
    for sign, hint in _TLS_HINTS:
        if sign in words.upper().replace(" ", "_"):
            return why, hint
    if not address.cert_file:
        return why, _CLIENT_CERT
    return why, ""


_CLIENT_CERT = (
    "the agent may want a client certificate (verify_incoming): give cert_file and key_file, "
    "or CONSUL_CLIENT_CERT and CONSUL_CLIENT_KEY"
)

_TLS_HINTS = (
    ("HOSTNAME_MISMATCH", "its certificate has another name: give server_name"),
    ("IP_ADDRESS_MISMATCH", "its certificate has another name: give server_name"),
    ("CERTIFICATE_VERIFY_FAILED", "give the CA that issued it as ca_file, or CONSUL_CACERT"),
    ("WRONG_VERSION_NUMBER", "it does not speak TLS there: write consul:// or another port"),
    ("RECORD_LAYER_FAILURE", "it does not speak TLS there: write consul:// or another port"),
    ("HTTP_REQUEST", "it does not speak TLS there: write consul:// or another port"),
    ("BAD_CERTIFICATE", _CLIENT_CERT),
    ("CERTIFICATE_REQUIRED", _CLIENT_CERT),
    ("UNKNOWN_CA", "the agent does not trust the client certificate"),
)
"""What OpenSSL calls it, and what to do."""
