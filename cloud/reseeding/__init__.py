"""Sites that lack what the cloud has cut: their stream begins anew, and tells them what holds."""
