"""What people ask of runs and sites: `core` records and places it, `service` answers for the API, `api` is its door.

An order is an intent. It is recorded in the cloud's stream, carried in the stream of every home that it concerns, decided there,
and answered by an event of the home. Only of a run that has no home yet does the cloud decide itself.
"""
