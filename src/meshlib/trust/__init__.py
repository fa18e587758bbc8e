"""Who is at the other end: SPIFFE ids, the rules for certificates, and TLS that applies them."""
