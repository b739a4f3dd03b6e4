"""Why an order is not carried out."""


class Refused(Exception):
    """The order cannot be carried out; the text says why and what can."""
