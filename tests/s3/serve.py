"""Moto's S3 on a free port of 127.0.0.1, which is printed. It ends with standard input, so it never outlives who started it."""

import logging
import sys
import threading

from moto.s3.responses import S3Response
from moto.server import ThreadedMotoServer

# S3 checks the condition of a put and writes in one step. Moto takes two, with nothing to keep others out between them.
step = threading.Lock()
put_object = S3Response.put_object


def put_object_in_one_step(self):
    with step:
        return put_object(self)


S3Response.put_object = put_object_in_one_step

logging.getLogger("werkzeug").setLevel(logging.WARNING)
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
