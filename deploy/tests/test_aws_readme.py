"""The commands of the README: shells read them, in the order of the exports, with parameters that there are."""

from __future__ import annotations

import re
import subprocess

import pytest
from cloudformation import AWS, load

README = (AWS / "README.md").read_text(encoding="utf-8")
BLOCKS = [re.sub(r"(?m)^ {3}", "", block) for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)]
SCRIPT = re.sub(r"\\\n\s*", "", "\n".join(BLOCKS))
CALL = re.compile(r"(?m)^(?:stack (\w+)|aws cloudformation deploy .*?--template-file deploy/aws/(\w+)\.yaml)(.*)$")
# The functions of the first block give it.
GIVEN = {"Environment"}


def _calls() -> dict[str, set[str]]:
    """The parameters that each stack is given, in the order of the calls."""
    return {
        one or other: set(re.findall(r"(?:^|\s)([A-Z]\w+)=", rest)) | GIVEN for one, other, rest in CALL.findall(SCRIPT)
    }


def test_a_shell_reads_every_command() -> None:
    checked = subprocess.run(["bash", "-n"], input="\n".join(BLOCKS), text=True, capture_output=True, check=False)

    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_stacks_are_made_in_the_order_of_their_exports() -> None:
    assert list(_calls()) == ["network", "data", "service", "events", "front", "observe"]


@pytest.mark.parametrize("name", ["network", "data", "service", "events", "front", "observe"])
def test_a_stack_is_given_what_it_requires_and_nothing_else(name: str) -> None:
    parameters = load(name)["Parameters"]
    required = {key for key, each in parameters.items() if "Default" not in each}

    assert required <= _calls()[name] <= set(parameters)


def test_every_parameter_that_the_text_names_exists() -> None:
    named = set(re.findall(r"`([A-Z][a-z]+[A-Z]\w+)(?:=\w+)?`", README))
    known = {key for name in _calls() for part in ("Parameters", "Outputs") for key in load(name).get(part, {})}
    others = {"ForecastAndScale"}

    assert named - known - others == set()
