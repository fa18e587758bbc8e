"""Unary RPCs over HTTP/2, spoken here: no thread and no socket between the caller and TLS.

See docs/decisions/0010-unary-rpcs-are-spoken-here.md.
"""
