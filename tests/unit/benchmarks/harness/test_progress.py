import pytest

from benchmarks.harness.progress import show_steps


def test_each_step_is_a_line_on_standard_error_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    long = "[red]:smile: " * 20
    with show_steps(2) as step:
        step("one")
        step(long)

    assert capsys.readouterr().err.splitlines() == ["one", long]
