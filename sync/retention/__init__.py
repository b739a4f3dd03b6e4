"""What a node no longer keeps: which events may leave its log, where they go before, and which blobs nothing names any more.

    policy.py    how long, where to; which events may go now, and what holds the next one back
    segment.py   the archive file: events with their hashes, verifiable by itself
    driver.py    one pass over a log: read, verify, archive, verify the archive, cut, delete a little at a time
    blobs.py     mark and sweep of the blob store

Nothing is cut unless a policy says so, and nothing that a peer has not acknowledged.
"""
