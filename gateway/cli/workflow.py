"""`peakgate workflow export`."""

from __future__ import annotations

import argparse
import json

from gateway.cli.parsers import Commands, Parser


def add_parser(commands: Commands) -> None:
    """Add `workflow` and its verbs."""
    workflow = commands.add_parser(
        "workflow", help="the steps of every order", description="The steps of every order: see docs/workflow.md."
    )
    verbs = workflow.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    export = verbs.add_parser(
        "export",
        help="print the workflow as a state machine for AWS Step Functions",
        description=(
            "Print the workflow of orders in the Amazon States Language: steps with their retries, failures and undoing. Its\n"
            "tasks are calls of a Lambda function, or messages in an SQS queue with a task token, for `StepTasks`."
        ),
        epilog="example: peakgate workflow export --function arn:aws:lambda:eu-west-1:123456789012:function:step",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    target = export.add_mutually_exclusive_group(required=True)
    target.add_argument("--function", metavar="ARN", help="the Lambda function that runs a task")
    target.add_argument("--queue", metavar="URL", help="the SQS queue of the workers that run a task")
    export.add_argument("--workflow-version", type=int, metavar="N", help="a version other than the latest")
    export.set_defaults(run=_export)


def _export(args: argparse.Namespace) -> int:
    from checkout.workflow.orders import LATEST, TABLES
    from checkout.workflow.states_language import function_call, queue_call, states_language
    from gateway.cli.messages import fail
    from gateway.cli.parsers import EX_USAGE

    version = LATEST.version if args.workflow_version is None else args.workflow_version
    if version not in TABLES:
        fail(
            f"there is no version {version} of the workflow; the versions are {', '.join(str(each) for each in TABLES if each)}"
        )
        return EX_USAGE
    call = function_call(args.function) if args.function is not None else queue_call(args.queue)
    print(json.dumps(states_language(TABLES[version], call), indent=2))
    return 0
