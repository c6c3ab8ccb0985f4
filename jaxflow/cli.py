"""The console script: `jaxflow VERB ...` is `python -m jaxflow.VERB ...`.

The standard library is all that is imported before a verb is known.
"""

import ast
import importlib
import sys
import textwrap
from pathlib import Path
from typing import NoReturn

from jaxflow.errors import MissingPackage, needs_extra, suggest
from jaxflow.experiments import signals

VERBS = ("train", "evaluate", "predict", "compare", "benchmark", "generate")
_HELP = ("--help", "-h")


def main() -> NoReturn:
    """Run the verb that the command line begins with, or list the verbs; end the process."""
    verb = sys.argv[1] if len(sys.argv) > 1 else _HELP[0]
    if verb in _HELP:
        print(_list_verbs())
        sys.exit(0)
    if verb not in VERBS:
        hint = suggest(verb, VERBS, f"there are {', '.join(VERBS)}")
        print(f"jaxflow: no command {verb!r}; {hint}", file=sys.stderr)
        sys.exit(2)
    sys.argv = sys.argv[1:]
    run(verb)


def run(verb: str) -> NoReturn:
    """Import a verb, run it on the command line, and end the process."""
    signals.end_at_once()  # The import takes seconds.
    try:
        with needs_extra("all"):
            code = importlib.import_module(f"jaxflow.{verb}").main()
    except MissingPackage as error:
        print(f"jaxflow: {error}", file=sys.stderr)
        code = 2
    signals.leave(code)


def _list_verbs() -> str:
    lines = ["jaxflow VERB [--flag=value ...]; jaxflow VERB --help lists its flags", ""]
    for verb in VERBS:
        # The docstring is read, not imported: that would take seconds.
        source = Path(__file__).with_name(f"{verb}.py").read_text(encoding="utf-8")
        says = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
        wrap = textwrap.TextWrapper(80, initial_indent=f"  {verb:<12}", subsequent_indent=" " * 14)
        lines.append(wrap.fill(says))
    return "\n".join(lines)
