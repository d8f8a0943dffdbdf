"""scripts/decode_check.py: steps from one number of tokens to the next, and ratios to peers."""

import contextlib
import importlib.util
import io
import math
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("decode_check", ROOT / "scripts" / "decode_check.py")
decode_check = importlib.util.module_from_spec(spec)
spec.loader.exec_module(decode_check)

HEAD = "pattern,dtype,layout,tokens,cols,rows,kernel,us,dense_us,ratio,own_bytes,own_tb_s,stream_tb_s,stream_fraction,check\n"


def line(tokens, us, dense=30.0, pattern="2:8", rows=14336, cols=4096, dtype="F16", share=0.9, check="ok", own=34e6):
    return f"{pattern},{dtype},token,{tokens},{cols},{rows},k{tokens},{us},{dense},{dense / us},{int(own)},4.2,4.7,{share},{check}\n"


class DecodeCheck(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def run_on(self, command, text, *more):
        file = self.directory / "in.csv"
        file.write_text(text)
        out = io.StringIO()
        arguments = sys.argv
        sys.argv = ["decode_check.py", command, str(file), *more]
        try:
            with contextlib.redirect_stdout(out):
                code = decode_check.main()
        except SystemExit as end:
            return end.code, out.getvalue()
        finally:
            sys.argv = arguments
        return code, out.getvalue()

    def test_steady_times_pass(self):
        code, out = self.run_on("steps", HEAD + "".join(line(t, 10 + 0.1 * t) for t in range(1, 73)))
        self.assertEqual(code, 0)
        self.assertIn("63 steps", out)
        self.assertIn("8 steps", out)
        self.assertNotIn("FAIL", out)
        self.assertIn("largest +1.0 %", out)

    def test_a_token_of_more_than_ten_percent_fails_up_to_64(self):
        times = {t: 10.0 for t in range(1, 65)}
        times.update({t: 11.2 for t in range(33, 65)})
        code, out = self.run_on("steps", HEAD + "".join(line(t, us) for t, us in times.items()))
        self.assertEqual(code, 1)
        self.assertIn("FAIL  2:8 F16 token 14336x4096, up to 64 tokens", out)
        self.assertIn("32 -> 33 tokens: +12.0 %, allowed 10 %  (k32 -> k33)", out)
        # Cheaper with a token more is no fault.
        code, out = self.run_on("steps", HEAD + line(1, 12) + line(2, 10) + line(3, 10.9))
        self.assertEqual(code, 0)

    def test_above_64_a_quarter_is_allowed_or_what_dense_takes(self):
        self.assertEqual(self.run_on("steps", HEAD + line(64, 10) + line(65, 12.4))[0], 0)
        self.assertEqual(self.run_on("steps", HEAD + line(64, 10) + line(65, 12.6))[0], 1)
        self.assertEqual(self.run_on("steps", HEAD + line(64, 10, 30) + line(65, 14, 45))[0], 0)
        self.assertEqual(self.run_on("steps", HEAD + line(64, 10, 30) + line(65, 16, 45))[0], 1)
        # The step to 64 is one of those up to 64, whatever dense does.
        self.assertEqual(self.run_on("steps", HEAD + line(63, 10, 30) + line(64, 12, 45))[0], 1)

    def test_products_are_kept_apart_and_gaps_are_said(self):
        text = HEAD + line(1, 10) + line(2, 10.5) + line(1, 50, pattern="2:4") + line(2, 51, pattern="2:4") + line(9, 20)
        code, out = self.run_on("steps", text)
        self.assertEqual(code, 0)
        self.assertEqual(out.count("pass"), 2)
        self.assertIn("1 gaps", out)
        code, _ = self.run_on("steps", HEAD + line(1, 10) + line(4, 10))
        self.assertIn("no two consecutive", code)

    def test_bad_input_is_one_clear_error(self):
        self.assertIn("no column", self.run_on("steps", "a,b\n1,2\n")[0])
        self.assertIn("no results", self.run_on("steps", HEAD)[0])
        self.assertIn("was wrong", self.run_on("steps", HEAD + line(1, 10, check="FAILED") + line(2, 10))[0])

    def test_ratios_to_peers_and_what_is_missing(self):
        peers = ROOT / "bench" / "peer_times.csv"
        with open(peers, encoding="utf-8") as file:
            rows = [text.strip().split(",") for text in file if not text.startswith("#")]
        # Products of many tokens are not judged here.
        rows = [row for row in rows if row[4] in ("tokens", "1")]
        self.assertEqual(len(rows), 1 + 8 * 3)
        # Half of every peer's time.
        ours = HEAD + "".join(
            line(1, float(row[7]) / 2, pattern=row[3], dtype="F32", cols=row[5], rows=row[6]) for row in rows[1:])
        code, out = self.run_on("peers", ours, "--peers", str(peers))
        self.assertEqual(code, 0)
        self.assertIn("all: 2.00x; floor 1.5, target 2.2: floor\n", out)
        code, out = self.run_on("peers", ours[:ours.index("8:32")], "--peers", str(peers))
        self.assertIn("not measured: M1 8:32", out)
        self.assertIn("(of a part)", out)
        self.assertAlmostEqual(decode_check.mean([1, 4]), 2)
        self.assertFalse(math.isnan(decode_check.mean([0.5])))

    def test_goals(self):
        text = HEAD + line(1, 10, share=0.9) + line(16, 11) + line(1, 40, rows=28672, cols=8192, dense=108, share=0.5, own=140e6)
        code, out = self.run_on("goals", text)
        self.assertEqual(code, 0)
        self.assertIn("target  2:8 F16 token 14336x4096, 34 MB, 1 token, share of the streaming ceiling: 0.90", out)
        self.assertIn("floor   2:8 F16 token 14336x4096, 1 token, ratio to dense: 3.00", out)
        self.assertIn("target  2:8 F16 token 14336x4096, ratio at 16 tokens over that at 1: 0.91", out)
        self.assertIn("MISSED  2:8 F16 token 28672x8192, 140 MB", out)
        self.assertIn("MISSED  2:8 F16 token 28672x8192, 1 token, ratio to dense: 2.70", out)


if __name__ == "__main__":
    unittest.main()
