"""What the cloud knows of waits at its sites beyond the runs themselves: resources that a lost agent may still act on."""
