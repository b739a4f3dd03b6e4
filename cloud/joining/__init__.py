"""Tokens with which agents join their site, and sites the cloud: Parts of the planner, their part of the API, and the
service that signs a site its certificate."""
