"""Who may have a session at the gateway: by the certificate of the connection, or by a token that is shown over TLS."""
