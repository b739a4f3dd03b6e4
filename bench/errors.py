"""Why a measurement could not be made."""


class BenchFailed(RuntimeError):
    """No figure; the message says why."""


class NoRealDisk(BenchFailed):
    """No directory on a disk was found or named."""


class ApiError(BenchFailed):
    """An answer of the API that is no success."""


class RunsWrong(BenchFailed):
    """Runs did not end as they should have, or not in time."""
