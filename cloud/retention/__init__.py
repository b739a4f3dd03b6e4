"""What the cloud no longer keeps, over its API: `GET /api/v1/retention` and `POST /api/v1/retention:run`."""
