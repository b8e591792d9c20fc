"""The peers side by side: what `benchmarks/bench.py` is made of.

``materials`` makes what all are given, ``peers`` says who takes part, ``rounds`` has them take
turns, ``verdict`` says who may be timed, ``targets`` what ours should reach; ``report`` and
``charts`` show it.
"""
