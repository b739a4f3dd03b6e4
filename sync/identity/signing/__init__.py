"""How a certificate is asked for by who holds the key, and signed by who holds the CA: they are two machines."""
