"""The rim: Ray starts agent hosts and starts them again when they die. It holds no truth and carries no work."""

import ray

from agents.host import AgentHost

AgentHostActor = ray.remote(max_restarts=-1, num_cpus=0)(AgentHost)
"""`AgentHostActor.remote(config)`. After a kill -9 the constructor runs again and the journals tell what was done.
Methods: `ping`, `pid`, `stop`; ask a host to stop before it is killed for good, and kill it with
`no_restart=True`."""
