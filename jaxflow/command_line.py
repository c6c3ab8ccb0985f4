"""What the commands share: flags, help, and one line for a user's mistake."""

import difflib
import sys
from collections.abc import Callable, Sequence

from absl import flags, logging
from ml_collections import config_flags

from jaxflow.config import KEYS, describe_keys
from jaxflow.errors import InputError, RunStopped


def run(
    main: Callable[[flags.FlagValues], int],
    define: Callable[[flags.FlagValues], None],
    doc: str | None,
    argv: Sequence[str] | None = None,
) -> int:
    """Parse the flags and run a command.

    Args:
      main: the command: flags in, exit code out.
      define: defines the command's flags.
      doc: its help text.
      argv: the command line; None: the process's.

    Returns:
      The exit code: 2 for a mistake of the user, told in one line on stderr.
    """
    values = flags.FlagValues()
    define(values)
    argv = list(sys.argv if argv is None else argv)
    if {"--help", "-h", "--helpfull"} & set(argv[1:]):
        print(_help(doc, values))
        return 0
    logging.set_verbosity(logging.ERROR)
    try:
        _parse(values, argv)
        return main(values)
    except InputError as error:
        return _fail(str(error), 2)
    except RunStopped as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)


def define_config(values: flags.FlagValues) -> None:
    """Define `--config=FILE` and, by it, `--config.key=value` for every key."""
    config_flags.DEFINE_config_file("config", None, "configuration file", flag_values=values)


def required(values: flags.FlagValues, *names: str) -> None:
    """Check that flags are given.

    Raises:
      InputError: naming the first that is not.
    """
    for name in names:
        if getattr(values, name) is None:
            raise InputError(f"--{name} is missing; see --help")


def say(message: str) -> None:
    """Print a line for the user, at once."""
    print(message, flush=True)


def warn(message: str) -> None:
    """Print a line that must not be overlooked, on stderr."""
    print(f"jaxflow: WARNING: {message}", file=sys.stderr, flush=True)


def _fail(message: str, code: int) -> int:
    print(f"jaxflow: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return code


def _parse(values: flags.FlagValues, argv: Sequence[str]) -> None:
    for argument in argv[1:]:
        _check_key(values, argument)
    try:
        rest = values(argv)
    except flags.Error as error:
        raise InputError(str(error)) from error
    except FileNotFoundError as error:
        raise InputError(f"--config: no file {error.filename}; configs lie in configs/") from error
    except (AttributeError, KeyError, TypeError, ValueError, SyntaxError, ImportError) as error:
        # A config file is the user's own Python, and may fail in any of these ways.
        raise InputError(f"--config: {type(error).__name__}: {error}") from error
    if len(rest) > 1:
        raise InputError(f"unexpected argument {rest[1]!r}; flags look like --name=value")


def _check_key(values: flags.FlagValues, argument: str) -> None:
    """Check that --config.key=value names a key, or one of a data set's own options."""
    if "config" not in values or not argument.startswith("--config."):
        return
    key = argument.removeprefix("--config.").partition("=")[0]
    known = [name for name, _, _ in KEYS]
    base = key.partition("[")[0]
    if base in known or key.startswith("data.options."):
        return
    nearest = difflib.get_close_matches(base, known, 1, 0.5)
    hint = f"did you mean --config.{nearest[0]}" if nearest else "--help lists the keys"
    raise InputError(
        f"no config key {key!r}; {hint}?" if nearest else f"no config key {key!r}; {hint}"
    )


def _help(doc: str | None, values: flags.FlagValues) -> str:
    lines = [(doc or "").strip(), "", "Flags:"]
    for name in sorted(values):
        flag = values[name]
        default = "" if flag.default is None else f" [{flag.default}]"
        lines.append(f"  --{name}  {flag.help}{default}")
    if "config" in values:
        lines += ["", "Keys, as --config.KEY=VALUE after --config [default]:", describe_keys()]
    return "\n".join(lines)
