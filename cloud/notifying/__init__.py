"""Notifications: who is told of what happens, by which address, and what became of it.

The core (a Part of the planner) hears of requests, escalations, incidents and rules that fire, looks up in the contact book whom
they are for, and records one notification per address in the cloud's own stream. The courier delivers by HTTP POST, tries again,
and tells the core how it went. Delivery is at least once, always under the same id.
"""
