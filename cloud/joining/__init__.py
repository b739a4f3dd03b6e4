"""Tokens with which agents join their site: a Part of the planner that tells the sites of them, and its part of the API."""
