"""Runs that move from one site to another, and sites that are drained: a Part of the planner, and its part of the API."""
