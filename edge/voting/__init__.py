"""Agents vote: what is asked of them, the ballots that are open, and the tasks whose question they decide."""
