"""
gRPC over the mesh: its channels, over the same stack as everybody's calls.

    face_sync, face_aio      what users hold: a `grpc.Channel`, a `grpc.aio.Channel`
    calls_sync, calls_aio    what a call of theirs returns
    engine_sync, engine_aio  send one attempt over a line
    lines_sync, lines_aio    a line: one plain channel of grpcio's for one verified connection
    pump, relay              carry a line's bytes between grpcio and the TLS connection

grpcio takes no `ssl.SSLContext` and cannot check a SPIFFE id, so it speaks plaintext to a unix
socket of this very process, and the pump speaks TLS to the peer (docs/decisions/0009).
"""
