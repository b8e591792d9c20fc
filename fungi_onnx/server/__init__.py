"""The HTTP front and its page: pictures in by HTTP, the library's own answers out.

The rooms, each using only those after it: `run` (a process that serves), `app` (the routes put
together), `gate` (what every request passes), `v1`, `v2`, `operations` and `page` (the routes),
`protocol` (slow and oversized clients), `body` (requests in), `engine` (the bounded queue and the
workers), `batching`, `metrics`, `schemas`, `problems`, `settings`.
"""
