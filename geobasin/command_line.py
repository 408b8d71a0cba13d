"""A parser of options whose complaint is one line, like every other error of ours."""

import argparse
from typing import NoReturn


class OneLineParser(argparse.ArgumentParser):
    """argparse's parser, without the usage before the error; ``--help`` shows it."""

    def error(self, message: str) -> NoReturn:
        """Leave with status 2 after one line on stderr.

        Args:
            message: what is wrong with the options.
        """
        words = " ".join(message.split())
        name = self.prog.removeprefix("python -m ")
        self.exit(2, f"{name}: {words}; {self.prog} --help lists the options\n")
