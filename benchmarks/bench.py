"""The peers side by side: TensorFlow, LiteRT, OpenVINO, plain onnxruntime and fungi-onnx.

    make bench

Measures one image through the network, one photo, many photos, and a process's start and memory,
each peer as its users would run it, and writes results.json, report.md and charts into
benchmarks/results/. How that is done is told at the report's end. Needs the exporter's environment
with its extra `benchmarks`, and one without TensorFlow for fungi-onnx.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from side_by_side import charts, machine, report
from side_by_side.peers import Field, line_up
from side_by_side.rounds import COUNTS, MORE, Materials, Race
from side_by_side.verdict import TOLERANCE

from fungi_onnx import FungiClassifier

HERE = Path(__file__).parent
# pip does so when it installs; what is installed to be edited may never have been.
_COMPILE = "import compileall, fungi_onnx; compileall.compile_dir(*fungi_onnx.__path__, quiet=1)"


def main() -> None:
    """Measures, or with ``--again`` only writes the report and the charts anew."""
    options = _options()
    file = options.out / "results.json"
    if not options.again:
        results = measure(options)
        options.out.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    results = json.loads(file.read_text())
    (options.out / "report.md").write_text(report.render(results))
    charts.draw(results, options.out)
    print(options.out / "report.md")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that ``results.json`` holds."""
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:4.0f} s] {text}", flush=True)

    python, work = Path(sys.executable), options.work
    facts = machine.facts(python, options.our_python)
    if facts["load_before"][0] > facts["cpus"] / 4:
        say(f"This machine is busy (load {facts['load_before'][0]}): its figures will say so")
    work.mkdir(parents=True, exist_ok=True)
    (work / "errors.log").unlink(missing_ok=True)
    model = FungiClassifier(options.onnx, device="cpu").model
    signature, output = model.source["signature"], model.source["output_key"]

    subprocess.run([options.our_python, "-c", _COMPILE], check=True)
    say("Photos, the right answers, the LiteRT file")
    command = [python, HERE / "side_by_side" / "materials.py", options.module, signature, output]
    with (work / "errors.log").open("ab") as errors:
        given = [work, str(options.count), options.photos or ""]
        if subprocess.run([*command, *given], check=False, stderr=errors).returncode:
            raise SystemExit(f"materials.py failed; why is in {work / 'errors.log'}")
    materials = Materials.read(work)
    field = Field(
        options.module,
        signature,
        output,
        work / "model.tflite",
        options.onnx,
        options.int8 if options.int8 and options.int8.exists() else None,
        python,
        options.our_python,
        facts["cpus"],
    )
    race = Race(line_up(field), materials, options.rounds, facts["cpus"], say)
    race.run()
    say("done")
    return {
        "machine": facts,
        "settings": {
            "model": model.name,
            "rounds": options.rounds,
            "photos": len(materials.photos),
            "tolerance": TOLERANCE,
            "turn": COUNTS,
            "more": MORE["network"],
            **materials.facts,
        },
        "verdicts": race.verdicts,
        "series": race.series,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--module", type=Path, default=Path("build/standin"))
    parser.add_argument("--onnx", type=Path, default=Path("build/standin.onnx"))
    parser.add_argument("--int8", type=Path, help="its int8 variant; absent if there is none")
    parser.add_argument("--our-python", type=Path, default=Path(".venv/runtime/bin/python"))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--photos", type=Path, help="a folder of one's own instead of drawings")
    parser.add_argument("--count", type=int, default=32, help="of different photos, at most")
    parser.add_argument("--work", type=Path, default=Path("build/bench"))
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--again", action="store_true", help="only the report, from results.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
