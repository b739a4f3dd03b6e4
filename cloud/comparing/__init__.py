"""After a greeting, and when a run has a new home: are the replicas here what the homes have?"""
