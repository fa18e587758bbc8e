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
"""
