"""
Consul as the control plane: the agent's HTTP API, followed on daemon threads.

    address      where the agent is, and as whom to speak to it
    urls         what a URL and the environment say of it (pure)
    rights       which ACL right a request needs (pure)
    faults       what can go wrong, told apart
    unreachable  what a socket's error says about the agent (pure)
    encoding     how a request is written, and an answer read (pure)
    wire         connections to the agent, few and reused
    breaker      does not ask an agent that is not there (pybreaker)
    http         requests and blocking queries
    pace         the rules of blocking queries (pure)
    follow       the thread that keeps one blocking query going
    identity     roots, and the certificates of this process (an `IdentitySource`)
    speaker      the credentials of one service
    leafwatch    waiting for leaves, which agents do not renew for everybody
    leaf         what an agent says about identities (pure)
    registrar    instances of this process, and their heartbeat
    registering  what an instance looks like to Consul (pure)
    guard        most of a service does not vanish at one moment (pure)
    followed     what a source says, and what may stand in for it
    memory       guard and snapshot between discovery and everybody else
    snapshot     the last known good on disk, signed
    plane        all of it as one `ControlPlane`
"""
