"""Who is at the other end of a connection: identities in certificates, the private CA that signs them, TLS between nodes."""
