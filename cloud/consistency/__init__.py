"""What levels and autonomy mean at the cloud: reads inside a bound, commands of strong runs, and words for people."""
