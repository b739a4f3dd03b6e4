"""Former versions of documents, with their values: read from the log when somebody asks, and kept nowhere else."""
