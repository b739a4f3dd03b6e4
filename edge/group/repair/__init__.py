"""Every box comes to hold the large values that its log names: one that is new, was away, or whose disk lost some.

    lacking     what is named and not here, and who has told that it holds it
    blobs       Repair: compares the log with the store, asks the others, fetches from them
    service     reads the files themselves, slowly: what the disk has changed is lacking, too

What a majority was told to hold may be held by two boxes of three. One of them is replaced, then the other is lost: without this
the value would be gone, though the log that names it is not.
"""
