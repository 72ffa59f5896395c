"""The command line: one word per command, the same names as in Python.

Only the chosen command's module is imported and only its parser is built, and nothing imports torch before the
arguments are known to be valid; so `--help` and `list` answer at once.
"""

import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module

from torchmg import __version__
from torchmg.errors import TorchmgError, UnknownNameError, did_you_mean

COMMANDS = {
    "look": {
        "list": "models, with parameters and MACs",
        "info": "one model: its hierarchies, costs, paper and recipes",
        "count": "parameters and MACs of a model, yours too, by role, level, kind or module",
        "doctor": "what this installation can do, and what is wrong with it",
    },
    "make": {
        "train": "train a recipe, or continue a run",
        "queue": "train many recipes within an allowance of time, and go on elsewhere",
        "eval": "loss and accuracy of a trained run, or of weights that ship",
        "convert": "your network's dense layers and blocks into multigrid ones, within a budget",
        "compare": "train models alike, set them side by side, draw the trade-off",
        "plot": "learning curves, trade-offs and hierarchies as pictures",
    },
    "measure": {
        "bench": "time and memory of a model in every engine, against another; of a convolution's lowerings",
        "scale": "parameters and MACs of a block over its width, with fitted exponents",
        "verify": "the mathematics, against theory, known solutions and pyamg",
        "study": "whole experiments: functions, features, stability",
        "table": "a paper's table: printed, counted and measured side by side",
    },
    "ship": {
        "export": "a model or a run's weights as ONNX or torch.export, verified",
        "card": "a model card from a finished run's record",
    },
}
"""Group -> command -> what it does."""

EXAMPLES = """\
  torchmg compare
  torchmg count mgic_resnet56 --group-size 16 --by level
  torchmg train fashion_mnist_mgic_resnet20 --epochs 6 --data-dir data"""


def usage() -> str:
    """The text of `torchmg --help`."""
    lines = ["torchmg builds, counts, trains and compares multigrid neural networks.", ""]
    lines.append("usage: torchmg COMMAND [arguments]      (torchmg COMMAND --help for one command)")
    for group, commands in COMMANDS.items():
        lines += ["", group, *(f"  {name:<10}{text}" for name, text in commands.items())]
    return "\n".join([*lines, "", "examples", EXAMPLES])


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code (0 good, 1 the work failed, 2 bad arguments, 130 interrupted)."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if arguments[0] in ("-V", "--version"):
        print(f"torchmg {__version__}")
        return 0
    names = [name for commands in COMMANDS.values() for name in commands]
    command, *rest = arguments
    if command not in names:
        raise UnknownNameError(f"Unknown command '{command}'.{did_you_mean(command, names)} (torchmg --help)")
    return import_module(f"torchmg.cli.{command}").main(rest)


def main() -> None:
    """Entry point: errors of ours become one message, warnings one line each."""
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    if os.environ.get("NO_COLOR") or not (sys.stdout.isatty() and sys.stderr.isatty()):
        os.environ.setdefault("PYTHON_TYRO_ANSI_CODES", "False")  # tyro itself asks neither
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except TorchmgError as error:
        print(f"torchmg: {error}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        print("torchmg: interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:  # the reader, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)
