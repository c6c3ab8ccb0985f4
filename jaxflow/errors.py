"""The one exception that stands for a user's mistake."""


class InputError(ValueError):
    """Say in one line what is wrong, where, what was expected and what to do.

    The command line prints it without a traceback and leaves with exit code 2.
    """
