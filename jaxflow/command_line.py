"""What the commands share: flags, help, and one line for a user's mistake."""

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from absl import flags, logging

from jaxflow.config import describe_keys, load_config, override
from jaxflow.errors import DataWarning, InputError, RunStopped
from jaxflow.host_memory import keep_freed_memory


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
    keep_freed_memory()
    try:
        _parse(values, argv)
        with _data_warnings_in_one_line():
            return main(values)
    except InputError as error:
        return _fail(str(error), 2)
    except RunStopped as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)


def define_config(values: flags.FlagValues) -> None:
    """Define `--config=FILE`; `--config.KEY=VALUE` then changes a key of it."""
    flags.DEFINE_string("config", None, "configuration file", flag_values=values)


def define_trained_run(values: flags.FlagValues) -> None:
    """Define `--workdir` of a trained run, and `--weights` of its encoder."""
    flags.DEFINE_string("workdir", None, "folder of a trained run", flag_values=values)
    flags.DEFINE_string(
        "weights", None, "where the encoder's weights lie now, if moved", flag_values=values
    )


def define_selection(values: flags.FlagValues) -> None:
    """Define `--selection`: which of a trained run's parameters are used."""
    flags.DEFINE_enum(
        "selection",
        None,
        ["last", "best"],
        "which parameters; default: best, or last where no images were held out",
        flag_values=values,
    )


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
    print(f"jaxflow: WARNING: {_one_line(message)}", file=sys.stderr, flush=True)


@contextmanager
def _data_warnings_in_one_line() -> Iterator[None]:
    """Print what a data set warns of as `warn` does, without a line of source, each once."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_line(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, DataWarning):
                warn(str(message))
            else:
                show(message, category, *where, **more)

        warnings.showwarning = show_line
        warnings.simplefilter("default", DataWarning)
        # They speak of metadata that nothing here reads.
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
        yield


def _fail(message: str, code: int) -> int:
    print(f"jaxflow: {_one_line(message)}", file=sys.stderr, flush=True)
    return code


def _one_line(message: str) -> str:
    return " ".join(message.split())


def _parse(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Parse the flags; where there is `--config`, its value becomes the configuration itself."""
    overrides = [argument for argument in argv[1:] if argument.startswith("--config.")]
    try:
        rest = values([argument for argument in argv if argument not in overrides])
    except flags.Error as error:
        raise InputError(f"{error}; --help lists the flags") from error
    if len(rest) > 1:
        raise InputError(f"unexpected argument {rest[1]!r}; flags look like --name=value")
    if "config" in values and values.config is not None:
        config = load_config(values.config)
        override(config, overrides)
        values["config"].value = config
    elif overrides:
        raise InputError(f"{overrides[0]}: no --config=FILE to change a key of; see --help")


def _help(doc: str | None, values: flags.FlagValues) -> str:
    lines = [(doc or "").strip(), "", "Flags:"]
    for name in sorted(values):
        flag = values[name]
        default = "" if flag.default is None else f" [{flag.default}]"
        lines.append(f"  --{'[no]' if flag.boolean else ''}{name}  {flag.help}{default}")
    if "config" in values:
        lines += ["", "Keys, as --config.KEY=VALUE after --config [default]:", describe_keys()]
    return "\n".join(lines)
