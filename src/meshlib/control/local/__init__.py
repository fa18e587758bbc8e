"""
The embedded control plane: one machine, a state folder, no daemon.

    process    who a process is, and whether it still is
    atfork     locks and files that must not be caught in the middle by a fork
    worker     the daemon thread that repeats one step
    database   the SQLite file: creating, opening, transactions
    view       what the file says at one moment, and what follows from it (pure)
    rows       the tables, and how a row is an instance or a document
    store      the transactions
    watcher    the file -> watches
    registrar  leases -> the file
    folder     files that only their owner can read, never seen half written
    certs      the certificates' profiles
    authorities  what the CA's state says, and what may follow from it (pure)
    vault      the CA's folder: reading and committing its state
    rotation   replacing the CA's root
    ca         signing
    survey     the CA's state, for people
    identity   certificates for this process, renewed
    alarm      what is said when they are not
    plane      all of it behind the protocols of `meshlib.control.registry`
"""
