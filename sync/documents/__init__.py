"""Documents: JSON values with versions that belong to no task. One node, its home, puts their changes in order."""
