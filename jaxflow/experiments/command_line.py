"""What the commands share: flags, help, and one line for a user's mistake."""

import contextlib
import errno
import functools
import os
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO

import jax
from absl import flags, logging

from jaxflow.errors import DataWarning, InputError, RunStopped
from jaxflow.evaluation.calibration import Decision
from jaxflow.experiments import signals
from jaxflow.experiments.config import describe_keys, load_config, override
from jaxflow.experiments.plugins import run_plugins
from jaxflow.experiments.user_files import place_of
from jaxflow.files import explain

_WRONG_PATH = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)
_LESS_MEMORY = "use smaller batches or smaller images"


def command(define: Callable[[flags.FlagValues], None], doc: str | None) -> Callable:
    """Make a command of a function: a decorator.

    Args:
      define: defines the command's flags.
      doc: its help text.

    Returns:
      Turns `main(values: FlagValues) -> exit code` into `main(argv=None) -> exit code`, where None
      is the process's command line. The code is 2 for a mistake of the user, 1 for what the system
      refuses (a full disk, a place without access, no memory), 128 and its number for a signal;
      each told in one line on stderr.
    """

    def decorate(main: Callable[[flags.FlagValues], int]) -> Callable[..., int]:
        @functools.wraps(main)
        def run(argv: Sequence[str] | None = None) -> int:
            whole_process = argv is None
            values = _flags(define)
            logging.set_verbosity(logging.FATAL)  # What Orbax logs as an error it raises too.
            if whole_process:
                signals.leave_speaking_to_main()
            argv = list(sys.argv if argv is None else argv)
            try:
                with signals.raised(whole_process), _data_warnings_in_one_line():
                    if {"--help", "-h", "--helpfull"} & set(argv[1:]):
                        return _say_help(doc, values, argv)
                    _parse(values, argv)
                    return main(values)
            except (Exception, KeyboardInterrupt) as error:
                return _tell(error)

        return run

    return decorate


def _flags(define: Callable[[flags.FlagValues], None]) -> flags.FlagValues:
    values = flags.FlagValues()
    define(values)
    flags.DEFINE_multi_string(
        "plugin",
        [],
        "parts from outside: a Python file, which is run",
        flag_values=values,
    )
    return values


def _tell(error: BaseException) -> int:
    """Tell in one line what ended a command, and return its exit code; raise what is our fault."""
    match error:
        case InputError():
            return _fail(str(error), 2)
        case RunStopped() | signals.Interrupted():
            return _fail(str(error), error.exit_code)
        case KeyboardInterrupt():
            return _fail("interrupted", 130)
        case OSError() if error.errno is not None:  # The system's, not a library's own kind.
            return _fail(explain(error), 2 if error.errno in _WRONG_PATH else 1)
        case MemoryError():
            return _fail(f"not enough memory: {error}; {_LESS_MEMORY}", 1)
        case jax.errors.JaxRuntimeError() if "RESOURCE_EXHAUSTED" in str(error):
            return _fail(f"not enough memory: {str(error)[:200]}; {_LESS_MEMORY}", 1)
        case Exception() if place := place_of(error):
            return _fail(f"--plugin {place}: {type(error).__name__}: {error}", 2)
    raise error


def define_config(values: flags.FlagValues) -> None:
    """Define `--config=FILE`; `--config.KEY=VALUE` then changes a key of it."""
    flags.DEFINE_string(
        "config", None, "configuration: a Python file, which is run", flag_values=values
    )


