"""Logs in to TARGET again and again with grpcio and the service config of docs/clients.md, and prints the code of each
login, until it is killed."""

import base64
import os
import threading
import time

import grpc

OPTIONS = [("grpc.service_config", os.environ["SERVICE_CONFIG"])]
MESSAGE = base64.b64decode(os.environ["LOGIN"])


def log_in(channel: grpc.Channel) -> None:
    login = channel.unary_unary("/auth.v1.AuthService/Login")
    while True:
        try:
            login(MESSAGE)
            print("login: OK", flush=True)
        except grpc.RpcError as error:
            print("login:", error.code().name, error.details(), flush=True)
        time.sleep(0.1)


with grpc.insecure_channel(os.environ["TARGET"], options=OPTIONS) as shared:
    threads = [threading.Thread(target=log_in, args=(shared,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
