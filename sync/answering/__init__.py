"""The side of links that is dialled."""
