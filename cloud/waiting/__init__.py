"""What the cloud knows of waits beyond the runs themselves: who holds what over all sites, circles, agents that were lost."""
