"""The one error that GeoBasin raises on purpose."""


class GeoBasinError(ValueError):
    """A problem its reader can fix, told in one line: what is wrong, where, and what to do.

    The command line prints the message on stderr and exits with status 2.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
