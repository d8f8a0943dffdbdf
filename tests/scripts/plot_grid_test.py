"""scripts/plot_grid.py: what is read of a grid, and its table."""

import contextlib
import importlib.util
import io
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("plot_grid", ROOT / "scripts" / "plot_grid.py")
plot_grid = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plot_grid)

HEAD = "set,name,kind,sparsity,pattern,dtype,tokens,cols,rows,kernel,us,dense_us,ratio,cusparse_us,check\n"


def line(name, us, dense, kind="EW", sparsity=75, pattern="8:32", dtype="F32", tokens=1, size=1024, cusparse=0.0, check="ok"):
    return (f"nmsparse,{name},{kind},{sparsity},{pattern},{dtype},{tokens},{size},{size},look-up {tokens},{us},{dense},{dense / us},"
            f"{cusparse},{check}\n")


LINES = (line("M1", 2.0, 4.0, cusparse=8.0) + line("M17", 4000.0, 2000.0, tokens=4096, size=4096, cusparse=8000.0)
         + line("M9", 2.0, 16.0, kind="VW32", pattern="vw32/8:32", dtype="F16", tokens=256)
         + line("M10", 2.0, 4.0, kind="VW32", pattern="vw32/8:32", dtype="F16", tokens=256, size=2048)
         + line("M2", 1.0, 9.0, check="FAILED"))


class PlotGrid(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.file = Path(directory.name) / "grid.csv"

    def run_on(self, text, *arguments):
        self.file.write_text(text)
        before, out = sys.argv, io.StringIO()
        sys.argv = ["plot_grid.py", *(arguments or ["table", str(self.file)])]
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                plot_grid.main()
        except SystemExit as end:
            return end.code, out.getvalue()
        finally:
            sys.argv = before
        return 0, out.getvalue()

    def test_means_and_losses(self):
        code, out = self.run_on("# a comment\n" + HEAD + LINES)
        self.assertEqual(code, 0)
        self.assertIn("| VW32, 75 % | – | 4.00 (2.00–8.00) | – | 0 of 2 |", out)
        self.assertIn("| EW, 75 % | 2.00 (2.00–2.00) | – | 0.50 (0.50–0.50) | 1 of 2 |", out)
        self.assertIn("4 products, 1 of them slower than dense; 1 could not be measured", out)
        self.assertIn("| M17 | 8:32 | fp32 | 4096, 4096, 4096 | 4000.0 | 2000.0 | 0.50 | look-up 4096 |", out)

    def test_others_are_over_the_same_dense_time(self):
        _, out = self.run_on(HEAD + LINES)
        # cuSPARSE 8 us beside 2, 8000 beside 4000; nmSPARSE (bench/peer_times.csv) 5.6 beside 2, 3180 beside 4000.
        self.assertIn("| EW, 75 % | cuSPARSE CSR 2.83 (2.00–4.00), 2 | 1.49 (0.80–2.80), 2 |", out)

    def test_other_files_are_refused_in_one_line(self):
        for text in ("", "a,b\n1,2\n", HEAD, HEAD + line("M1", 1.0, 2.0, kind="")):
            code, out = self.run_on(text)
            self.assertIsInstance(code, str, text)
            self.assertNotIn("\n", code)
        self.assertNotEqual(self.run_on(HEAD, "picture", str(self.file))[0], 0)
        self.assertNotEqual(self.run_on(HEAD, "table", str(self.file / "none"))[0], 0)


if __name__ == "__main__":
    unittest.main()
