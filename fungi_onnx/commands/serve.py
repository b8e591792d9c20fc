"""`fungi-onnx serve`."""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor

from fungi_onnx import cpus
from fungi_onnx.commands import common
from fungi_onnx.quiet import decoders_silenced


def run(options: argparse.Namespace) -> int:
    """Serves the model by HTTP."""
    limits = common.limits(options)
    with ThreadPoolExecutor(1) as pool:
        # The model is loaded while the framework is imported, which takes longer.
        loading = pool.submit(
            common.classifier,
            options,
            limits=limits,
            allow_truncated=options.allow_truncated,
            temperature=options.temperature,
        )
        try:
            from fungi_onnx.server import run as server
            from fungi_onnx.server.settings import Settings
        except ModuleNotFoundError as error:
            print(
                f"fungi-onnx: serve needs {error.name}: pip install 'fungi-onnx[serve]'",
                file=sys.stderr,
            )
            return 2
        classifier = loading.result()
    workers = options.workers or cpus.available()
    settings = Settings(
        workers=workers,
        queue=options.queue,
        max_bytes=limits.max_bytes,
        max_files=min(options.max_files, workers + options.queue),  # more could never be taken
        max_pending_bytes=round(options.max_pending_megabytes * 1e6),
        max_connections=options.max_connections,
        timeout=options.timeout,
        grace=options.grace,
        batch=options.batch or (1 if classifier.device == "cpu" else 16),
        batch_delay=options.batch_delay_ms / 1e3,
        token=options.token,
        cors_origins=options.cors_origins,
        root_path=options.root_path,
        log_requests=options.log_requests,
    )
    try:
        listener = server.bind(options.host, options.port)
    except OSError as error:
        print(
            f"fungi-onnx: cannot listen at {options.host}, port {options.port}:"
            f" {os.strerror(error.errno) if error.errno and error.errno > 0 else error}",
            file=sys.stderr,
        )
        return 2
    with decoders_silenced():
        server.serve(classifier, listener, settings, limits)
    return 0
