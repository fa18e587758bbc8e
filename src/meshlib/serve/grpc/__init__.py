"""
gRPC servers, in threads and in event loops.

grpcio shakes hands in C and has no room for a check of ours, so the check is done per RPC, before
anything of the application runs (`peers`); from there on an RPC passes what a request passes
(`rpcs`).  `threads` and `loops` put that around handlers, `server` and `aio_server` around servers.
"""
