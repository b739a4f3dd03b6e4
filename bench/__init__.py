"""How fast it is: one command per measurement, one line of JSON each, with what the machine itself can do beside it.

    python -m bench steps --runs 2000 --tasks 10

The one loop to know: start the system as a user would, submit through the API, stop the clock when the cloud's view
shows the last run completed, stop the system. All features are on, as shipped. A figure that falls short is explained
by a profile, not by a guess. These are measurements and not tests: no test waits for a duration that a busy machine
may miss.

Each measurement is a module with one function `measure(options)`, which gives the figures: `steps`, `latency`, `fanout`,
`recovery`, `idle`; or `rows(options)`, if it has many: `auction`. `floors` asks the bare machine. `system` starts what is
measured, `capabilities` is the work that its agents do, `client` speaks to the API.
"""
