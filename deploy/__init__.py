"""Tiercel in place: the commands that start a whole system on one machine, and the files that install it on many.

`tiercel up` runs a cloud and its sites in one local Ray cluster, in the foreground, over a directory that outlives
it: started again, it resumes every unfinished run. `tiercel demo` is the main job, from orders to report, with a link
that is cut halfway by a proxy on the path. Beside them lie the container images, a compose file and a systemd unit.

The one loop to know:

    start the cluster on the loopback address -> the nodes serve from their constructors
    watch; Ray restarts what dies, and each node rebuilds its state from its log
    on Ctrl-C, stop the nodes in order and leave no process behind

This layer may import every other; none imports it but the benches.
"""
