"""Watching documents: what is durable is told to whoever asked, each change once, and in memory that is bounded."""
