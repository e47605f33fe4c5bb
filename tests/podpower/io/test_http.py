"""The HTTP client of the package, as programs around it meet it."""

import subprocess
import sys


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
