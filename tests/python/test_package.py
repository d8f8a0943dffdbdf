import subprocess
import sys

import coppice


def test_torch_is_optional():
    code = ("import sys; sys.modules['torch'] = None; import coppice\n"
            "try:\n    import coppice.torch\nexcept ImportError as error:\n    print(error)")
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "needs PyTorch" in said and "pip install 'coppice[torch]'" in said


def test_importing_does_not_load_torch():
    code = "import coppice, sys; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
    assert coppice.__version__
