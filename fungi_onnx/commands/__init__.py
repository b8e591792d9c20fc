"""The bodies of the `fungi-onnx` command, one in each room: ``run`` prints and gives a code."""
