"""The commands: python -m instructor check | execute | handout | grade | compare."""

import argparse
import sys
from pathlib import Path


def check(arguments):
    from instructor.check import require_consistent

    print(require_consistent())


def execute(arguments):
    from instructor.execute import execute_file

    execute_file(arguments.notebook, arguments.result)


def handout(arguments):
    from instructor.handout import make_handout

    make_handout(arguments.target)
    print(f"{arguments.target} is written.")


def compare(arguments):
    from instructor.compare import compare

    verdicts = compare(*arguments.notebooks)
    for name, verdict in verdicts.items():
        print(f"{name}: {verdict}")
    return any(set(verdict.split("; ")) != {"same"} for verdict in verdicts.values())


def grade(arguments):
    from instructor.grading.gradebook import grade_class, n_cores

    processes = n_cores() if arguments.n is None else arguments.n
    not_graded = grade_class(
        arguments.submissions,
        arguments.to,
        processes,
        arguments.part,
        arguments.regrade,
        arguments.names,
    )
    return not_graded > 0


def parser():
    parser = argparse.ArgumentParser(
        prog="python -m instructor",
        description="Check, execute, hand out, grade and compare notebooks.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(run, summary, more=""):
        added = commands.add_parser(run.__name__, help=summary, description=f"{summary} {more}")
        added.set_defaults(run=run)
        return added.add_argument

    command(
        check,
        "Check that the assignment agrees with itself.",
        "Nothing is run: ids, points, texts, blanks, pictures and stored outputs are compared. "
        "Prints what the assignment consists of, or a line for each place that does not fit.",
    )

    add = command(
        execute,
        "Execute a notebook.",
        "Without RESULT the notebook itself gets the new outputs, of 100 epochs on MNIST. "
        "VAE_DATASET and VAE_EPOCHS change the run. RESULT may end in .ipynb or .html. A file is "
        "written only if every cell ran.",
    )
    add(
        "notebook", nargs="?", type=Path, metavar="NOTEBOOK", help="by default vae_assignment.ipynb"
    )
    add("result", nargs="?", type=Path, metavar="RESULT")

    add = command(handout, "Write the students' folder: the assignment with blanks.")
    add("target", type=Path, metavar="FOLDER", help="must not exist; FOLDER.zip makes a .zip")

    add = command(
        grade,
        "Grade a class.",
        "SUBMISSIONS are folders of submissions, notebooks, or the .zip of a learning platform. "
        "VAE_DATASET (by default embedded) and VAE_EPOCHS (by default 5) change the run. Exits "
        "with 1 if somebody could not be graded.",
    )
    add("submissions", nargs="+", type=Path, metavar="SUBMISSIONS")
    add("--to", type=Path, required=True, metavar="FOLDER", help="where the grade book lies")
    add("-n", type=int, metavar="PROCESSES", help="by default the cores that may be used")
    add("--part", default="1/1", metavar="K/N", help="grade each N-th student, from the K-th on")
    add("--names", metavar="REGEX", help="of entries: with the groups (?P<student>), (?P<file>)")
    add("--regrade", action="store_true", help="grade those again whose row is up to date")

    add = command(compare, "Compare the pictures of two notebooks. Exits with 1 if they differ.")
    add("notebooks", nargs=2, type=Path, metavar="NOTEBOOK")
    return parser


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):  # what they cannot encode must end nothing
        stream.reconfigure(errors="backslashreplace")
    arguments = parser().parse_args()
    try:
        sys.exit(arguments.run(arguments))
    except (OSError, RuntimeError, ValueError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt as stopped:
        sys.exit(f"\nStopped. {stopped}")
