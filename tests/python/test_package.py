import subprocess
import sys

import coppice
import pytest


def test_torch_is_optional():
    code = ("import sys; sys.modules['torch'] = None; import coppice\n"
            "try:\n    import coppice.torch\nexcept ImportError as error:\n    print(error)")
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "needs PyTorch" in said and "pip install 'coppice[torch]'" in said


@pytest.mark.parametrize("name", ["calibrate", "evaluate", "prune"])
def test_what_needs_torch_says_so(name):
    blocked = "import sys; sys.modules['torch'] = None; "
    said = [subprocess.run([sys.executable, "-c", blocked + code], capture_output=True, text=True).stderr for code in (
        f"import coppice; coppice.{name}", f"import runpy; runpy.run_module('coppice.{name}', run_name='__main__')")]
    for text in said:
        assert f"coppice.{name} needs PyTorch and transformers" in text.splitlines()[-1] and "pip install 'coppice[torch]'" in text
    assert len(said[1].splitlines()) == 1  # of the command


def test_importing_does_not_load_torch():
    code = "import coppice, sys; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
    assert coppice.__version__
