"""The HTTP client of the package, as programs around it meet it."""

import subprocess
import sys

import pytest

from podpower.errors import InvalidInput
from podpower.sources.prometheus.endpoint import Endpoint


def test_the_command_line_of_httpx_is_not_loaded_and_can_be():
    """What is left out of commands is left to programs that use podpower as a library."""
    code = (
        "import sys, podpower.io.http\n"
        "assert not {'click', 'rich', 'pygments', 'httpx._main'} & set(sys.modules), sorted(sys.modules)\n"
        "import httpx._main\n"
        "assert httpx._main.main"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("token", ["hunter2\xe9", "hunter2\nX-Other: 1", "hunter2\x00"])
def test_a_token_that_no_header_can_have_is_named_and_not_shown(token, tmp_path):
    file = tmp_path / "token"
    file.write_text(token, encoding="utf-8")
    endpoint = Endpoint(url="http://localhost:9090", token_file=str(file))
    with pytest.raises(InvalidInput, match="has characters that no token has") as found:
        endpoint.authorization()
    assert "hunter2" not in str(found.value)
