"""The plans of runs as documents: GET and PATCH /api/v1/workflows/{run}/plan."""
