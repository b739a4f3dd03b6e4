"""Emptying the result caches of sites: asked for here, decided and recorded by each site for itself."""
