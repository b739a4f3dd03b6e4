"""Groups of agents with a leader: who leads, under which epoch, and the plans by which it gives work to followers."""
