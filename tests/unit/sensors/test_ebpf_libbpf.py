"""What the kernel says of programs that it refuses."""

import pytest

from outwatch.sensors.ebpf.libbpf import verifiers_reason

LOG = """libbpf: prog 'tcp_held': -- BEGIN PROG LOAD LOG --
0: (79) r6 = *(u64 *)(r1 +0)
from 6 to 13: safe
combined stack size of 6 calls is 672. Too large
verification time 140573 usec
stack depth 0+8+184
processed 4335 insns (limit 1000000) max_states_per_insn 9 total_states 275 peak_states 269 mark_read 22
-- END PROG LOAD LOG --"""


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (LOG, "combined stack size of 6 calls is 672. Too large"),
        (LOG[: LOG.index("combined")], "from 6 to 13: safe"),  # cut
        ("libbpf: prog 'x': -- BEGIN PROG LOAD LOG --\n-- END PROG LOAD LOG --", ""),
        ("", ""),
    ],
)
def test_the_reason_of_a_refusal_is_found_in_the_verifiers_log(said: str, reason: str) -> None:
    assert verifiers_reason(said) == reason
