"""Identities from a SPIFFE Workload API, as SPIRE's agent and others offer it."""
