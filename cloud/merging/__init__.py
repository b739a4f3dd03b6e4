"""Documents of several writers at the cloud: it fixes their terms, takes in what sites write, and tells it to the others."""