def define_trained_run(values: flags.FlagValues) -> None:
    """Define `--workdir` of a trained run, and `--weights` of its encoder."""
    flags.DEFINE_string("workdir", None, "folder of a trained run", flag_values=values)
    flags.DEFINE_string(
        "weights", None, "file of the encoder's weights, if it was moved", flag_values=values
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


def define_decision(values: flags.FlagValues) -> None:
    """Define the flags that choose what decides: see `decision`."""
    flags.DEFINE_string(
        "score", None, "score that decides; default: that of training", flag_values=values
    )
    flags.DEFINE_float(
        "image_threshold",
        None,
        "an image whose score reaches it is called anomalous; default: from held-out normal images",
        flag_values=values,
    )
    flags.DEFINE_float(
        "pixel_threshold", None, "the same for a pixel, in units of the score", flag_values=values
    )
    flags.DEFINE_float(
        "quantile",
        None,
        "quantile of held-out normal image scores that the image threshold is set to",
        flag_values=values,
    )


def decision(values: flags.FlagValues) -> Decision:
    """Return what the flags of `define_decision` say."""
    return Decision(*(getattr(values, name) for name in Decision._fields))


def required(values: flags.FlagValues, *names: str) -> None:
    """Check that flags are given.

    Raises:
      InputError: naming the first that is not.
    """
    for name in names:
        if getattr(values, name) in (None, []):
            raise InputError(f"--{name} is missing; see --help")


def integers(flag: str, texts: Sequence[str], least: int = 0, most: int = 2**32 - 1) -> list[int]:
    """Return the whole numbers of a flag's list.

    Raises:
      InputError: naming the first text that is none from `least` to `most`.
    """
    for text in texts:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise InputError(
                f"--{flag}: expected whole numbers from {least} to {most}, got {text!r}"
            )
    return [int(text) for text in texts]


def say(message: str) -> None:
    """Print a line for the user, at once."""
    _print(message, sys.stdout)


def warn(message: str) -> None:
    """Print a line that must not be overlooked, on stderr."""
    _print(f"jaxflow: WARNING: {_one_line(message)}", sys.stderr)


@contextlib.contextmanager
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
    _print(f"jaxflow: {_one_line(message)}", sys.stderr)
    return code


def _print(message: str, stream: TextIO) -> None:
    """Print a line; work goes on where nobody reads it any more, and whatever a name is made of."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    message = message.encode(encoding, "backslashreplace").decode(encoding)
    try:
        print(message, file=stream, flush=True)
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


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
    for name in values:
        _check_text(name, values[name].value)
    run_plugins(values.plugin)
    if "config" in values and values.config is not None:
        config = load_config(values.config)
        override(config, overrides)
        values["config"].value = config
    elif overrides:
        raise InputError(f"{overrides[0]}: no --config=FILE to change a key of; see --help")


def _check_text(name: str, value: object) -> None:
    """Raise InputError for text that is empty, as of a shell variable that is not set, or cut."""
    for text in value if isinstance(value, list) else [value]:
        if text == "":
            raise InputError(f"--{name} is empty; give a value, or leave it out")
        if isinstance(text, str) and "\0" in text:
            raise InputError(f"--{name} holds a null character: {text!r}")


def _say_help(doc: str | None, values: flags.FlagValues, argv: Sequence[str]) -> int:
    """Print the help, with the choices of the plugins that are named."""
    given = [each for each in argv if each.startswith("--plugin=")]
    run_plugins([each.removeprefix("--plugin=") for each in given])
    say(_help(doc, values))
    return 0


def _help(doc: str | None, values: flags.FlagValues) -> str:
    paragraphs = (doc or "").strip().split("\n\n")
    lines = ["\n\n".join(p if p.startswith(" ") else _fill(p) for p in paragraphs), "", "Flags:"]
    for name in sorted(values):
        flag = values[name]
        default = "" if flag.default in (None, []) else f" [{flag.default}]"
        lines.append(f"  --{'[no]' if flag.boolean else ''}{name}{default}")
        lines.append(_fill(flag.help or "", "      "))
    if "config" in values:
        lines += ["", "Keys, as --config.KEY=VALUE after --config [default]:", describe_keys()]
    return "\n".join(lines)


def _fill(text: str, indent: str = "") -> str:
    """Wrap text to a terminal of 80 columns."""
    wrapper = textwrap.TextWrapper(
        80,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return wrapper.fill(" ".join(text.split()))
