import subprocess
import sys

from benchmarks.harness.ports import free_port, keep_port

ASK = "import sys; from benchmarks.harness.ports import keep_port; print(keep_port(int(sys.argv[1])))"


def another_process_keeps(port: int) -> bool:
    answer = subprocess.run([sys.executable, "-c", ASK, str(port)], capture_output=True, text=True, check=True)
    return answer.stdout.strip() == "True"


def test_a_port_is_given_once() -> None:
    ports = [free_port() for _ in range(200)]

    assert len(set(ports)) == len(ports)


def test_a_port_that_this_process_was_given_is_given_to_no_other_process() -> None:
    assert not another_process_keeps(free_port())


def test_the_port_of_a_process_that_ended_is_free_again() -> None:
    port = next(port for port in range(1_024, 16_384) if another_process_keeps(port))

    assert keep_port(port)
    assert not another_process_keeps(port)
