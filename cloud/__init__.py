"""The cloud: it knows the fleet, places work on sites, and shows the whole picture.

The GlobalPlanner is one Driver (see `sync`) with the API in the same process. Runs are born here, in the cloud's own
stream. It splits a run into fragments, one per site, and releases each to its edge by an event that raises the
fragment's epoch: from then on the edge decides, and the cloud only watches, until it takes the fragment back under a
higher epoch.

The one loop to know:

    a client submits            -> the run is recorded, then acknowledged
    a site can take its part    -> placed by capability and load, released through the stream kept for that site
    the site's stream comes up  -> verified, stored as it is, folded into the views that API, CLI and dashboards read
    a value is for another site -> it travels as an event through the cloud

A command for a fragment that lives at an edge is an intent: recorded here, decided there, answered by an event. The
cloud never shows `cancelled` before the home has said so. Cloud and edge meet only as messages: neither imports the
other.
"""
