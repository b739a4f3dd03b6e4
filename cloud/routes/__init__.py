"""Where the API is put together."""
