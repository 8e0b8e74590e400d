"""A packaged function as AWS Lambda runs it: its real runtime client, against a stand-in of the Runtime API.

The stand-in's paths and headers are those of the AWS Lambda Developer Guide, "Using the Lambda runtime API for custom
runtimes" (version 2018-06-01).
"""

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any

CLIENT = ("awslambdaric", "simplejson", "snapshot-restore-py")
HANDLER = "demur.serverless.handler"
_PREFIX = "/2018-06-01/runtime/"
# Lambda puts the function's folder before its client's, and there is nothing else.
_BOOTSTRAP = """
import sys
sys.path[:0] = sys.argv[1:3]
from awslambdaric.__main__ import main
main(["bootstrap", sys.argv[3]])
"""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:  # a function that was ended hangs up
        return


class RuntimeApi:
    """Hands events to one function and takes its answers, on loopback.

    Attributes:
        ready: When the function first asked for an event, which is when it has loaded; by `time.perf_counter`.
        faults: What it reported as errors, those of its start included.
    """

    def __init__(self) -> None:
        self.ready: float | None = None
        self.faults: list[dict[str, Any]] = []
        self._events: queue.Queue[str] = queue.Queue()
        self._answers: queue.Queue[Any] = queue.Queue()
        self._server = _Server(("127.0.0.1", 0), self._requests())

    @property
    def address(self) -> str:
        """Host and port, as the function's environment names them."""
        return f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "RuntimeApi":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def invoke(self, event: object, seconds: float = 60) -> Any:
        """Return what the function answers to an event.

        Raises:
            RuntimeError: It reported an error, or did not answer in time.
        """
        self._events.put(json.dumps(event))
        return self.answer(seconds)

    def answer(self, seconds: float = 60) -> Any:
        """Return the next answer, also to no event at all: a function that can't start reports an error unasked."""
        try:
            answer = self._answers.get(timeout=seconds)
        except queue.Empty:
            raise RuntimeError(f"no answer within {seconds} seconds") from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _requests(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Requests(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # subtle: else an answer's body waits for its headers to be acknowledged, 40 ms later.
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                if self.path != f"{_PREFIX}invocation/next":
                    return self._reply(404, b"{}")
                if api.ready is None:
                    api.ready = time.perf_counter()
                event = api._events.get().encode()
                return self._reply(200, event, {"Lambda-Runtime-Aws-Request-Id": "1"} | _INVOCATION)

            def do_POST(self) -> None:
                said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path == f"{_PREFIX}invocation/1/response":
                    api._answers.put(said)
                else:
                    api.faults.append(said)
                    api._answers.put(RuntimeError(f"{self.path}: {said.get('errorMessage')}"))
                self._reply(202, b"{}")

            def _reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:  # silent
                return

        return Requests


_INVOCATION = {
    "Content-Type": "application/json",
    "Lambda-Runtime-Deadline-Ms": "9999999999999",
    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-1:1:function:demur",
}


def link_client(folder: Path) -> None:
    """Put the runtime client, as it is installed here, into a folder of its own.

    Raises:
        importlib.metadata.PackageNotFoundError: It is not installed.
    """
    folder.mkdir()
    for name in CLIENT:
        distribution = metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or () if not file.parts[0].startswith((".", "_"))}:
            (folder / top).symlink_to(Path(str(distribution.locate_file(top))).absolute())


@contextmanager
def running(
    task: Path, client: Path, api: RuntimeApi, *, python: str = sys.executable, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """Start a packaged function as Lambda does, and end it.

    Args:
        task: The packaged folder.
        client: What `link_client` made.
        api: Where it gets its events.
        python: A Python of the version that it was packaged for.
        environment: Beside Lambda's own variables.
    """
    variables = {
        "AWS_LAMBDA_RUNTIME_API": api.address,
        # Decides how the client writes answers.
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.12",
        "AWS_LAMBDA_FUNCTION_NAME": "demur",
        "LAMBDA_TASK_ROOT": str(task),
        "_HANDLER": HANDLER,
    }
    command = [python, "-I", "-S", "-B", "-c", _BOOTSTRAP, str(task), str(client), HANDLER]
    with subprocess.Popen(
        command, env=variables | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()
